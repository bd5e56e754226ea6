"""The table in an IMU file: one row per moment, with the readings of every sensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from modalities import limits, parquet
from modalities.errors import SampleError
from modalities.media import existing
from modalities.recent import Recent

CLOCKS = ("time", "t", "timestamp")
UNNAMED = "imu"  # the sensor that columns without a dot belong to
KEPT = 2**27  # bytes of tables that each process remembers

Columns: TypeAlias = tuple[np.ndarray | None, np.ndarray, list[str]]  # times, readings, names of sensors


@dataclass(frozen=True)
class Table:
    """Readings of a file: `values` (rows, sensors, channels) in file order at `times` (rows,) seconds of the recording.

    names: of the sensors; None where the file (npy) has none.
    period: usual seconds from one row to the next; a row stands for as long.
    edges: pairs of sensors, as the manifest wrote them.
    """

    path: Path
    times: np.ndarray
    values: np.ndarray
    names: list[str] | None
    period: float
    edges: Sequence[Any] | None

    @property
    def seconds(self) -> float:
        """From the recording's zero to the end of the last row's period."""
        return float(self.times[-1]) + self.period

    def readings(
        self, sensor: int, start: float, duration: float, margin: float
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """What a sensor measured in and around a window: moments (n,), values (n, channels) and its own period."""
        exists = np.isfinite(self.values[:, sensor]).all(axis=1)
        times = self.times[exists]
        period = float(np.median(np.diff(times))) if len(times) > 1 else self.period
        reach = margin + 4 * period  # enough to see the gaps on both sides
        low, high = np.searchsorted(times, [start - reach, start + duration + reach])
        rows = np.flatnonzero(exists)[low:high]
        return times[low:high], np.asarray(self.values[rows, sensor], dtype=np.float64), period


def load(source: Any) -> Table:
    """The table of a source: a path, or {"path", "rate", "edges"} with the rate of files without a time column.

    Raises:
        SampleError: the file is missing, is no such table, or its times do not increase.
    """
    source = source if isinstance(source, dict) else {"path": source}
    path, rate = existing(source.get("path")), source.get("rate")
    read = {".csv": parsed, ".parquet": parsed, ".npy": from_array}.get(path.suffix.lower())
    if read is None:
        raise SampleError(path, "is not .csv, .parquet or .npy", "convert the recording into one of them")
    times, values, names = read(path)
    if not values.size or not len(values):
        raise SampleError(path, "holds no readings", "drop the row")
    remedy = "write times in seconds, or drop the row"
    if times is None:
        times = np.arange(len(values)) / checked_rate(path, rate)
        limits.refuse_above(limits.DURATION, times[-1], path, "seconds", remedy)
        return Table(path, times, values, names, 1 / float(rate), source.get("edges"))
    late = np.flatnonzero(~(np.diff(times) > 0))
    if len(late) or not np.isfinite(times[0]):
        row = late[0] + 2 if len(late) else 1
        before = f" after {times[row - 2]:.6g} s" if row > 1 else ""
        reason = f"row {row}: time {times[row - 1]:.6g} s{before} does not increase"
        raise SampleError(path, reason, "sort the rows by time, in seconds, and keep one row per moment")
    period = float(np.median(np.diff(times))) if len(times) > 1 else 1 / checked_rate(path, rate)
    limits.refuse_above(limits.DURATION, times[-1] - times[0], path, "seconds", remedy)
    zero = 0.0 if 0 <= times[0] < 1 else times[0]
    return Table(path, times - zero, values, names, period, source.get("edges"))


def checked_rate(path: Path, rate: Any) -> float:
    """The rate that a manifest gives for a file which does not tell its own."""
    if not isinstance(rate, (int, float)) or not np.isfinite(rate) or rate <= 0:
        reason = "does not tell its sampling rate" if rate is None else f"imu_rate {rate!r} is no sampling rate"
        raise SampleError(path, reason, "give the manifest's row an `imu_rate` in Hz, or the file a `time` column")
    return float(rate)


def from_array(path: Path) -> tuple[None, np.ndarray, None]:
    """A .npy file: (rows, sensors, channels), or (rows, channels) of one sensor; mapped, not read."""
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, TypeError, OSError, EOFError, OverflowError) as error:
        raise SampleError(path, f"is no .npy array of numbers ({error})", "save it with numpy.save") from error
    if not isinstance(values, np.ndarray):
        raise SampleError(path, "is an archive of arrays", "save one array with numpy.save")
    if values.ndim not in (2, 3) or values.dtype.kind not in "fiu":
        reason = f"holds {values.dtype} of shape {values.shape}"
        raise SampleError(path, reason, "save numbers of shape (rows, sensors, channels) or (rows, channels)")
    limits.refuse_large_table(path, len(values), values[:1].size)
    return None, values[:, None] if values.ndim == 2 else values, None


def from_text(path: Path) -> Columns:
    """A .csv file with a header."""
    from pyarrow import ArrowException, csv

    limits.refuse_large_file(path)
    with path.open("rb") as file:
        columns = file.readline(limits.HEADER_BYTES).count(b",") + 1
    limits.refuse_above(limits.COLUMNS, columns, path, "columns", "keep the sensors' columns only")
    try:
        table = csv.read_csv(path, read_options=csv.ReadOptions(use_threads=False))
    except (ArrowException, ValueError) as error:
        reason = f"is no table of comma-separated values ({str(error).strip()})"
        raise SampleError(path, reason, "write a header and as many values in every row") from error
    return from_columns(path, table)


def from_parquet(path: Path) -> Columns:
    """A .parquet file of numeric columns."""
    return from_columns(path, parquet.load(path))


def from_file(path: Path) -> Columns:
    """A .csv or .parquet file; nobody may write into its arrays, which are handed out more than once."""
    times, values, names = from_text(path) if path.suffix.lower() == ".csv" else from_parquet(path)
    for array in (times, values):
        if array is not None:
            array.flags.writeable = False
    return times, values, names


parsed = Recent(from_file, size=lambda found: found[1].nbytes + (0 if found[0] is None else found[0].nbytes), room=KEPT)


def from_columns(path: Path, table: Any) -> Columns:
    """Times, readings and sensor names of an Arrow table with columns `time` and `<sensor>.<channel>`."""
    try:
        names = [name.strip() for name in table.column_names]
    except UnicodeDecodeError as error:
        raise SampleError(path, "its header is no UTF-8 text", "write a first line that names the columns") from error
    if any(number(name) for name in names):
        raise SampleError(path, f"its header is {', '.join(names[:6])}", "write a first line that names the columns")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise SampleError(path, f"column {twice!r} stands twice", "give every column its own name")
    columns = {name: numbers(path, name, column) for name, column in zip(names, table.columns, strict=True)}
    clocks = [name for name in columns if name.lower() in CLOCKS]
    if len(clocks) > 1:
        raise SampleError(path, f"has the time columns {', '.join(clocks)}", "keep one of them")
    times = columns.pop(clocks[0]) if clocks else None

    sensors: dict[str, list[np.ndarray]] = {}
    for name, column in columns.items():
        sensors.setdefault(name.rpartition(".")[0] or UNNAMED, []).append(column)
    if not sensors:
        raise SampleError(path, "has no column but the time", "add columns <sensor>.<channel>, e.g. wrist.ax")
    channels = {name: len(columns) for name, columns in sensors.items()}
    if len(set(channels.values())) > 1:
        reason = "its sensors differ in channels: " + ", ".join(f"{name} {count}" for name, count in channels.items())
        raise SampleError(path, reason, "give every sensor the same columns (an empty cell is a missing reading)")
    values = np.stack([np.stack(columns, axis=1) for columns in sensors.values()], axis=1)
    return times, values, list(sensors)


def numbers(path: Path, name: str, column: Any) -> np.ndarray:
    """A column as float64, NaN where it is empty."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind) or pa.types.is_decimal(kind):
        return column.cast(pa.float64(), safe=False).to_numpy()
    values = []
    for row, cell in enumerate(column.to_pylist(), 1):
        if cell not in (None, "") and not number(cell):
            remedy = "write numbers (times in seconds) and leave the cells of missing readings empty"
            raise SampleError(path, f"column {name!r}, row {row}: {cell!r} is no number", remedy)
        values.append(float(cell) if cell not in (None, "") else np.nan)
    return np.array(values)


def number(cell: Any) -> bool:
    """Whether a cell can be read as a number."""
    try:
        float(cell)
    except (TypeError, ValueError):
        return False
    return True
