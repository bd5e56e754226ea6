"""A recording from beginning to end, by the rules that training reads windows of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from copy import copy
from typing import TYPE_CHECKING

from mmmae.data.bounds import SLACK, bounded, extent

if TYPE_CHECKING:
    from mmmae.data.dataset import Clips
    from modalities.reader import Reading

PASS = 30.0  # seconds of a recording that are held at once


def look_through(clips: Clips, index: int) -> Iterator[tuple[float, dict[str, Reading]]]:
    """The windows of a recording, one after the other: where each begins, and what the streams that it has read there.

    The windows follow each other from the first that training may draw to the last: all that one could meet is met.

    Raises:
        SampleError: training would meet it in some window.
    """
    clips = thorough(clips)
    row = clips.manifest[index]
    with clips.at(index):
        sources = clips.sources(row)
        row = bounded(clips, row, sources)
        start, end = extent(clips, row, sources)
    before, after = clips.room(sources)
    first, last = start + before, max(end - after, start + before)
    count = math.ceil((last - first) / clips.window - SLACK)
    starts = [*(first + number * clips.window for number in range(count)), last]
    early, late = ({m: clips.streams[m].lag[side] for m in clips.readers} for side in (0, 1))
    many = max(1, int(PASS / clips.window))
    for number in range(0, len(starts), many):
        here = starts[number : number + many]
        lags = [early] * len(here)
        if number + many >= len(starts) and late != early:
            here, lags = [*here, last], [*lags, late]
        with clips.at(index):
            decoded = clips.decode(row, sources, here, lags)
        for begin, found in zip(here, decoded, strict=True):
            yield begin, {m: reading for m, reading in found.items() if reading.length}


def thorough(clips: Clips) -> Clips:
    """The same clips, read by readers that pass over nothing; what was one reader stays one."""
    found, readers = copy(clips), {id(reader): reader.thorough() for reader in clips.readers.values()}
    found.readers = {name: readers[id(reader)] for name, reader in clips.readers.items()}
    return found
