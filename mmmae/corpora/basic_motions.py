"""Four motions felt at the wrist (80 recordings of ten seconds, accelerometer and gyroscope at 10 Hz).

Package: `aeon` 1.6.0 (BSD-3), which carries the problem BasicMotions of the UEA archive (Bagnall et al. 2018,
arXiv:1811.00075): students who wore a smart watch. It is read as text, `aeon` itself is never imported.

The archive's own halves are the splits. It does not tell the students apart, so there is no `group`, and it names no
units: the numbers are those of m/s^2 without gravity (somebody who stands feels next to nothing) and of rad/s.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mmmae.corpora import installed
from mmmae.corpora.writing import CHANNELS, write_credits, write_imu, write_manifest
from modalities.errors import InputError

INSTALL = "pip install --no-deps aeon==1.6.0"
RATE = 10  # Hz

CREDITS = """
Recordings: BasicMotions, a student project, from the UEA archive of multivariate time series (A. Bagnall, H. A. Dau,
J. Lines, M. Flynn, J. Large, A. Bostrom, P. Southam, E. Keogh, 2018, arXiv:1811.00075), in the PyPI package aeon 1.6.0
(the aeon developers, BSD-3-Clause).
"""


def write(out: Path) -> Path:
    """Write one CSV per recording (sensor `watch`) with the activity as its label.

    Raises:
        InputError: the package is not installed, or holds something other than the expected recordings.
    """
    folder = installed("aeon", INSTALL) / "datasets/data/BasicMotions"
    rows = []
    for split in ("train", "test"):
        for number, (readings, label) in enumerate(read_series(folder / f"BasicMotions_{split.upper()}.ts")):
            name = f"{split}-{number:02d}"
            write_imu(out / f"{name}.csv", np.arange(len(readings)) / RATE, {"watch": readings})
            rows.append({"id": name, "imu": f"{name}.csv", "label": label, "split": split})
    write_credits(out, CREDITS)
    return write_manifest(out, rows)


def read_series(path: Path) -> list[tuple[np.ndarray, str]]:
    """Readings (t, 6) and the label of every series in a `.ts` file: after `@data` a line each, channels by colons.

    Raises:
        InputError: the file is missing or is no such table.
    """
    try:
        lines = path.read_text(encoding="utf-8").partition("@data")[2].split()
        series = [line.split(":") for line in lines]
        found = [(np.array([c.split(",") for c in channels], float).T, label.lower()) for *channels, label in series]
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error})\n  {INSTALL}") from error
    if not found or any(readings.ndim != 2 or readings.shape[1] != len(CHANNELS) for readings, _ in found):
        raise InputError(f"{path}: expected series of {len(CHANNELS)} channels\n  {INSTALL}")
    return found
