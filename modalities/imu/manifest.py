"""IMU in a manifest: files of readings, their rate, the graph of their sensors, and windows of one array."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from modalities.manifest.cells import count, listed, rate
from modalities.manifest.columns import Cell, Columns, Files, Keep, as_npy
from modalities.manifest.spelling import plain

MANY = 32  # channels of a sensor at fewer steps: rather the steps of fewer channels


def edges(value: Any) -> list[list[int]]:
    """Pairs of sensors.

    Raises:
        ValueError: says what was expected.
    """
    value = listed(value)
    pairs = [edge(plain(pair)) for pair in value] if isinstance(value, list) else [None]
    found = [pair for pair in pairs if pair is not None]
    if len(found) < len(pairs):
        raise ValueError("pairs of sensors such as [[0, 1], [1, 2]]")
    return found


def edge(pair: Any) -> list[int] | None:
    ends = [plain(end) for end in pair] if isinstance(pair, list) else []
    whole = [int(end) for end in ends if not isinstance(end, bool) and isinstance(end, (int, float)) and end % 1 == 0]
    return whole if len(whole) == len(ends) == 2 and all(0 <= end < 2**31 for end in whole) else None


class IMUColumns(Columns):
    """The path of a file of readings, and what the file itself does not tell."""

    extras: ClassVar[Mapping[str, Cell]] = {
        "imu_rate": Cell(rate, float), "imu_window": Cell(count, int), "edges": Cell(edges, [[int]]),
    }  # fmt: skip
    files: ClassVar[Mapping[str, Files]] = {
        "imu": Files((".csv", ".tsv"), "table of sensors", "tables of sensors", lists=True)
    }
    suffixes = (".csv", ".tsv", ".parquet", ".npy")
    tables = True
    window = "imu_window"
    same: ClassVar[Mapping[str, str]] = dict.fromkeys(("imu_path", "imu_file"), "imu")
    maybe: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("sampling_rate", "sample_rate", "rate", "hz", "freq", "frequency", "fs", "sr"), "imu_rate"
    )
    reasons: ClassVar[Mapping[str, str]] = {"imu_rate": "`imu_rate` is in Hz, for IMU files without a time column"}

    def source(self, row: Mapping[str, Any], path: Callable[[str], str]) -> Any | None:
        found = super().source(row, path)
        if found is None or not self.own:
            return found
        window = {} if row["imu_window"] is None else {"window": row["imu_window"]}
        return {"path": found, "rate": row["imu_rate"], "edges": row["edges"], **window}

    def stored(self, array: Any, rate: Any, keep: Keep) -> str:
        """A .npy file of readings (steps, ..., channels), or of windows of them.

        Raises:
            ValueError: the axes look exchanged.
        """
        steps, channels = array.shape[-2:] if array.ndim > 1 else (0, 0)
        if channels >= MANY and steps < channels:
            raise ValueError(
                f"readings of shape (steps, channels), not {channels} channels at {steps} steps: "
                f"exchange the last two axes with x.swapaxes(-1, -2)"
            )
        return as_npy(array, keep)
