"""The time column of an IMU table: which column it is, in which unit, and whether its rate can be."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Any

import numpy as np

from modalities.errors import SampleError
from modalities.imu import units
from modalities.imu.names import bracket, tokens

CORE = {
    "time", "times", "t", "timestamp", "timestamps", "ts", "stamp", "stamps", "elapsed", "seconds", "secs", "epoch",
    "epoc", "unix", "unixtime", "datetime", "date", "utc", "uptime", "clock", "millis", "micros", "nanos",
    "milliseconds", "microseconds", "nanoseconds", "msec", "usec", "nsec", "ms", "us", "ns",
}  # fmt: skip
RELATIVE = {"elapsed", "since", "relative", "rel"}
ALLOWED = CORE | RELATIVE | {
    "sec", "s", "start", "begin", "beginning", "boot", "reboot", "1970", "sensor", "system", "sys", "event",
    "logging", "sample", "fine", "device", "host", "phone", "local", "real", "wall", "absolute", "from", "in",
    "recording", "record", "log", "capture", "arrival", "iso", "iso8601", "8601", "gmt", "posix", "cal",
    "formatted", "accelerometer", "gyroscope", "gyro", "acc", "accel", "motion", "imu", "sync", "unsync", "shimmer",
    "header",
}  # fmt: skip
UNIT_WORDS = {spelling for spelling in units.KNOWN["time"] if spelling not in ("min", "second")}
TICKS = {"sampletimefine"}  # of 0.1 ms in one maker's devices, of 1 us in those of its daughter
FASTEST = 20_000.0  # readings per second, above which no clock of an inertial sensor runs
USUAL = (0.5, 4000.0)  # readings per second between which a unit that is not stated is looked for
SLOWER = 10  # how many times slower than the recipe's rate a recording may be
COARSE = 2  # how many times slower it may be without a note
ENOUGH = 8  # steps from which a unit that is not stated is told
DATES = (9.4e8, 2.3e9)  # seconds since 1970 of the years 2000 to 2042
LATEST = 2.5e9  # seconds that no clock exceeds: 79 years, or the year 2049
NEAR = 4  # how many times slower a unit may make a recording than the recipe's rate, for that unit to be found by it


@dataclass(frozen=True)
class Clock:
    """A time column: `unit` as its name states it, None where it states none; `order`: the lowest is read first."""

    name: str
    unit: str | None
    order: int
    ticks: bool = False


def read_clock(name: str) -> Clock | None:
    """The clock that a column's name names; None where it names none.

    >>> read_clock("seconds_elapsed").unit, read_clock("Time (s)").unit, read_clock("timestamp").unit, read_clock("ax")
    ('s', 's', None, None)
    """
    base, stated = bracket(name.strip())
    words = tokens(base.rpartition(".")[2] if "." in base else base)
    if "".join(words) in TICKS:
        return Clock(name, None, 2, ticks=True)
    if not words or not set(words) <= ALLOWED or not set(words) & CORE:
        return None
    unit = units.parse(stated, "time") if stated else None
    if unit is None:
        spelled = [word for word in words if word in UNIT_WORDS]
        unit = units.parse(spelled[-1], "time") if spelled and (len(words) > 1 or len(spelled[0]) > 1) else None
    relative = bool(set(words) & RELATIVE)
    return Clock(name, unit, 0 if relative and unit else 1 if unit else 3 if words[0] in ("date", "utc") else 2)


def moments(path: Path, name: str, cells: list[Any]) -> np.ndarray:
    """Seconds of dates and times of day that are written as text (ISO 8601), or that a table holds as such."""
    found = np.full(len(cells), np.nan)
    for row, cell in enumerate(cells):
        if cell is None or cell == "":
            continue
        try:
            found[row] = instant(cell)
        except (ValueError, TypeError, OverflowError) as error:
            reason = f"column {name!r}, row {row + 1}: {cell!r} is no number and no ISO 8601 time"
            raise SampleError(path, reason, "write times in seconds, or as 2024-05-01T12:00:00.020") from error
    return found


def instant(cell: Any) -> float:
    """Seconds of one date (since 1970, UTC where it names no zone) or time of day (since midnight)."""
    if isinstance(cell, str):
        text = cell.strip().replace(",", ".")
        head, sep, zone = text.rpartition(" ")
        if sep and zone[:1] in "+-" and len(zone) >= 5:  # "12:00:00.5 +0200"
            text = head + zone
        try:
            cell = time.fromisoformat(text) if ":" in text[:3] else datetime.fromisoformat(text)
        except ValueError:
            if not text.endswith(" UTC"):
                raise
            cell = datetime.fromisoformat(text[:-4] + "+00:00")
    if isinstance(cell, time):
        return cell.hour * 3600 + cell.minute * 60 + cell.second + cell.microsecond / 1e6
    if not isinstance(cell, datetime):
        raise TypeError("no moment")
    return (cell if cell.tzinfo else cell.replace(tzinfo=UTC)).timestamp()


def unit_of(
    path: Path, clock: Clock, first: float, steps: np.ndarray, rate: float, stated: Any, text: bool
) -> tuple[float, list[str]]:
    """Seconds in one unit of a clock, and what is to be said of it.

    first, steps: its first stamp and the differences from one reading to the next, as the file has them.
    rate: of the recipe. stated: the unit that the recipe states. text: whether it was written as dates.

    Raises:
        SampleError: the unit cannot be known, or the rate that it makes cannot be.
    """
    unit = "s" if text else stated if stated is not None else clock.unit
    notes: list[str] = []
    step = float(np.median(steps))
    if unit is None:
        unit = guess(clock, first, step, rate)
        if unit is None or (unit != "s" and not even(steps)):
            raise SampleError(path, f"column {clock.name!r}: {possible(step)}", remedy(clock, rate))
        if unit != "s":
            notes.append(f"time stamps of column {clock.name!r} are in {units_named(unit)}: converted to seconds")
    size = units.factor(unit, "time")
    found = 1 / (step * size)
    if found > FASTEST or abs(first) * size > LATEST or (found < rate / SLOWER and stated is None):
        raise SampleError(
            path,
            f"column {clock.name!r} makes {found:.3g} readings per second, the recipe reads {rate:g}",
            remedy(clock, rate),
        )
    if found < rate / COARSE * (1 - 1e-3):
        notes.append("it has less than half as many readings per second as the recipe reads: lines join them")
    return size, notes


def guess(clock: Clock, first: float, step: float, rate: float) -> str | None:
    """The unit of a clock that states none: seconds where they make a usual rate, else the only unit that does."""
    candidates = ["100 us", "us"] if clock.ticks else ["s", "ms", "us", "ns"]
    rates = {unit: 1 / (step * units.FACTORS["time"][unit]) for unit in candidates}
    fit = [unit for unit, found in rates.items() if USUAL[0] <= found <= USUAL[1]]
    fit = [unit for unit in fit if abs(first) * units.FACTORS["time"][unit] <= LATEST]
    dated = [
        unit
        for unit in candidates
        if DATES[0] <= first * units.FACTORS["time"][unit] <= DATES[1] and USUAL[0] <= rates[unit] <= FASTEST
    ]
    if dated and (not clock.ticks):
        return dated[0]
    if clock.ticks:
        near = [unit for unit in fit if rate / SLOWER <= rates[unit] <= 20 * rate]
        return near[0] if len(near) == 1 else None
    if rates["s"] >= rate / COARSE and rates["s"] <= FASTEST:
        return "s"
    return fit[0] if len(fit) == 1 and rates[fit[0]] >= rate / (SLOWER if fit[0] == "s" else NEAR) else None


def even(steps: np.ndarray) -> bool:
    """Whether enough steps are alike to tell by them in which unit they are."""
    return len(steps) >= ENOUGH and bool(
        np.all(np.abs(np.log2(np.percentile(steps, [25, 75]) / np.median(steps))) <= 1)
    )


def possible(step: float) -> str:
    found = ", ".join(f"{1 / (step * units.FACTORS['time'][unit]):.3g} as {unit}" for unit in ("s", "ms", "us", "ns"))
    return f"its unit is not certain: readings per second would be {found}"


def remedy(clock: Clock, rate: float) -> str:
    return (
        f"state the unit (s, ms, us or ns) in the column's name, e.g. '{clock.name} (ms)', or in the recipe: "
        "`modalities.imu.units.time=ms`; for a sensor that is really so slow state it too, and lower "
        "`modalities.imu.rate`"
    )


def units_named(unit: str) -> str:
    names = {
        "s": "seconds",
        "ms": "milliseconds",
        "us": "microseconds",
        "ns": "nanoseconds",
        "100 us": "steps of 0.1 ms",
    }
    return names.get(unit, unit)
