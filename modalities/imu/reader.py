"""IMU: what inertial sensors measured over a time window, resampled to exact ticks.

A recording's second 0 is the 0 of its time column, or the column's first value where that is negative or reaches 1 s
(stamps of some clock). Files without a time column begin at 0 and need a rate.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from modalities.errors import InputError, SampleError
from modalities.imu import units
from modalities.imu.columns import Layout
from modalities.imu.contents import SensorContents
from modalities.imu.facts import constant, missing
from modalities.imu.names import channel_names
from modalities.imu.resampling import resample
from modalities.imu.survey import SURVEYED, fitting, moments
from modalities.imu.table import Table, load
from modalities.imu.words import CHANNELS
from modalities.reader import Reader, Reading
from modalities.shapes import Float, Tensor


class IMUReader(Reader):
    """Reads accelerometers (m/s^2), gyroscopes (rad/s) and magnetometers (uT) onto ticks at start + i / rate.

    Columns of CSV and parquet files are matched by name, those of npy files by position. Each channel is resampled from
    its own readings: linear between them; where they are more than 1.5 times faster than the reader each tick is the
    mean over its own 1 / rate; where none exists for longer than 3 of the channel's own periods nothing is observed.

    Args:
        rate: ticks per second.
        channels: how many of ax, ay, az, gx, gy, gz, mx, my, mz are read, from the first on; or their names, also
            those of other columns of numbers.
        sensors: names, in the order of the sensor axis, or their count; null lets `survey` decide.
        columns: which column of the files is which channel (`ax`, or `wrist.ax`) or the `time`, where names do not
            tell; where it names channels, no other column is read.
        ignore: columns that are no readings.
        units: of `acceleration`, `angular_velocity`, `magnetic_field` and `time`, where headers do not state them (or
            state them wrongly); a number is what readings are multiplied by.
    """

    typical: ClassVar[dict[str, Any]] = {"sensors": 3}

    def __init__(
        self,
        *,
        rate: float = 50.0,
        channels: int | list[str] | None = 6,
        sensors: int | list[str] | None = None,
        columns: dict[str, str] | None = None,
        ignore: list[str] | None = None,
        units: dict[str, str | float] | None = None,
    ):
        if rate <= 0:
            raise ValueError(f"imu rate={rate}: expected ticks per second, e.g. 50")
        if channels == [] or (isinstance(channels, int) and channels < 1):
            raise ValueError(f"imu channels={channels}: expected numbers per sensor, e.g. 6, or their names")
        if sensors in (0, []) or (isinstance(sensors, int) and sensors < 0):
            raise ValueError(f"imu sensors={sensors}: expected a count or a list of names, e.g. [wrist, hip]")
        for key, names in (("sensors", sensors), ("channels", channels)):
            if isinstance(names, list) and len(set(names)) < len(names):
                raise ValueError(f"imu {key}={names}: a name stands twice")
        self.rate, self.channels, self.sensors = rate, channels, sensors
        self.names = None if channels is None else channel_names(channels)
        known = {*CHANNELS, *(self.names or ())}
        for key in columns or {}:
            if key != "time" and key.rpartition(".")[2] not in known:
                raise ValueError(
                    f"imu columns.{key}: expected time or a channel ({', '.join(CHANNELS)}), e.g. wrist.ax"
                )
        self.layout = Layout(
            rate=float(rate),
            channels=self.names,
            sensors=sensors if isinstance(sensors, int) else len(sensors) if sensors else None,
            columns=tuple((columns or {}).items()),
            ignore=tuple(ignore or ()),
            units=checked_units(units or {}),
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Sensors and channels, once they are known."""
        if self.sensors is None or self.channels is None:
            raise ValueError("imu sensors and channels are open: name them in the recipe, or survey the data first")
        return (self.sensors if isinstance(self.sensors, int) else len(self.sensors)), len(self.names or ())

    def seconds(self, source: Any) -> float | None:
        return load(source, self.layout).seconds

    def read(self, source: Any, start: float, duration: float) -> Reading | None:
        return self.read_windows(source, [start], duration)[0]

    def read_windows(self, source: Any, starts: Sequence[float], duration: float) -> list[Reading | None]:
        """All windows from one look at the file."""
        table = load(source, self.layout)
        return [self.window(table, start, duration) for start in starts]

    def window(self, table: Table, start: float, duration: float) -> Reading | None:
        sensors, channels = self.shape
        ticks = (round(start * self.rate) + np.arange(round(duration * self.rate))) / self.rate
        values = np.zeros((len(ticks), sensors, channels), dtype=np.float32)
        observed = np.zeros((len(ticks), sensors, channels), dtype=bool)
        places, order = self.places(table), {name: i for i, name in enumerate(self.names or ())}
        for group in table.groups:
            wanted = [(i, places[s], order[c]) for i, (s, c) in enumerate(group.places) if s in places and c in order]
            if not wanted:
                continue
            columns, at_sensor, at_channel = (list(part) for part in zip(*wanted, strict=True))
            times, readings = group.around(table.values, start, start + duration, margin=1 / self.rate)
            with np.errstate(over="ignore", invalid="ignore"):
                found, there = resample(times, readings[:, columns], ticks, group.period, 1 / self.rate)
                values[:, at_sensor, at_channel] = found
            observed[:, at_sensor, at_channel] = there[:, None]
        if not observed.any():
            return None
        if not np.isfinite(values).all():
            tick = ticks[~np.isfinite(values).all(axis=(1, 2))][0]
            remedy = "correct the reading, or leave its cell empty"
            raise SampleError(table.path, f"has a reading beyond what float32 holds at {tick:.2f} s", remedy)
        inside = int((ticks < table.seconds - 1e-9).sum())
        edges = None if table.edges is None else adjacency(table, places, sensors)
        return Reading(torch.from_numpy(values), inside, torch.from_numpy(observed), edges, notes=table.notes)

    def contents(self) -> SensorContents:
        return SensorContents(self.rate, self.sensors or self.shape[0], list(self.names or ()))

    def blank(self, duration: float) -> Reading:
        sensors, channels = self.shape
        count = round(duration * self.rate)
        values = torch.zeros(count, sensors, channels)
        return Reading(values, 0, torch.zeros(count, sensors, channels, dtype=torch.bool))

    def describe(self, source: Any) -> dict[str, Any]:
        """Seconds, rate in Hz, sensors, channels, units and gaps of a recording, and which channels never change.

        Raises:
            SampleError: the file is missing or is no such table.
        """
        table = load(source, self.layout)
        gaps = [float(np.diff(group.times).max()) for group in table.groups if len(group.times) > 1]
        facts: dict[str, Any] = {"seconds": table.seconds, **table.facts}
        facts["sensors"] = ", ".join(table.names or [str(table.sensors)])
        facts |= {"channels": ", ".join(table.channels), "largest gap (s)": max(gaps, default=0.0)}
        resting = constant(table)
        return facts | ({"constant channels": ", ".join(resting)} if resting else {}) | missing(table)

    def places(self, table: Table) -> dict[int, int]:
        """For each sensor of a file that is wanted, its place on the sensor axis."""
        if isinstance(self.sensors, list) and table.names is not None:
            found = {i: self.sensors.index(name) for i, name in enumerate(table.names) if name in self.sensors}
            if not found:
                reason = f"has the sensors {', '.join(table.names)}, none of {', '.join(self.sensors)}"
                raise SampleError(table.path, reason, "name the columns <sensor>.<channel>, or correct `imu.sensors`")
            return found
        count, expected = table.sensors, self.shape[0]
        if count != expected:
            named = f" ({', '.join(table.names)})" if table.names else ""
            reason = f"has {count} sensor{'s' * (count != 1)}{named}, the recipe reads {expected}"
            raise SampleError(table.path, reason, f"set `modalities.imu.sensors={count}`, or drop the row")
        return {i: i for i in range(count)}

    @classmethod
    def survey(cls, settings: dict[str, Any], sources: Iterable[Any], folder: Path) -> dict[str, Any]:
        """Sensors (all names in order of appearance, or their count) and channels of the first readable recordings.

        With `mean` or `std` set to "data", what they are of each channel, over all sensors of those recordings.

        Raises:
            InputError: they are left open and cannot be inferred, or no recording has a channel that the recipe reads.
        """
        defaults = {"sensors": None, "channels": 6}
        missing = [key for key, default in defaults.items() if settings.get(key, default) is None]
        missing += [key for key in ("mean", "std") if settings.get(key) == "data"]
        own = ("rate", "channels", "sensors", "columns", "ignore", "units")
        reader = cls(
            **{key: settings[key] for key in own if settings.get(key) is not None or key == "channels" in settings}
        )
        tables: dict[tuple[str, Any], Table] = {}
        error = None
        for source in sources:
            key = (str(source["path"]), source.get("window")) if isinstance(source, dict) else (str(source), None)
            if key in tables:  # another part of it
                continue
            try:
                tables[key] = load(source, reader.layout)
            except SampleError as sample:
                error = sample
            found = {channel for table in tables.values() for channel in table.channels}
            if len(tables) == SURVEYED or (not missing and found >= set(reader.names or ())):
                break
        if not tables:
            if not missing:
                return {}
            raise InputError(f"imu {' and '.join(missing)}: no recording has it\n  {error or 'no row has an imu'}")
        absent = [name for name in reader.names or () if name not in found]
        if absent:
            raise InputError(
                f"imu channels={settings.get('channels', 6)}: none of {len(tables)} recordings has {', '.join(absent)} "
                f"(the first: {next(iter(tables.values())).path})\n  set `modalities.imu.channels={fitting(found)}`"
            )
        first, *_ = tables.values()
        names = list(dict.fromkeys(name for table in tables.values() for name in table.names or ()))
        learned = {"sensors": names or first.sensors, "channels": fitting(found)}
        wanted = reader.names or channel_names(fitting(found))
        return {key: learned[key] for key in missing if key in learned} | moments(tables.values(), wanted, missing)


def checked_units(stated: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Units of a recipe by quantity.

    Raises:
        ValueError: a quantity or a unit is unknown.
    """
    for quantity, unit in stated.items():
        if quantity not in units.FACTORS:
            raise ValueError(f"imu units.{quantity}: expected one of {', '.join(units.FACTORS)}")
        units.factor(unit, quantity)
    return tuple(
        (quantity, units.parse(unit, quantity) or unit if isinstance(unit, str) else unit)
        for quantity, unit in stated.items()
    )


def adjacency(table: Table, columns: dict[int, int], sensors: int) -> Float[Tensor, "sensors sensors"]:
    """The row's edges, pairs of the file's sensors (by number or name), as a symmetric matrix over the reader's."""
    matrix = torch.zeros(sensors, sensors)
    numbers: list[Any] = list(range(table.sensors))
    for edge in table.edges or ():
        try:
            i, j = ((table.names or [] if isinstance(end, str) else numbers).index(end) for end in edge)
        except (TypeError, ValueError) as error:
            remedy = f"write edges as pairs of its {len(numbers)} sensors, counted from 0, e.g. [[0, 1]]"
            raise SampleError(table.path, f"edge {edge!r} joins no two of its sensors", remedy) from error
        if i in columns and j in columns:
            matrix[columns[i], columns[j]] = matrix[columns[j], columns[i]] = 1.0
    return matrix
