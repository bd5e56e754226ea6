"""Windows of recordings: every stream of a sample is read over the same seconds, or over others on purpose."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch.utils.data import Dataset

from mmmae.data.augment import repeat_key
from mmmae.data.bounds import SLACK, bounded, extent
from mmmae.data.faults import Fault
from mmmae.data.manifest import Manifest, Row
from mmmae.data.notes import Notes, noted
from mmmae.data.passes import look_through
from mmmae.data.sample import Sample, fill
from mmmae.data.substitutes import NoSubstitute, NothingThere, candidates
from mmmae.streams import Stream
from modalities.errors import InputError, SampleError
from modalities.noise import draw, sample_key
from modalities.reader import Reader, Reading

if TYPE_CHECKING:
    from mmmae.data.ahead import Desk


class Clips(Dataset):
    """Draws a window of `window` seconds from each recording of a manifest and reads its streams.

    All are read over the same seconds, unless a stream says otherwise: its own window may begin earlier or later, by a
    drawn lag, and last longer or shorter.

    Everything random about a sample is a function of (seed, epoch, index), so the item is asked for by (epoch, index)
    and does not depend on who asks. Where the recording cannot be read, or has nothing in the window, another one that
    the sample's key draws takes its place; the key stays, and with it the place of the window, the crops and the masks.

    Inside the row's [start, end), or else the recording, the window lies anywhere that leaves room for the longest lag.
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
        centre: take the middle window (of several: the middles of equal parts) and the middle of each lag (evaluation).
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
        self.desk: Desk | None = None  # where a worker says what it is at
        self.refused: dict[int, SampleError] = {}  # recordings that killed a worker
        self.empty: dict[int, Fault | None] = {}  # of recordings that had nothing in a window
        self.notes = Notes()  # of the readers, on what has reached the main process

    def __len__(self) -> int:
        return len(self.manifest)

    def __getitem__(self, place: tuple[int, int]) -> list[Sample] | NoSubstitute:
        """The samples of one recording or of its substitute; errors are values: no worker shows a traceback."""
        epoch, index = place
        key = sample_key(self.seed, epoch, index)
        faults, errors = [], []
        for chosen in candidates(index, key, len(self)):
            try:
                with self.at(chosen):
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
        """What is to be told of a recording that gave an error; None where it only has nothing in one window."""
        if not isinstance(error, NothingThere):
            path = str(self.manifest.path) if error.path == "text" else error.path
            return Fault(self.manifest[index].id, path, error.modality, error.reason, error.remedy)
        if index not in self.empty:
            try:
                self.empty[index] = (
                    None if any(found for _, found in look_through(self, index)) else self.nothing(index)
                )
            except SampleError as deeper:
                self.empty[index] = self.fault(index, deeper)
        return self.empty[index]

    def nothing(self, index: int) -> Fault:
        """What is to be told of a recording that has nothing at any time."""
        row = self.manifest[index]
        sources = self.sources(row)
        names = ", ".join(dict.fromkeys(self.streams[m].source for m in sources or self.streams))
        remedy = "Drop the row, or choose what it has with --modalities."
        return Fault(row.id, self.called(sources), names, f"has no {names} at any time", remedy)

    @contextmanager
    def at(self, index: int) -> Iterator[None]:
        """Inside, this recording is read.

        Raises:
            SampleError: it killed a worker before.
        """
        if index in self.refused:
            raise self.refused[index]
        if self.desk is None:
            yield
            return
        self.desk.begin(index)
        try:
            yield
        finally:
            self.desk.leave()

    def refuse(self, index: int, reason: str) -> None:
        """From now on the recording counts as one that cannot be read."""
        row = self.manifest[index]
        sources = {m: row.sources[s.source] for m, s in self.streams.items() if s.source in row.sources}
        self.refused[index] = SampleError(self.called(sources), reason, "re-encode it or drop the row")

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
        starts = self.starts(start, end, key, self.room(sources))
        keys = [repeat_key(key, number) for number in range(len(starts))]
        lags = [{m: self.lag(m, key) for m in self.readers} for key in keys]
        read = self.decode(row, sources, starts, lags)
        samples = []
        for start, lag, key, found in zip(starts, lags, keys, read, strict=True):
            blank = {m: reader.blank(self.spans[m]) for m, reader in self.readers.items()}
            filled = {m: fill(blank[m], reading) for m, reading in found.items()}
            notes = noted(row.id, found, lambda m: (self.called({m: sources[m]}), self.streams[m].source))
            samples.append(Sample(blank | filled, start, lag, self.spans, key, row.id, row.label, notes=notes))
        return samples

    def sources(self, row: Row) -> dict[str, Any]:
        """What each stream that a row has is read from.

        Raises:
            SampleError: that cannot be read, as the manifest knows already.
        """
        sources = {m: row.sources[s.source] for m, s in self.streams.items() if s.source in row.sources}
        for source in sources.values():
            if isinstance(source, SampleError):
                raise source
        return sources

    def decode(
        self, row: Row, sources: Mapping[str, Any], starts: Sequence[float], lags: Sequence[Mapping[str, float]]
    ) -> list[dict[str, Reading]]:
        """For each window, what its streams read from where they begin, inside the limits of the row."""
        limits = (row.start or 0.0, math.inf if row.end is None else row.end)  # nothing is read beyond a row
        begins = [{m: start + late for m, late in lag.items()} for start, lag in zip(starts, lags, strict=True)]
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
            with self.blaming(names[0], sources[names[0]]):
                readings = self.readers[names[0]].read_windows(sources[names[0]], moments, duration)
            for (number, m), reading in zip(slots, readings, strict=True):
                if reading is not None:
                    notes = (*reading.notes, *row.notes)
                    found[number][m] = replace(reading, notes=notes) if row.notes else reading
        return found

    @contextmanager
    def blaming(self, stream: str, source: Any) -> Iterator[None]:
        """Errors inside are those of this stream's modality; whatever the reader did not foresee is one, too."""
        try:
            yield
        except SampleError as error:
            error.modality = error.modality or self.streams[stream].source
            raise
        except InputError:
            raise
        except Exception as error:  # nothing that stands in a file may end a run
            reason, remedy = (
                f"the reader fails ({type(error).__name__}: {str(error)[:200]})",
                "re-encode the file or drop the row",
            )
            raise SampleError(self.called({stream: source}), reason, remedy, self.streams[stream].source) from error

    def lag(self, stream: str, key: int) -> float:
        """By how much a stream begins after the window whose key this is."""
        low, high = self.streams[stream].lag
        return low + (high - low) * (0.5 if self.centre else draw(key, f"lag/{stream}")[0])

    def room(self, streams: Iterable[str]) -> tuple[float, float]:
        """Seconds before and after a window's start that it and its streams take; what can be padded has no say."""
        strict = [m for m in streams if not self.readers[m].pads] or list(streams)
        first, last = zip((0.0, self.window), *(self.streams[m].reach(self.window) for m in strict), strict=True)
        return -min(first), max(last)

    def seconds(self, stream: str, source: Any) -> float | None:
        with self.blaming(stream, source):
            return self.readers[stream].seconds(source)

    def starts(self, start: float, end: float, key: int, needs: tuple[float, float]) -> list[float]:
        """Where the windows begin: one after the other in a drawn stretch, overlapping where there is less room."""
        before, after = needs
        room = max(end - start - before - after, 0.0)
        start += before
        if self.centre:  # in the middles of equal parts of all the room there is
            return [start + room * (number + 0.5) / self.windows for number in range(self.windows)]
        step = min(self.window, room / max(self.windows - 1, 1))
        start += (room - step * (self.windows - 1)) * draw(key, "window")[0]
        return [start + step * number for number in range(self.windows)]

    def called(self, sources: Mapping[str, Any]) -> str:
        """What to call the sources of some streams in a message: their files, each once."""
        files = (source for m, source in sources.items() if self.streams[m].source != "text")
        paths = (file["path"] if isinstance(file, dict) else file for file in files)
        return ", ".join(dict.fromkeys(paths)) or "captions"
