"""Positions of the windows of a recording, and decoding of its streams there."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from typing import Any, TypeVar

from mmmae.data.manifest import Row
from mmmae.recipes.streams import Stream
from modalities.errors import InputError, SampleError
from modalities.noise import uniform_scalar
from modalities.reader import Reader, Reading

SLACK = 1e-6  # seconds that are only rounding

Own = TypeVar("Own", bound="Windows")


class Windows:
    """Windows of `window` seconds of recordings, in which every stream is read where and as long as it is set to be.

    Args:
        readers: one per stream to read; the order is that of the batch.
        window: seconds.
        streams: where and when each stream is read; by default its own column, over the window.
        count: windows of each recording.
        centre: whether windows lie in the middle, and lags are their middle; else the sample's key draws them.
    """

    def __init__(
        self,
        readers: Mapping[str, Reader],
        *,
        window: float,
        streams: Mapping[str, Stream] | None = None,
        count: int = 1,
        centre: bool = False,
    ):
        if not window > 0:
            raise ValueError(f"window is the seconds read of each recording and must be above 0, got {window}")
        if not readers:
            raise ValueError("clips need a reader for at least one modality, got none")
        self.readers = dict(readers)
        self.streams = {name: (streams or {}).get(name) or Stream(use=name, source=name) for name in readers}
        self.spans = {name: stream.span or window for name, stream in self.streams.items()}
        self.window, self.windows, self.centre = window, count, centre

    def thorough(self: Own) -> Own:
        """The same windows, read by readers that skip no packet; streams that had one reader still have one."""
        found, readers = copy(self), {id(reader): reader.thorough() for reader in self.readers.values()}
        found.readers = {name: readers[id(reader)] for name, reader in self.readers.items()}
        return found

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
        return low + (high - low) * (0.5 if self.centre else uniform_scalar(key, f"lag/{stream}")[0])

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
        start += (room - step * (self.windows - 1)) * uniform_scalar(key, "window")[0]
        return [start + step * number for number in range(self.windows)]

    def called(self, sources: Mapping[str, Any]) -> str:
        """What to call the sources of some streams in a message: their files, each once."""
        files = (file for m, source in sources.items() for file in self.readers[m].files(source))
        return ", ".join(dict.fromkeys(files)) or "captions"
