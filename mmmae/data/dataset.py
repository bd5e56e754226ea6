"""Windows of recordings: every modality of a sample is read over the same seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils.data import Dataset

from mmmae.data.augment import repeat_key
from mmmae.data.manifest import Manifest, Row
from modalities.errors import SampleError
from modalities.noise import draw, sample_key
from modalities.reader import Reader, Reading
from modalities.records import Batch, Signal


@dataclass(frozen=True)
class Sample:
    """One window of one recording: a reading of every modality, blank where the recording lacks it."""

    readings: dict[str, Reading]
    start: float
    duration: float
    key: int
    id: str
    label: int | None


class Clips(Dataset):
    """Draws a window of `window` seconds from each recording of a manifest and reads all modalities over it.

    Everything random about a sample is a function of (seed, epoch, index), so the item is asked for by (epoch, index)
    and does not depend on who asks. Inside the row's [start, end), or else the recording, the window lies anywhere.
    How long a recording is, its modalities that cannot be padded decide (video), else the shortest of them.

    Args:
        manifest: the recordings.
        readers: one per modality to read; the order is that of the batch.
        window: seconds.
        repeats: samples drawn from each recording per epoch (Hoffer et al., arXiv:1901.09335).
        repeat: how they differ: "windows" reads several windows of the recording, following each other where it is
            long enough; "crops" reads one, and `mmmae.data.augment.repeat` multiplies it on the device.
        centre: take the middle window instead of a drawn one (evaluation).
    """

    def __init__(
        self,
        manifest: Manifest,
        readers: Mapping[str, Reader],
        *,
        window: float,
        seed: int = 0,
        repeats: int = 1,
        repeat: str = "crops",
        centre: bool = False,
    ):
        if not window > 0:
            raise ValueError(f"window is the seconds read of each recording and must be above 0, got {window}")
        if repeats < 1:
            raise ValueError(f"repeats counts the samples drawn from each recording, from 1 up, got {repeats}")
        if repeat not in ("crops", "windows"):
            raise ValueError(f"repeat is 'crops' (of one window) or 'windows', got {repeat!r}")
        if not readers:
            raise ValueError("clips need a reader for at least one modality, got none")
        self.manifest, self.readers = manifest, dict(readers)
        self.window, self.seed, self.centre = window, seed, centre
        self.windows = repeats if repeat == "windows" else 1

    def __len__(self) -> int:
        return len(self.manifest)

    def __getitem__(self, place: tuple[int, int]) -> list[Sample] | SampleError:
        """The samples of one recording; its error as a value, so that no traceback of a worker reaches the user."""
        epoch, index = place
        row = self.manifest[index]
        try:
            return self.read(row, sample_key(self.seed, epoch, index))
        except SampleError as error:
            return SampleError(f"{self.manifest.path}, row {row.id!r}: {error.path}", error.reason, error.remedy)

    def read(self, row: Row, key: int) -> list[Sample]:
        """The windows of one row.

        Raises:
            SampleError: a file cannot be read or is shorter than the window, or no modality is there after all.
        """
        sources = {m: row.sources[m] for m in self.readers if m in row.sources}
        start, end = self.extent(row, sources)
        starts = self.starts(start, end, key)
        duration = self.window if row.end is None else min(self.window, end - start)  # nothing is read beyond a row
        read = {m: self.readers[m].read_windows(source, starts, duration) for m, source in sources.items()}
        samples = []
        for number, start in enumerate(starts):
            blank = {m: reader.blank(self.window) for m, reader in self.readers.items()}
            found = {m: fill(blank[m], one) for m, windows in read.items() if (one := windows[number]) is not None}
            if not any(reading.length for reading in found.values()):
                raise SampleError(
                    name_of(sources),
                    f"has none of {', '.join(self.readers)} from {start:.2f} s to {start + duration:.2f} s",
                    "Drop the row, or choose what it has with --modalities.",
                )
            samples.append(Sample(blank | found, start, self.window, repeat_key(key, number), row.id, row.label))
        return samples

    def extent(self, row: Row, sources: Mapping[str, Any]) -> tuple[float, float]:
        """The seconds [start, end) in which windows lie where they fit.

        Raises:
            SampleError: the row's [start, end) is shorter than the window and has a modality that cannot be padded.
        """
        start = row.start or 0.0
        strict = {m: source for m, source in sources.items() if not self.readers[m].pads}
        if row.end is not None:
            if strict and row.end - start < self.window - 1e-6:
                raise SampleError(
                    name_of(strict),
                    f"start {start:g} s to end {row.end:g} s is shorter than the window of {self.window:g} s",
                    f"Shorten the window (window={row.end - start:.4g}) or drop the row.",
                )
            return start, row.end
        for group in (strict, sources):
            seconds = [self.readers[m].seconds(source) for m, source in group.items()]
            if known := [end for end in seconds if end is not None]:
                return start, min(known)
        return start, start

    def starts(self, start: float, end: float, key: int) -> list[float]:
        """Where the windows begin: one after the other in a drawn stretch, overlapping where there is less room."""
        room = max(end - start - self.window, 0.0)
        step = min(self.window, room / max(self.windows - 1, 1))
        start += (room - step * (self.windows - 1)) * (0.5 if self.centre else draw(key, "window")[0])
        return [start + step * number for number in range(self.windows)]


def fill(blank: Reading, reading: Reading) -> Reading:
    """The reading in the shape of a whole window: one of fewer seconds is followed by zeros."""
    steps = len(reading.values)
    if steps == len(blank.values):
        return reading
    values = blank.values.clone()
    values[:steps] = reading.values
    observed = reading.observed
    if observed is not None:
        observed = torch.cat([observed, observed.new_zeros(len(values) - steps, observed.shape[1])])
    return replace(reading, values=values, observed=observed)


def name_of(sources: Mapping[str, Any]) -> str:
    """What to call the sources in a message: their files, each once."""
    files = [source["path"] if isinstance(source, dict) else source for m, source in sources.items() if m != "text"]
    return ", ".join(dict.fromkeys(files)) or "captions"


def collate(items: Sequence[list[Sample] | SampleError]) -> Batch | SampleError:
    """One batch of all samples, or the first error among them."""
    samples = []
    for item in items:
        if isinstance(item, SampleError):
            return item
        samples += item
    start = torch.tensor([sample.start for sample in samples], dtype=torch.float32)
    duration = torch.tensor([sample.duration for sample in samples], dtype=torch.float32)
    signals = {m: stack([sample.readings[m] for sample in samples], start, duration) for m in samples[0].readings}
    label = None
    if any(sample.label is not None for sample in samples):
        label = torch.tensor([-1 if sample.label is None else sample.label for sample in samples])
    key = torch.tensor([sample.key for sample in samples])
    return Batch(signals, key, [sample.id for sample in samples], label)


def stack(readings: Sequence[Reading], start: torch.Tensor, duration: torch.Tensor) -> Signal:
    """The signal of one modality; what says nothing (every step valid, every reading observed) is None."""
    values = torch.stack([reading.values for reading in readings])
    length = torch.tensor([reading.length for reading in readings])
    observed = edges = None
    if any(reading.observed is not None and not reading.observed.all() for reading in readings):
        parts = next(reading.observed.shape[1] for reading in readings if reading.observed is not None)
        whole = torch.ones(values.shape[1], parts, dtype=torch.bool)
        observed = torch.stack([whole if reading.observed is None else reading.observed for reading in readings])
    if known := [reading.edges for reading in readings if reading.edges is not None]:
        alone = torch.zeros_like(known[0])
        edges = torch.stack([alone if reading.edges is None else reading.edges for reading in readings])
    return Signal(values, None if (length == values.shape[1]).all() else length, start, duration, observed, edges)
