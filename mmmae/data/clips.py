"""Windows of recordings: every stream of a sample is read over the same seconds, or over others on purpose."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from torch.utils.data import Dataset

from mmmae.data import worker_status
from mmmae.data.bad_samples import Fault
from mmmae.data.bounds import bounded, extent
from mmmae.data.manifest import Manifest, Row
from mmmae.data.mixture import Mixture
from mmmae.data.notes import Notes, noted
from mmmae.data.sample import Sample, covered, fill
from mmmae.data.scan import empty
from mmmae.data.substitutes import NoSubstitute, NothingThere, candidates
from mmmae.data.window_targets import Placed
from mmmae.data.windows import Windows
from mmmae.recipes.streams import Stream
from modalities.errors import SampleError
from modalities.noise import sample_key
from modalities.reader import Reader


class Clips(Windows, Dataset):
    """Draws a window of `window` seconds from each recording of a manifest and reads its streams.

    All are read over the same seconds, unless a stream says otherwise: its own window may begin earlier or later, by a
    drawn lag, and last longer or shorter, by a drawn span.

    Everything random about a sample is a function of (seed, epoch, index), so the item is asked for by (epoch, index)
    and does not depend on who asks. Where the recording cannot be read, or has nothing in the window, another one that
    the sample's key draws takes its place; the key stays, and with it the place of the window, the crops and the masks.

    Inside the row's [start, end), or else the recording, the window lies anywhere that leaves room for the longest span
    and the longest lag; a lag that fits itself to the recording is drawn first, and the window in the room that it
    leaves. An image is the same at any time, and has no lag.
    How long a recording is, its streams that cannot be padded decide (video), else the shortest of them. What can be
    padded is cut off at the row's end, and absent where it would begin before the row.

    Args:
        manifest: the recordings.
        readers: one per stream to read; the order is that of the batch. Streams with the same reader, recording and
            span are read in one decode.
        window: seconds.
        streams: where and when each stream is read; by default its own column, over the window.
        repeats: samples drawn from each recording per epoch (Hoffer et al., arXiv:1901.09335).
        repeat: how they differ: "windows" reads several windows of the recording, following each other where it is
            long enough; "crops" reads one, and `mmmae.data.augment.repeat` multiplies it on the device.
        targets: what else is learned of each window, by name.
        centre: take the middle window (of several: the middles of equal parts) and the middle of each lag (evaluation).
        mixture: how training shares its samples out among several corpora.
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
        targets: Mapping[str, Placed] | None = None,
        mixture: Mixture | None = None,
    ):
        if repeats < 1:
            raise ValueError(f"repeats counts the samples drawn from each recording, from 1 up, got {repeats}")
        if repeat not in ("crops", "windows"):
            raise ValueError(f"repeat is 'crops' (of one window) or 'windows', got {repeat!r}")
        count = repeats if repeat == "windows" else 1
        super().__init__(readers, window=window, streams=streams, count=count, centre=centre)
        self.targets = {name: one for name, one in (targets or {}).items() if one.stream in self.readers}
        columns = [one.target.column for one in self.targets.values()]
        self.manifest, self.seed, self.mixture = manifest.giving(columns), seed, mixture
        self.groups = list(manifest.groups().values())
        self.refused: dict[int, SampleError] = {}  # recordings that ended a worker
        self.empty: dict[int, Fault | None] = {}  # of recordings that had nothing in a window
        self.notes = Notes()  # of the readers, on what has reached the main process

    def __len__(self) -> int:
        return len(self.manifest)

    def group(self, index: int) -> range:
        """The recordings of the corpus that one is of, which stand in for each other."""
        return next(group for group in self.groups if index in group)

    def __getitem__(self, place: tuple[int, int]) -> list[Sample] | NoSubstitute:
        """The samples of one recording or of its substitute; errors are values: no worker shows a traceback."""
        epoch, index = place
        key = sample_key(self.seed, epoch, index)
        faults, errors = [], []
        for chosen in candidates(index, key, self.group(index)):
            try:
                with self.reading(chosen):
                    samples = self.read(self.manifest[chosen], key)
            except SampleError as error:
                errors.append(error)
                if fault := self.fault(chosen, error):
                    faults.append(fault)
                continue
            return [replace(sample, faults=tuple(faults)) for sample in samples]
        error = errors[0]
        others = f"; nor could {len(errors) - 1} others that were tried in its place" if len(errors) > 1 else ""
        where = f"{self.manifest.path}, row {self.manifest[index].id!r}: {error.path}"
        return NoSubstitute(where, error.reason + others, error.remedy, error.modality, tuple(faults))

    def fault(self, index: int, error: SampleError) -> Fault | None:
        """What to report of a recording that gave an error; None where it only has nothing in one window."""
        if not isinstance(error, NothingThere):
            inside = error.path in {stream.use for stream in self.streams.values()}  # a modality in place of a file
            path = str(self.manifest.path) if inside else error.path
            return Fault(self.manifest[index].id, path, error.modality, error.reason, error.remedy)
        if index not in self.empty:
            try:
                nothing = empty(self, self.manifest[index])
                self.empty[index] = self.nothing(index, f"in {nothing} windows spread over it") if nothing else None
            except SampleError as deeper:
                self.empty[index] = self.fault(index, deeper)
        return self.empty[index]

    def nothing(self, index: int, where: str = "at any time") -> Fault:
        """What to report of a recording that has nothing."""
        row = self.manifest[index]
        sources = self.sources(row)
        names = ", ".join(dict.fromkeys(self.streams[m].source for m in sources or self.streams))
        remedy = "Drop the row, or choose what it has with --modalities."
        return Fault(row.id, self.called(sources), names, f"has no {names} {where}", remedy)

    @contextmanager
    def reading(self, index: int) -> Iterator[None]:
        """Inside, this recording is read, and counts as the one to blame if a decoder ends the worker.

        Raises:
            SampleError: it ended a worker before.
        """
        if index in self.refused:
            raise self.refused[index]
        with worker_status.reading(index):
            yield

    def refuse(self, index: int, reason: str) -> None:
        """From now on the recording counts as one that cannot be read."""
        row = self.manifest[index]
        sources = {m: row.sources[s.source] for m, s in self.streams.items() if s.source in row.sources}
        self.refused[index] = SampleError(self.called(sources), reason, "re-encode it or drop the row")

    def describe(self, index: int) -> str:
        """What to call a recording in a message."""
        return f"row {self.manifest[index].id!r} of {self.manifest.path}"

    def read(self, row: Row, key: int) -> list[Sample]:
        """The windows of one row, in each of which it has something.

        Raises:
            SampleError: a file cannot be read or is shorter than the window, or no modality is there after all.
        """
        samples = self.views(row, key)
        for sample in samples:
            if not any(reading.length for reading in sample.readings.values()):
                raise NothingThere(
                    self.called(self.sources(row)),
                    f"has none of {', '.join(self.readers)} from {sample.start:.2f} s to "
                    f"{sample.start + self.window:.2f} s",
                    "Drop the row, or choose what it has with --modalities.",
                )
        return samples

    def views(self, row: Row, key: int) -> list[Sample]:
        """The windows of one row; where it has nothing in one, every stream of that is absent.

        Raises:
            SampleError: a file cannot be read or is shorter than the window.
        """
        sources = self.sources(row)
        row = bounded(self, row, sources)
        start, end = extent(self, row, sources)
        places = self.places(start, end, key, sources)
        samples = []
        for place, found in zip(places, self.decode(row, sources, places), strict=True):
            blank = {m: reader.blank(self.spans[m]) for m, reader in self.readers.items()}
            filled = {m: fill(blank[m], reading) for m, reading in found.items()}
            spans = {m: covered(reader, self.spans[m], place.spans[m]) for m, reader in self.readers.items()}
            notes = noted(row.id, found, lambda m: (self.called({m: sources[m]}), self.streams[m].source))
            samples.append(
                self.aimed(
                    row,
                    Sample(
                        blank | filled, place.start, dict(place.lags), spans, place.key, row.id, row.label, notes=notes
                    ),
                )
            )
        return samples

    def aimed(self, row: Row, sample: Sample) -> Sample:
        """The sample with the targets of its window."""
        found = {}
        for name, one in self.targets.items():
            start, span = sample.start + sample.lags[one.stream], sample.spans[one.stream]
            cell = row.cells[one.target.column]
            found[name] = one.of(cell, start, span, sample.readings[one.stream])
        return replace(sample, targets=found) if found else sample
