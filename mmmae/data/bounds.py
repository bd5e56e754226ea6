"""Bounds of a row in its recording, and of the windows in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mmmae.data.manifest import Row
from mmmae.data.windows import SLACK, Windows
from modalities.errors import SampleError

ROUNDING = 0.1  # seconds by which a row's `end` may lie after the recording without a note: a frame of 10 Hz
LATE = (1.0, 0.05)  # seconds, and share of the recording, by which an annotation may end after it
AFTER = "the row's `end` lies after the end of the recording: what is there is used"


def bounded(windows: Windows, row: Row, sources: Mapping[str, Any]) -> Row:
    """The row with its `end` not after that of the recording; what is cut off is noted.

    The recording ends with the shortest stream that cannot be padded (video), else with the longest of the others.

    Raises:
        SampleError: it ends before the row's `start`, or well before its `end`.
    """
    if row.end is None and not row.start:
        return row
    strict = {m: source for m, source in sources.items() if not windows.readers[m].pads}
    known = {m: end for m, source in (strict or sources).items() if (end := windows.seconds(m, source)) is not None}
    if not known:
        return row
    stream = (min if strict else max)(known, key=known.__getitem__)
    length, start = known[stream], row.start or 0.0
    called, column = windows.called({stream: sources[stream]}), windows.streams[stream].source
    if start >= length:
        reason = f"its row's `start` is {start - length:.2f} s after the end of the recording ({length:.2f} s)"
        raise SampleError(called, reason, "correct `start` and `end` (in seconds), or drop the row", column)
    late = 0.0 if row.end is None else row.end - length
    if late <= ROUNDING and (late <= SLACK or length - start < sum(windows.room(sources)) - SLACK):
        return row  # the reader has its own tolerance of a frame
    if late > max(LATE[0], LATE[1] * length):
        reason = f"its row's `end` is {late:.2f} s after the end of the recording ({length:.2f} s)"
        raise SampleError(called, reason, f"set `end` to {length:.2f} or leave it empty (in seconds)", column)
    return replace(row, end=length, notes=(AFTER,) if late > ROUNDING else ())


def extent(windows: Windows, row: Row, sources: Mapping[str, Any]) -> tuple[float, float]:
    """The seconds [start, end) of a bounded row in which windows lie where they fit.

    Raises:
        SampleError: they are fewer than the window and there is a stream that cannot be padded.
    """
    start, needed = row.start or 0.0, sum(windows.room(sources))
    strict = {m: source for m, source in sources.items() if not windows.readers[m].pads}
    if row.end is not None:
        if strict and row.end - start < needed - SLACK:
            rest = f"start {start:g} s to end {row.end:g} s is"
            if AFTER in row.notes:
                rest = f"lasts {row.end:.2f} s, less than its row's `end`, and what is left from {start:g} s on is"
            raise SampleError(
                windows.called(strict),
                f"{rest} shorter than the window of {needed:g} s",
                f"Shorten the window (window={row.end - start:.4g}) or drop the row.",
                windows.streams[next(iter(strict))].source,
            )
        return start, row.end
    for group in (strict, sources):
        seconds = [windows.seconds(m, source) for m, source in group.items()]
        if known := [end for end in seconds if end is not None]:
            return start, min(known)
    return start, start
