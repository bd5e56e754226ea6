"""The recording in an IMU file, parsed once per process for every way in which it is read."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from modalities.errors import SampleError
from modalities.files.cache import Recent, existing
from modalities.imu.array import from_array
from modalities.imu.columns import Layout
from modalities.imu.recording import Table
from modalities.imu.tabular import from_parquet, from_text, table_of

KEPT = 2**27  # bytes of tables that each process remembers


def load(source: Any, layout: Layout | None = None) -> Table:
    """The recording of a source: a path, or {"path", "rate", "edges", "window"}.

    rate: of files without a time column, in Hz. window: which window of a .npy array of windows is read. layout: what
    the recipe states about its files.

    Raises:
        SampleError: the file is missing, is no such table, or what it holds is not certain.
    """
    source = source if isinstance(source, dict) else {"path": source}
    path, rate, window = existing(source.get("path")), source.get("rate"), source.get("window")
    if path.suffix.lower() not in (".csv", ".parquet", ".npy"):
        raise SampleError(path, "is not .csv, .parquet or .npy", "convert the recording into one of them")
    if window is not None and (
        path.suffix.lower() != ".npy" or isinstance(window, bool) or not isinstance(window, int)
    ):
        raise SampleError(path, f"has no window {window!r}", "windows are counted in .npy arrays, by whole numbers")
    key = rate if isinstance(rate, int | float | None) else repr(rate)
    return replace(parsed(path, layout or Layout(), key, window), edges=source.get("edges"))


def from_file(path: Path, layout: Layout, rate: Hashable, window: int | None) -> Table:
    """The recording in a .csv, .parquet or .npy file."""
    if path.suffix.lower() == ".npy":
        return from_array(path, layout, checked_rate(path, rate), window)
    read = from_text if path.suffix.lower() == ".csv" else from_parquet
    return table_of(path, layout, lambda: checked_rate(path, rate), read)


def checked_rate(path: Path, rate: Any) -> float:
    """The rate that a manifest gives for a file which does not state its own."""
    if not isinstance(rate, int | float) or not np.isfinite(rate) or rate <= 0:
        reason = "does not state its sampling rate" if rate is None else f"imu_rate {rate!r} is no sampling rate"
        raise SampleError(path, reason, "give the manifest's row an `imu_rate` in Hz, or the file a `time` column")
    return float(rate)


parsed = Recent(from_file, size=lambda table: table.bytes, room=KEPT)
