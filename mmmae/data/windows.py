"""Positions of the windows of a recording, and decoding of its streams there."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from mmmae.data.augment import repeat_key
from mmmae.data.manifest import Row
from mmmae.recipes.streams import Stream
from mmmae.recipes.timing import Lag
from modalities.errors import InputError, SampleError
from modalities.noise import uniform_scalar
from modalities.reader import Reader, Reading

SLACK = 1e-6  # seconds that are only rounding

Own = TypeVar("Own", bound="Windows")


@dataclass(frozen=True)
class WindowPlace:
    """Where a window begins, by how much each stream begins after it, how long it lasts, and the window's key."""

    start: float
    lags: Mapping[str, float]
    spans: Mapping[str, float]
    key: int


class Windows:
    """Windows of `window` seconds of recordings, in which every stream is read where and as long as it is set to be.

    Args:
        readers: one per stream to read; the order is that of the batch.
        window: seconds.
        streams: where and when each stream is read; by default its own column, over the window.
        count: windows of each recording.
        centre: whether windows lie in the middle, and lags and spans are their middle; else the sample's key draws
            them.

    spans: seconds that each stream lasts at most.
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
        self.spans = {name: stream.longest(window) for name, stream in self.streams.items()}
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

    def decode(self, row: Row, sources: Mapping[str, Any], places: Sequence[WindowPlace]) -> list[dict[str, Reading]]:
        """For each window, what its streams read from where they begin, inside the limits of the row."""
        limits = (row.start or 0.0, math.inf if row.end is None else row.end)  # nothing is read beyond a row
        begins = [{m: place.start + late for m, late in place.lags.items()} for place in places]
        together: dict[tuple[int, str, float], list[tuple[int, str]]] = {}
        for number, place in enumerate(places):
            for m in sources:
                if limits[0] - SLACK <= begins[number][m] < limits[1]:
                    alike = (id(self.readers[m]), self.streams[m].source, place.spans[m])
                    together.setdefault(alike, []).append((number, m))
        found: list[dict[str, Reading]] = [{} for _ in begins]
        for (_, _, span), slots in together.items():
            moments, first = [begins[number][m] for number, m in slots], slots[0][1]
            over = max(moments) + span - limits[1]
            duration = span - over if over > SLACK else span
            with self.blaming(first, sources[first]):
                readings = self.readers[first].read_windows(sources[first], moments, duration)
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

    def places(self, start: float, end: float, key: int, sources: Mapping[str, Any]) -> list[WindowPlace]:
        """The windows of the seconds [start, end) of a recording: lags first, then the windows in the room left."""
        keys = [repeat_key(key, number) for number in range(self.windows)]
        moved = [self.lags(sources, key, end - start) for key in keys]
        if self.centre or not any(self.streams[m].lag.fits for m in sources):
            starts = self.starts(start, end, key, moved[0][1], self.windows)
        else:  # each has room of its own
            starts = [self.starts(start, end, k, needs, 1)[0] for k, (_, needs) in zip(keys, moved, strict=True)]
        short = end - start < sum(self.room(sources)) - SLACK  # which readers refuse, whatever the key draws
        longest = [m for m in sources if short and not self.readers[m].pads]
        spans = [{m: self.spans[m] if m in longest else self.span(m, key) for m in self.readers} for key in keys]
        return [WindowPlace(*one) for one in zip(starts, (lags for lags, _ in moved), spans, keys, strict=True)]

    def lags(
        self, sources: Mapping[str, Any], key: int | None, seconds: float
    ) -> tuple[dict[str, float], tuple[float, float]]:
        """By how much each stream begins after a window of a recording of `seconds`, and the room that they then take.

        key: of the window; None, as for `centre`, takes the middle of each lag.
        """
        before, after = self.room({m: source for m, source in sources.items() if not self.streams[m].lag.fits})
        lags = {}
        for m, stream in self.streams.items():
            share, side = (0.5, 1.0) if self.centre or key is None else uniform_scalar(key, f"lag/{m}", 2)
            if m in sources and self.still(m, sources[m]):
                lags[m] = 0.0
            elif not stream.lag.fits:
                lags[m] = stream.lag.at(share, side)
            elif m not in sources:
                lags[m] = stream.lag.low
            else:
                lags[m] = stream.lag.at(share, side, seconds - before - self.spans[m], seconds - after)
                before, after = max(before, -lags[m]), max(after, lags[m] + self.spans[m])
        return lags, (before, after)

    def span(self, stream: str, key: int) -> float:
        """How long a stream lasts in the window whose key this is."""
        span = self.streams[stream].span
        if span is None:
            return self.window
        return span.middle if self.centre else span.at(uniform_scalar(key, f"span/{stream}")[0])

    def still(self, stream: str, source: Any) -> bool:
        """Whether a stream is read from an image, where no lag leads anywhere."""
        if self.streams[stream].lag == Lag():
            return False
        with self.blaming(stream, source):
            return self.readers[stream].still(source)

    def reach(self, sources: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
        """The least and the largest lag of each stream for which every recording has room."""
        return {m: (0.0, 0.0) if self.still(m, source) else self.streams[m].lag.reach for m, source in sources.items()}

    def room(self, sources: Mapping[str, Any]) -> tuple[float, float]:
        """Seconds before and after a window's start that it and its streams take; what can be padded has no say."""
        strict = {m: source for m, source in sources.items() if not self.readers[m].pads} or sources
        reach = self.reach(strict)
        return -min([0.0, *(low for low, _ in reach.values())]), max(
            [self.window, *(high + self.spans[m] for m, (_, high) in reach.items())]
        )

    def seconds(self, stream: str, source: Any) -> float | None:
        with self.blaming(stream, source):
            return self.readers[stream].seconds(source)

    def starts(self, start: float, end: float, key: int, needs: tuple[float, float], count: int) -> list[float]:
        """Where the windows begin: one after the other in a drawn stretch, overlapping where there is less room."""
        before, after = needs
        room = max(end - start - before - after, 0.0)
        start += before
        if self.centre:  # in the middles of equal parts of all the room there is
            return [start + room * (number + 0.5) / count for number in range(count)]
        step = min(self.window, room / max(count - 1, 1))
        start += (room - step * (count - 1)) * uniform_scalar(key, "window")[0]
        return [start + step * number for number in range(count)]

    def called(self, sources: Mapping[str, Any]) -> str:
        """What to call the sources of some streams in a message: their files, each once."""
        files = (file for m, source in sources.items() for file in self.readers[m].files(source))
        return ", ".join(dict.fromkeys(files)) or "captions"
