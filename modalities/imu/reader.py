"""IMU: what inertial sensors measured over a time window, resampled to exact ticks.

A recording's second 0 is the 0 of its time column, or the column's first value where that is negative or reaches 1 s
(stamps of some clock). Files without a time column begin at 0 and need a rate.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from modalities.errors import InputError, SampleError
from modalities.imu.contents import SensorContents
from modalities.imu.table import Table, load
from modalities.reader import Reader, Reading
from modalities.shapes import Float, Tensor

LONGEST_GAP = 3.0  # source periods that linear interpolation may bridge
NARROWING = 1.5  # source rate over the reader's from which readings are averaged, against aliasing
SURVEYED = 16  # recordings looked at for what the recipe leaves open


class IMUReader(Reader):
    """Reads accelerometers (m/s^2) and gyroscopes (rad/s) from CSV, parquet or npy onto ticks at start + i / rate.

    Between readings values are linear; where the file is more than 1.5 times faster than the reader each tick is the
    mean over its own 1 / rate. Where no reading exists for longer than 3 periods of the sensor nothing is observed.

    Args:
        rate: ticks per second.
        channels: numbers per sensor, the first of those in the file: by convention acceleration x, y, z, then rotation
            x, y, z.
        sensors: names, in the order of the sensor axis, or their count; null lets `survey` decide.
    """

    typical: ClassVar[dict[str, Any]] = {"sensors": 3}

    def __init__(self, *, rate: float = 50.0, channels: int | None = 6, sensors: int | list[str] | None = None):
        if rate <= 0:
            raise ValueError(f"imu rate={rate}: expected ticks per second, e.g. 50")
        if channels is not None and channels < 1:
            raise ValueError(f"imu channels={channels}: expected numbers per sensor, e.g. 6")
        if sensors in (0, []) or (isinstance(sensors, int) and sensors < 0):
            raise ValueError(f"imu sensors={sensors}: expected a count or a list of names, e.g. [wrist, hip]")
        if isinstance(sensors, list) and len(set(sensors)) < len(sensors):
            raise ValueError(f"imu sensors={sensors}: a name stands twice")
        self.rate, self.channels, self.sensors = rate, channels, sensors

    @property
    def shape(self) -> tuple[int, int]:
        """Sensors and channels, once they are known."""
        if self.sensors is None or self.channels is None:
            raise ValueError("imu sensors and channels are open: name them in the recipe, or survey the data first")
        return (self.sensors if isinstance(self.sensors, int) else len(self.sensors)), self.channels

    def seconds(self, source: Any) -> float | None:
        return load(source).seconds

    def read(self, source: Any, start: float, duration: float) -> Reading | None:
        return self.read_windows(source, [start], duration)[0]

    def read_windows(self, source: Any, starts: Sequence[float], duration: float) -> list[Reading | None]:
        """All windows from one look at the file."""
        table = load(source)
        return [self.window(table, start, duration) for start in starts]

    def window(self, table: Table, start: float, duration: float) -> Reading | None:
        sensors, channels = self.shape
        if table.values.shape[2] < channels:
            reason = f"has {table.values.shape[2]} channels per sensor, the recipe reads {channels}"
            raise SampleError(table.path, reason, f"set `modalities.imu.channels={table.values.shape[2]}`")
        ticks = (round(start * self.rate) + np.arange(round(duration * self.rate))) / self.rate
        values = np.zeros((len(ticks), sensors, channels), dtype=np.float32)
        observed = np.zeros((len(ticks), sensors), dtype=bool)
        columns = self.columns(table)
        for column, place in columns.items():
            times, readings, period = table.readings(column, start, duration, margin=1 / self.rate)
            readings = readings[:, :channels]
            with np.errstate(over="ignore"):
                values[:, place], observed[:, place] = resample(times, readings, ticks, period, 1 / self.rate)
        if not observed.any():
            return None
        if not np.isfinite(values).all():
            tick = ticks[~np.isfinite(values).all(axis=(1, 2))][0]
            remedy = "mend the reading, or leave its cell empty"
            raise SampleError(table.path, f"has a reading beyond what float32 holds at {tick:.2f} s", remedy)
        inside = int((ticks < table.seconds - 1e-9).sum())
        edges = None if table.edges is None else adjacency(table, columns, sensors)
        return Reading(torch.from_numpy(values), inside, torch.from_numpy(observed), edges)

    def contents(self) -> SensorContents:
        return SensorContents(self.rate, self.sensors or self.shape[0], self.shape[1])

    def blank(self, duration: float) -> Reading:
        sensors, channels = self.shape
        count = round(duration * self.rate)
        values = torch.zeros(count, sensors, channels)
        return Reading(values, 0, torch.zeros(count, sensors, dtype=torch.bool))

    def columns(self, table: Table) -> dict[int, int]:
        """For each sensor of a file that is wanted, its place on the sensor axis."""
        if isinstance(self.sensors, list) and table.names is not None:
            found = {i: self.sensors.index(name) for i, name in enumerate(table.names) if name in self.sensors}
            if not found:
                reason = f"has the sensors {', '.join(table.names)}, none of {', '.join(self.sensors)}"
                raise SampleError(table.path, reason, "name the columns <sensor>.<channel>, or mend `imu.sensors`")
            return found
        count, expected = table.values.shape[1], self.shape[0]
        if count != expected:
            reason = f"has {count} sensor{'s' * (count != 1)}, the recipe reads {expected}"
            raise SampleError(table.path, reason, f"set `modalities.imu.sensors={count}`, or drop the row")
        return {i: i for i in range(count)}

    @classmethod
    def survey(cls, settings: dict[str, Any], sources: Iterable[Any], folder: Path) -> dict[str, Any]:
        """Sensors (all names in order of appearance, or their count) and channels of the first readable recordings.

        With `mean` or `std` set to "data", what they are of each channel, over all sensors of those recordings.

        Raises:
            InputError: they are left open and no recording tells them.
        """
        defaults = {"sensors": None, "channels": 6}
        missing = [key for key, default in defaults.items() if settings.get(key, default) is None]
        missing += [key for key in ("mean", "std") if settings.get(key) == "data"]
        if not missing:
            return {}
        tables, error = {}, None
        for source in sources:
            path = str(source["path"] if isinstance(source, dict) else source)
            if path in tables:  # another window of it
                continue
            try:
                tables[path] = load(source)
            except SampleError as sample:
                error = sample
            if len(tables) == SURVEYED:
                break
        if not tables:
            raise InputError(f"imu {' and '.join(missing)}: no recording tells them\n  {error or 'no row has an imu'}")
        first, *_ = tables.values()
        names = list(dict.fromkeys(name for table in tables.values() for name in table.names or ()))
        found = {"sensors": names or first.values.shape[1], "channels": first.values.shape[2]}
        return {key: found[key] for key in missing if key in found} | moments(tables.values(), settings, missing)


def moments(tables: Iterable[Table], settings: Mapping[str, Any], asked: Iterable[str]) -> dict[str, list[float]]:
    """Mean and standard deviation of each channel that the recipe reads, those of the two that are asked for.

    Every recording counts alike. What does not vary gets the deviation 1.
    """
    channels = settings.get("channels", 6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a channel without any reading
        rows = [table.values[..., :channels].reshape(-1, table.values[..., :channels].shape[-1]) for table in tables]
        means = np.array([np.nanmean(values, axis=0) for values in rows])
        squares = np.array([np.nanmean(np.square(values, dtype=np.float64), axis=0) for values in rows])
        mean = np.nanmean(means, axis=0)
        std = np.sqrt(np.maximum(np.nanmean(squares, axis=0) - mean**2, 0.0))
    found = {"mean": np.nan_to_num(mean), "std": np.where(std > 1e-6, std, 1.0)}
    return {key: [float(f"{value:.4g}") for value in found[key]] for key in ("mean", "std") if key in asked}


def resample(
    times: np.ndarray, values: np.ndarray, ticks: np.ndarray, period: float, width: float
) -> tuple[np.ndarray, np.ndarray]:
    """A sensor's readings (n, channels) at ticks (t,), and at which of them it is observed (t,).

    Readings closer than `LONGEST_GAP` periods form a run; beyond its ends the outer readings hold for less than a
    period. If the source is much faster, each tick is the mean over `width` seconds of the broken line through the run;
    near the ends of the run the mean narrows, so that a straight line always comes back as it was.
    """
    if not len(times):
        return np.zeros((len(ticks), values.shape[1])), np.zeros(len(ticks), dtype=bool)
    breaks = np.flatnonzero(np.diff(times) > LONGEST_GAP * period * (1 + 1e-6))
    firsts, lasts = times[np.r_[0, breaks + 1]], times[np.r_[breaks, len(times) - 1]]
    run = np.clip(np.searchsorted(firsts, ticks, side="right") - 1, 0, None)
    nearer_next = (run + 1 < len(firsts)) & (np.r_[firsts, np.inf][run + 1] - ticks < ticks - lasts[run])
    run = run + nearer_next
    first, last = firsts[run], lasts[run]
    holds = period * (1 - 1e-6)  # float noise must not carry a reading to the next one's place
    observed = (ticks > first - holds) & (ticks < last + holds)

    x = np.clip(ticks, first, last)
    if width > NARROWING * period:
        half = np.minimum(width / 2, np.minimum(x - first, last - x))
        narrow = half < 1e-9
        area = integral(times, values, x + half) - integral(times, values, x - half)
        mean = area / np.where(narrow, 1.0, 2 * half)[:, None]
        out = np.where(narrow[:, None], line(times, values, x), mean)
    else:
        out = line(times, values, x)
    return np.where(observed[:, None], out, 0.0), observed


def line(times: np.ndarray, values: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The broken line through readings (n, channels), at moments x (t,)."""
    return np.stack([np.interp(x, times, channel) for channel in values.T], axis=1)


def integral(times: np.ndarray, values: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The area under that line from the first reading to each moment, exactly."""
    pieces = np.diff(times)[:, None] * (values[1:] + values[:-1]) / 2
    area = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(pieces, axis=0)])
    left = np.clip(np.searchsorted(times, x, side="right") - 1, 0, len(times) - 1)
    return area[left] + (x - times[left])[:, None] * (values[left] + line(times, values, x)) / 2


def adjacency(table: Table, columns: dict[int, int], sensors: int) -> Float[Tensor, "sensors sensors"]:
    """The row's edges, pairs of the file's sensors (by number or name), as a symmetric matrix over the reader's."""
    matrix = torch.zeros(sensors, sensors)
    numbers: list[Any] = list(range(table.values.shape[1]))
    for edge in table.edges or ():
        try:
            i, j = ((table.names or [] if isinstance(end, str) else numbers).index(end) for end in edge)
        except (TypeError, ValueError) as error:
            remedy = f"write edges as pairs of its {len(numbers)} sensors, counted from 0, e.g. [[0, 1]]"
            raise SampleError(table.path, f"edge {edge!r} joins no two of its sensors", remedy) from error
        if i in columns and j in columns:
            matrix[columns[i], columns[j]] = matrix[columns[j], columns[i]] = 1.0
    return matrix
