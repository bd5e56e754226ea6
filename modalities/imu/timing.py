"""Seconds of the rows of a table: the first of its clocks that can be right, and what the others say to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from modalities.errors import SampleError
from modalities.imu import units
from modalities.imu.clock import Clock, unit_of
from modalities.imu.columns import Layout, listed

DRIFT = 0.02  # of the duration: by so much (and a second) may two clocks of a recording differ
BATCHES = (
    "sort the rows by time and keep one row per moment; where a logger stamps readings in batches, "
    "give each its own time, or leave the time column out and give the manifest's row an `imu_rate`"
)

Stamps: TypeAlias = tuple[Clock, np.ndarray | SampleError, bool]  # as the file has them, or why not; whether as dates
Rows: TypeAlias = Sequence[tuple[np.ndarray | None, list[int]]]  # of which each group of channels has readings


def timed(
    path: Path, layout: Layout, clocks: Sequence[Stamps], existing: Rows, numbered: np.ndarray
) -> tuple[np.ndarray, list[str]]:
    """Seconds of the recording at each row, and what is to be said of them.

    Clocks are tried in their order; the others must agree with the first that can be right as far as they can be read.

    Raises:
        SampleError: none can be right, or two disagree.
    """
    found: list[tuple[Clock, np.ndarray, list[str]]] = []
    errors = []
    for clock, stamps, dates in clocks:
        try:
            if isinstance(stamps, SampleError):
                raise stamps
            found.append((clock, *seconds(path, layout, clock, stamps, dates, existing, numbered)))
        except SampleError as error:
            errors.append(error)
    if not found:
        raise errors[0]
    (first, times, notes), others = found[0], found[1:]
    for other, theirs, _ in others:
        apart = np.abs((theirs - theirs[0]) - (times - times[0])).max()
        if apart > 1 + DRIFT * (times[-1] - times[0]):
            reason = f"its clocks {first.name!r} and {other.name!r} disagree by {apart:.3g} s"
            raise SampleError(path, reason, f"choose the right one: `modalities.imu.columns.time={first.name}`")
    if len(clocks) > 1:
        rest = listed([clock.name for clock, _, _ in clocks if clock.name != first.name])
        notes = [*notes, f"time is read from column {first.name!r}, ignored: {rest}"]
    return times, notes


def seconds(
    path: Path, layout: Layout, clock: Clock, stamps: np.ndarray, dates: bool, existing: Rows, numbered: np.ndarray
) -> tuple[np.ndarray, list[str]]:
    """Seconds of the recording by one clock: its stamps never run back and increase along every channel.

    The recording begins at 0 of the clock, or at its first stamp where that is negative or reaches 1 s.

    Raises:
        SampleError: stamps are missing or do not increase, or their unit is not certain.
    """
    if not np.isfinite(stamps).all():
        row = numbered[np.flatnonzero(~np.isfinite(stamps))[0]]
        raise SampleError(path, f"column {clock.name!r}, row {row}: has no time", "give every row its time, or drop it")
    spans = [stamps if rows is None else stamps[rows] for rows, _ in existing] or [stamps]
    steps = [step for span in spans if len(step := np.diff(span)[np.diff(span) > 0])]
    stated, notes = layout.unit("time"), []
    size = units.factor(stated or clock.unit or "s", "time")
    if steps:
        size, notes = unit_of(path, clock, float(stamps[0]), min(steps, key=np.median), layout.rate, stated, dates)
    since, first = (stamps - stamps[0]) * size, float(stamps[0] * size)
    refuse_back(path, since, first, np.arange(len(since)), numbered, strictly=False)
    for rows, _ in existing or [(None, [])]:
        refuse_back(path, since, first, np.arange(len(since)) if rows is None else rows, numbered, strictly=True)
    return since + (first if 0 <= first < 1 else 0.0), notes


def refuse_back(
    path: Path, since: np.ndarray, first: float, rows: np.ndarray, numbered: np.ndarray, strictly: bool
) -> None:
    """Refuse times that run back from one of some rows to the next, or (strictly) that repeat.

    Raises:
        SampleError: names the row.
    """
    steps = np.diff(since[rows])
    late = np.flatnonzero(steps <= 0 if strictly else steps < 0)
    if len(late):
        now, before = (since[rows[at]] + first for at in (late[0] + 1, late[0]))
        reason = f"row {numbered[rows[late[0] + 1]]}: time {now:.6g} s after {before:.6g} s does not increase"
        raise SampleError(path, reason, BATCHES)
