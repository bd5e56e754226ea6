"""A recording of inertial sensors: the readings of every channel, each group of channels on its own clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from modalities.errors import SampleError
from modalities.imu import gravity, units
from modalities.imu.columns import Layout
from modalities.imu.names import Column
from modalities.imu.words import CHANNELS

Place = tuple[int, str]  # number of the sensor, channel


@dataclass(frozen=True)
class Group:
    """Channels of which readings exist at the same moments.

    times: (n,) seconds of the recording. rows: (n,) of the table; None where every row has a reading.
    columns: of the table, one for each of `places`; `scale` turns their readings into m/s^2, rad/s and uT.
    period: usual seconds from one reading to the next.
    """

    times: np.ndarray
    rows: np.ndarray | None
    columns: list[int]
    places: list[Place]
    scale: np.ndarray
    period: float

    def around(self, values: np.ndarray, start: float, end: float, margin: float) -> tuple[np.ndarray, np.ndarray]:
        """What was measured in and around [start, end): moments (n,) and readings (n, k)."""
        reach = margin + 4 * self.period  # enough to see the gaps on both sides
        low, high = np.searchsorted(self.times, [start - reach, end + reach])
        chosen = values[low:high] if self.rows is None else values[self.rows[low:high]]
        width = int(np.prod(values.shape[1:]))
        chosen = np.asarray(chosen, dtype=np.float64).reshape(high - low, width)[:, self.columns]
        with np.errstate(over="ignore"):
            return self.times[low:high], chosen * self.scale


@dataclass(frozen=True)
class Table:
    """A recording: `values` (rows, ...) as the file has them, read through `groups`.

    names: of the sensors; None where the file (npy) has none. seconds: from the recording's zero to the end of the last
    reading. notes: what was assumed or converted. facts: what `mmmae check` reports. edges: pairs of sensors, as the
    manifest wrote them.
    """

    path: Path
    values: np.ndarray
    groups: list[Group]
    names: list[str] | None
    sensors: int
    seconds: float
    notes: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    edges: Sequence[Any] | None = None

    @property
    def channels(self) -> list[str]:
        """Those that some sensor has, in the usual order."""
        found = {channel for group in self.groups for _, channel in group.places}
        return [c for c in CHANNELS if c in found] + sorted(found - set(CHANNELS))

    @property
    def bytes(self) -> int:
        """What the recording takes in memory; a mapped array takes only what describes it."""
        own = 2**16 if isinstance(self.values, np.memmap) else self.values.nbytes
        return own + sum(g.times.nbytes + (0 if g.rows is None else g.rows.nbytes) for g in self.groups)


def masks(values: np.ndarray, columns: Sequence[int]) -> list[tuple[np.ndarray | None, list[int]]]:
    """Columns of (rows, ...) whose readings exist in the same rows, and those rows (None: all)."""
    flat = values.reshape(len(values), -1)
    if flat.dtype.kind != "f":
        return [(None, list(columns))]
    exists = np.isfinite(flat)
    if exists.all():
        return [(None, list(columns))]
    found: dict[bytes, list[int]] = {}
    for column in columns:
        found.setdefault(exists[:, column].tobytes(), []).append(column)
    groups = []
    for same in found.values():
        there = exists[:, same[0]]
        if there.any():
            groups.append((None if there.all() else np.flatnonzero(there), same))
    return groups


def scales(
    path: Path, values: np.ndarray, columns: dict[int, tuple[Place, Column]], layout: Layout, period: float
) -> tuple[dict[int, float], list[str], list[str]]:
    """Factors to m/s^2, rad/s and uT of each column, the notes about them, and the units that were found.

    Raises:
        SampleError: a unit is not known, or does not fit the readings.
    """
    found, notes, stated = {}, [], {}
    for index, (_, column) in columns.items():
        unit = layout.unit(column.quantity)
        if unit is None and not column.known:
            reason = f"the unit {column.unit!r} of {column.quantity} is not known"
            known = ", ".join(units.FACTORS[str(column.quantity)])
            remedy = f"state it: `modalities.imu.units.{column.quantity}=...`, {known}"
            raise SampleError(path, reason, remedy + " or a number that readings are multiplied by")
        stated[index] = column.unit if unit is None else unit
    gravities = accelerations(values, columns, stated, period)
    certain = any(stated[t[0]] is None and abs(s - 1) <= 0.1 and w <= gravity.TIGHT for t, s, w, _ in gravities)
    for triple, size, spread, long in gravities:
        by_recipe = layout.unit("acceleration") is not None
        if stated[triple[0]] is None and certain and abs(size - 1) <= 0.35:
            spread = 0.0  # another sensor of the file is certain
            size = 1.0
        if not by_recipe or isinstance(stated[triple[0]], str):
            unit, told = gravity.unit_of(path, size, spread, canonical(stated[triple[0]]), by_recipe, long)
            notes += told
            if stated[triple[0]] is None and unit != "m/s^2":
                stated |= dict.fromkeys(triple, unit)
    for index, (_, column) in columns.items():
        quantity = column.quantity
        found[index] = 1.0 if quantity is None or stated[index] is None else units.factor(stated[index], quantity)
        if quantity is not None and found[index] != 1.0:
            unit = stated[index] if isinstance(stated[index], str) else "another unit"
            note = f"{quantity.replace('_', ' ')} is in {unit}: converted to {units.PLAIN[quantity]}"
            notes += [] if any(other.startswith(note.partition(":")[0]) for other in notes) else [note]
    if fast := [i for i, (_, column) in columns.items() if column.quantity == "angular_velocity" and stated[i] is None]:
        gravity.refuse_fast(path, values.reshape(len(values), -1)[:, fast])
    free = [t for t, size, _, _ in gravities if columns[t[0]][1].free and size * found[t[0]] < units.GRAVITY / 2]
    if free:
        notes.append("acceleration is without gravity")
    used = [
        f"{q.replace('_', ' ')} {canonical(stated[i]) or units.PLAIN[q]}"
        for i, (_, c) in columns.items()
        if (q := c.quantity)
    ]
    return found, list(dict.fromkeys(notes)), list(dict.fromkeys(used))


def canonical(unit: Any) -> str | None:
    return (
        (units.parse(unit, "acceleration") or unit) if isinstance(unit, str) else None if unit is None else f"x{unit:g}"
    )


def accelerations(
    values: np.ndarray, columns: dict[int, tuple[Place, Column]], stated: dict[int, Any], period: float
) -> list[tuple[list[int], float, float, bool]]:
    """Of each sensor with all three axes in one unit: their columns, and what `gravity` finds of their readings."""
    by_sensor: dict[int, dict[str, int]] = {}
    for index, ((sensor, channel), _) in columns.items():
        by_sensor.setdefault(sensor, {})[channel] = index
    flat, found = values.reshape(len(values), -1), []
    for axes in by_sensor.values():
        triple = [axes[c] for c in CHANNELS[:3] if c in axes]
        if len(triple) < 3 or len({str(stated[i]) for i in triple}) > 1:
            continue
        readings = np.asarray(flat[:, triple], dtype=np.float64)
        readings = readings[np.isfinite(readings).all(axis=1)]
        if len(readings):
            found.append((triple, *gravity.gravity(readings, period)))
    return found
