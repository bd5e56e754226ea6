"""Arrays of readings in .npy files: channels by position, on a clock of even steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from modalities.errors import SampleError
from modalities.files import limits
from modalities.files.cache import Recent
from modalities.files.npy import mapped
from modalities.imu.columns import Layout
from modalities.imu.gravity import LOOKED, SEGMENT
from modalities.imu.names import Column
from modalities.imu.recording import Group, Place, Table, masks, scales
from modalities.imu.words import CHANNELS

MANY = 40  # sensors, above which the middle axis is not taken for sensors unless the recipe states so many
SHORT = 8  # steps, from which a middle axis may be the steps of windows
COMMON = (3, 6, 9)  # channels of a sensor


def readings(path: Path) -> np.ndarray:
    """The readings in a .npy file, mapped and not read.

    Raises:
        SampleError: it is no array of readings.
    """
    values = mapped(path)
    if values.ndim not in (2, 3, 4) or values.dtype.kind not in "fiu" or not values.size:
        reason = "holds no readings" if not values.size else f"holds {values.dtype} of shape {values.shape}"
        raise SampleError(path, reason, "save numbers of shape (rows, sensors, channels) or (rows, channels)")
    return values


def from_array(path: Path, layout: Layout, rate: float, window: int | None) -> Table:
    """A recording of (rows, channels) or (rows, sensors, channels); or one of the windows of an array of them.

    window: its number on the first axis of (windows, steps, channels) or (windows, steps, sensors, channels).

    Raises:
        SampleError: the shape is none of these, or more likely another one.
    """
    array = readings(path)
    values = array
    if window is not None:
        if array.ndim < 3:
            remedy = "leave `imu_window` out, or save (windows, steps, channels)"
            raise SampleError(path, f"has the shape {array.shape}, which has no windows", remedy)
        if not 0 <= window < len(array):
            raise SampleError(path, f"has {len(array)} windows, the row reads window {window}", "count from 0")
        values = array[window]
    elif array.ndim == 4:
        raise SampleError(path, f"has the shape {array.shape}", windows_remedy(array))
    elif array.ndim == 3:
        refuse_windows(path, array, layout)
    sensors, count = (1, values.shape[1]) if values.ndim == 2 else values.shape[1:]
    limits.refuse_large_table(path, len(values), sensors * count)
    if window is None:
        limits.refuse_above(limits.DURATION, (len(values) - 1) / rate, path, "seconds", "drop the row")
    names, notes = positions(path, count, layout, values.shape)
    columns = {s * count + i: ((s, n), Column("", n)) for s in range(sensors) for i, n in enumerate(names)}
    if window is None:
        factors, told, used = scales(path, values, columns, layout, 1 / rate)
    else:
        factors, told, used = of_all_windows(path, layout, rate, tuple(columns.items()))
    times = np.arange(len(values)) / rate
    groups = [
        Group(
            times if rows is None else times[rows], rows, same, [columns[i][0] for i in same],
            np.array([factors[i] for i in same]), usual(times if rows is None else times[rows], 1 / rate),
        )
        for rows, same in masks(values, list(columns))
    ]  # fmt: skip
    facts = {"rate": rate, "units": ", ".join(used)}
    return Table(path, values, groups, None, sensors, len(values) / rate, tuple([*notes, *told]), facts)


def scales_of_windows(
    path: Path, layout: Layout, rate: float, columns: tuple[tuple[int, tuple[Place, Column]], ...]
) -> tuple[dict[int, float], list[str], list[str]]:
    """Factors of each column (see `scales`), judged by windows from the whole array: all windows are in one unit."""
    array = readings(path)
    steps = min(array.shape[1], max(1, round(SEGMENT * rate)))
    some = array[np.linspace(0, len(array) - 1, min(len(array), LOOKED)).astype(int), :steps]
    return scales(path, some.reshape(len(some) * steps, -1), dict(columns), layout, 1 / rate)


of_all_windows = Recent(scales_of_windows, size=lambda _: 4096, room=2**20)


def usual(times: np.ndarray, period: float) -> float:
    return float(np.median(np.diff(times))) if len(times) > 1 else period


def positions(path: Path, count: int, layout: Layout, shape: tuple[int, ...]) -> tuple[list[str], list[str]]:
    """The channels in a last axis of `count` columns, those that are read, and what is to be said of it."""
    wanted = list(layout.channels or CHANNELS[: count if count <= len(CHANNELS) else 6])
    if count == len(wanted):
        return wanted, []
    if count not in COMMON or not set(wanted) <= set(CHANNELS):
        reason = f"has the shape {shape}: {count} channels per sensor, the recipe reads {len(wanted)}"
        remedy = f"save the columns {', '.join(wanted)} in this order, or set `modalities.imu.channels`"
        raise SampleError(path, reason, remedy)
    names: list[str] = list(CHANNELS[:count])
    if not set(wanted) & set(names):
        reason = f"has the shape {shape}: {', '.join(names)} by position, none of {', '.join(wanted)}"
        raise SampleError(path, reason, f"set `modalities.imu.channels={count}`")
    if lacking := [name for name in wanted if name not in names]:
        return names, [f"lacks channels that the recipe reads, which are unobserved: {', '.join(lacking)}"]
    unread = [name for name in names if name not in wanted]
    return names, [f"has channels that the recipe does not read: {', '.join(unread)}"]


def refuse_windows(path: Path, array: np.ndarray, layout: Layout) -> None:
    """Refuse (windows, steps, channels), which looks like (rows, sensors, channels).

    Raises:
        SampleError: there are too many sensors, more of them than rows, or the readings run on along their axis.
    """
    rows, sensors, _ = array.shape
    if layout.sensors == sensors:
        return
    doubt = None
    if sensors > MANY:
        doubt = f"{sensors} sensors are more than a recording has"
    elif sensors > 1 and sensors > rows and sensors >= SHORT:
        doubt = f"it has more sensors ({sensors}) than rows ({rows})"
    elif layout.sensors is not None:
        return  # the reader names the count
    elif sensors >= SHORT and smoother_along_sensors(array):
        doubt = f"readings run on along the axis of its {sensors} sensors, as in windows of {sensors} steps"
    if doubt is not None:
        raise SampleError(
            path, f"has the shape {array.shape}, read as (rows, sensors, channels): {doubt}", windows_remedy(array)
        )


def windows_remedy(array: Any) -> str:
    steps = array.shape[1]
    return (
        f"for windows of {steps} steps give the manifest a row for each, with `imu_window` 0 to {len(array) - 1}; "
        f"for one recording that is cut into windows, save it joined (rows, channels)"
    )


def smoother_along_sensors(array: np.ndarray) -> bool:
    """Whether neighbours on the middle axis are clearly more alike than neighbours on the first."""
    some = np.asarray(array[:4096], dtype=np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        down, along = np.abs(np.diff(some, axis=0)), np.abs(np.diff(some, axis=1))
        sizes = [float(np.nanmedian(steps)) if np.isfinite(steps).any() else 0.0 for steps in (down, along)]
    return sizes[1] < 0.5 * sizes[0]
