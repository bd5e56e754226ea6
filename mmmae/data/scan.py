"""A recording from beginning to end, by the rules that training reads windows of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext

from mmmae.data.bounds import bounded, extent
from mmmae.data.manifest import Row
from mmmae.data.windows import SLACK, WindowPlace, Windows
from modalities.reader import Reading

PASS = 30.0  # seconds of a recording that are held at once
SPREAD = 8  # windows by which a recording is found to have nothing


def scan(
    windows: Windows, row: Row, reading: Callable[[], AbstractContextManager] = nullcontext
) -> Iterator[tuple[float, dict[str, Reading]]]:
    """The windows of a recording, one after the other: where each begins, and what the streams that it has read there.

    The windows follow each other from the first that training may draw to the last: all that one could meet is met.

    reading: the context in which files are opened and decoded.

    Raises:
        SampleError: training would meet it in some window.
    """
    windows = windows.thorough()
    with reading():
        sources = windows.sources(row)
        row = bounded(windows, row, sources)
        start, end = extent(windows, row, sources)
    before, after = windows.room(sources)
    first, last = start + before, max(end - after, start + before)
    count = math.ceil((last - first) / windows.window - SLACK)
    starts = [*(first + number * windows.window for number in range(count)), last]
    reach = windows.reach(sources)
    early, late = (
        dict.fromkeys(windows.readers, 0.0) | {m: lags[side] for m, lags in reach.items()} for side in (0, 1)
    )
    many = max(1, int(PASS / windows.window))
    for number in range(0, len(starts), many):
        here = starts[number : number + many]
        places = [WindowPlace(begin, early, windows.spans, 0) for begin in here]
        if number + many >= len(starts) and late != early:
            here, places = [*here, last], [*places, WindowPlace(last, late, windows.spans, 0)]
        with reading():
            decoded = windows.decode(row, sources, places)
        for begin, found in zip(here, decoded, strict=True):
            yield begin, {m: reading for m, reading in found.items() if reading.length}


def empty(windows: Windows, row: Row) -> int:
    """In how many windows spread evenly over a recording it has nothing; 0 if it has something in one of them.

    Raises:
        SampleError: a file cannot be read.
    """
    sources = windows.sources(row)
    row = bounded(windows, row, sources)
    start, end = extent(windows, row, sources)
    lags, (before, after) = windows.lags(sources, None, end - start)
    room = max(end - start - before - after, 0.0)
    count = min(SPREAD, math.ceil(room / windows.window) + 1)
    for number in range(count):
        begin = start + before + room * number / max(count - 1, 1)
        [found] = windows.decode(row, sources, [WindowPlace(begin, lags, windows.spans, 0)])
        if any(reading.length for reading in found.values()):
            return 0
    return count
