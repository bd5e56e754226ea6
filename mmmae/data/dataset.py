"""Windows of recordings: every stream of a sample is read over the same seconds, or over others on purpose."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils.data import Dataset

from mmmae.data.augment import repeat_key
from mmmae.data.manifest import Manifest, Row
from mmmae.streams import Stream
from modalities.errors import SampleError
from modalities.noise import draw, sample_key
from modalities.reader import Reader, Reading
from modalities.records import Batch, Signal

SLACK = 1e-6  # seconds that are only rounding


class NothingThere(SampleError):
    """A window in which a recording has none of the streams: the sound is silent, no sensor was read."""


@dataclass(frozen=True)
class Sample:
    """One window of one recording: a reading of every stream, blank where the recording lacks it.

    start: of the window, in seconds of the recording; lags: by how much each stream begins after it.
    """

    readings: dict[str, Reading]
    start: float
    lags: dict[str, float]
    spans: dict[str, float]
    key: int
    id: str
    label: int | None


class Clips(Dataset):
    """Draws a window of `window` seconds from each recording of a manifest and reads its streams.

    All are read over the same seconds, unless a stream says otherwise: its own window may begin earlier or later, by a
    drawn lag, and last longer or shorter.

    Everything random about a sample is a function of (seed, epoch, index), so the item is asked for by (epoch, index)
    and does not depend on who asks. Inside the row's [start, end), or else the recording, the window lies anywhere that
    leaves room for the longest lag. How long a recording is, its streams that cannot be padded decide (video), else the
    shortest of them. What can be padded is cut off at the row's end, and absent where it would begin before the row.

    Args:
        manifest: the recordings.
        readers: one per stream to read; the order is that of the batch. Streams with the same reader, recording and
            span are read in one decode.
        window: seconds.
        streams: where and when each stream is read; by default its own column, over the window.
        repeats: samples drawn from each recording per epoch (Hoffer et al., arXiv:1901.09335).
        repeat: how they differ: "windows" reads several windows of the recording, following each other where it is
            long enough; "crops" reads one, and `mmmae.data.augment.repeat` multiplies it on the device.
        centre: take the middle window, and the middle of each lag, instead of drawn ones (evaluation).
    """

    def __init__(
        self,
        manifest: Manifest,
        readers: Mapping[str, Reader],
        *,
        window: float,
        streams: Mapping[str, Stream] | None = None,
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
        self.streams = {name: (streams or {}).get(name) or Stream(use=name, source=name) for name in readers}
        self.spans = {name: stream.span or window for name, stream in self.streams.items()}
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
        sources = {m: row.sources[s.source] for m, s in self.streams.items() if s.source in row.sources}
        start, end = self.extent(row, sources)
        starts = self.starts(start, end, key, self.room(sources))
        keys = [repeat_key(key, number) for number in range(len(starts))]
        lags = [{m: self.lag(m, key) for m in self.readers} for key in keys]
        limits = (start, math.inf if row.end is None else row.end)  # nothing is read beyond a row
        begins = [{m: start + late for m, late in lag.items()} for start, lag in zip(starts, lags, strict=True)]
        read = self.decode(sources, begins, limits)
        samples = []
        for start, lag, key, found in zip(starts, lags, keys, read, strict=True):
            blank = {m: reader.blank(self.spans[m]) for m, reader in self.readers.items()}
            filled = {m: fill(blank[m], reading) for m, reading in found.items()}
            if not any(reading.length for reading in filled.values()):
                raise NothingThere(
                    self.called(sources),
                    f"has none of {', '.join(self.readers)} from {start:.2f} s to {start + self.window:.2f} s",
                    "Drop the row, or choose what it has with --modalities.",
                )
            samples.append(Sample(blank | filled, start, lag, self.spans, key, row.id, row.label))
        return samples

    def decode(
        self, sources: Mapping[str, Any], begins: Sequence[Mapping[str, float]], limits: tuple[float, float]
    ) -> list[dict[str, Reading]]:
        """For each window, what its streams read from where they begin, inside the limits of the row."""
        together: dict[tuple[int, str, float], list[str]] = {}
        for m in sources:
            together.setdefault((id(self.readers[m]), self.streams[m].source, self.spans[m]), []).append(m)
        found: list[dict[str, Reading]] = [{} for _ in begins]
        for (_, _, span), names in together.items():
            slots = [(n, m) for n in range(len(begins)) for m in names if limits[0] - SLACK <= begins[n][m] < limits[1]]
            moments = [begins[number][m] for number, m in slots]
            if not moments:
                continue
            over = max(moments) + span - limits[1]
            duration = span - over if over > SLACK else span
            readings = self.readers[names[0]].read_windows(sources[names[0]], moments, duration)
            for (number, m), reading in zip(slots, readings, strict=True):
                if reading is not None:
                    found[number][m] = reading
        return found

    def lag(self, stream: str, key: int) -> float:
        """By how much a stream begins after the window whose key this is."""
        low, high = self.streams[stream].lag
        return low + (high - low) * (0.5 if self.centre else draw(key, f"lag/{stream}")[0])

    def room(self, streams: Iterable[str]) -> tuple[float, float]:
        """Seconds before and after a window's start that it and its streams take; what can be padded has no say."""
        strict = [m for m in streams if not self.readers[m].pads] or list(streams)
        first, last = zip((0.0, self.window), *(self.streams[m].reach(self.window) for m in strict), strict=True)
        return -min(first), max(last)

    def extent(self, row: Row, sources: Mapping[str, Any]) -> tuple[float, float]:
        """The seconds [start, end) in which windows lie where they fit.

        Raises:
            SampleError: the row's [start, end) is shorter than the window and has a stream that cannot be padded.
        """
        start, needed = row.start or 0.0, sum(self.room(sources))
        strict = {m: source for m, source in sources.items() if not self.readers[m].pads}
        if row.end is not None:
            if strict and row.end - start < needed - SLACK:
                raise SampleError(
                    self.called(strict),
                    f"start {start:g} s to end {row.end:g} s is shorter than the window of {needed:g} s",
                    f"Shorten the window (window={row.end - start:.4g}) or drop the row.",
                )
            return start, row.end
        for group in (strict, sources):
            seconds = [self.readers[m].seconds(source) for m, source in group.items()]
            if known := [end for end in seconds if end is not None]:
                return start, min(known)
        return start, start

    def starts(self, start: float, end: float, key: int, needs: tuple[float, float]) -> list[float]:
        """Where the windows begin: one after the other in a drawn stretch, overlapping where there is less room."""
        before, after = needs
        room = max(end - start - before - after, 0.0)
        step = min(self.window, room / max(self.windows - 1, 1))
        start += before + (room - step * (self.windows - 1)) * (0.5 if self.centre else draw(key, "window")[0])
        return [start + step * number for number in range(self.windows)]

    def called(self, sources: Mapping[str, Any]) -> str:
        """What to call the sources of some streams in a message: their files, each once."""
        files = (source for m, source in sources.items() if self.streams[m].source != "text")
        paths = (file["path"] if isinstance(file, dict) else file for file in files)
        return ", ".join(dict.fromkeys(paths)) or "captions"


def fill(blank: Reading, reading: Reading) -> Reading:
    """The reading in the shape of a whole window: one of fewer seconds is followed by zeros."""
    steps = len(reading.values)
    if steps == len(blank.values):
        return reading
    values, hint = padded(reading.values, blank.values), reading.hint
    if hint is not None and blank.hint is not None:
        hint = padded(hint, blank.hint)
    observed = reading.observed
    if observed is not None:
        observed = torch.cat([observed, observed.new_zeros(len(values) - steps, observed.shape[1])])
    return replace(reading, values=values, observed=observed, hint=hint)


def padded(steps: torch.Tensor, blank: torch.Tensor) -> torch.Tensor:
    """As many steps as the blank has: the given ones, then the blank's."""
    return torch.cat([steps, blank[len(steps) :]])


def collate(items: Sequence[list[Sample] | SampleError]) -> Batch | SampleError:
    """One batch of all samples, or the first error among them."""
    samples = []
    for item in items:
        if isinstance(item, SampleError):
            return item
        samples += item
    signals = {m: stack(samples, m) for m in samples[0].readings}
    label = None
    if any(sample.label is not None for sample in samples):
        label = torch.tensor([-1 if sample.label is None else sample.label for sample in samples])
    key = torch.tensor([sample.key for sample in samples])
    return Batch(signals, key, [sample.id for sample in samples], label)


def stack(samples: Sequence[Sample], stream: str) -> Signal:
    """The signal of one stream; what says nothing (every step valid, every reading observed, no lag) is None."""
    readings = [sample.readings[stream] for sample in samples]
    start = torch.tensor([sample.start + sample.lags[stream] for sample in samples], dtype=torch.float32)
    duration = torch.tensor([sample.spans[stream] for sample in samples], dtype=torch.float32)
    lag = torch.tensor([sample.lags[stream] for sample in samples], dtype=torch.float32)
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
    hints = [reading.hint for reading in readings if reading.hint is not None]
    hint = torch.stack(hints) if hints else None
    length = None if (length == values.shape[1]).all() else length
    return Signal(values, length, start, duration, observed, edges, lag if lag.any() else None, hint)
