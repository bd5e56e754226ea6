"""Whether the size of readings fits their unit: gravity is the mean of what an accelerometer at rest measures."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from modalities.errors import SampleError
from modalities.imu.units import GRAVITY

SEGMENT = 1.0  # seconds whose mean leaves gravity alone
FEW = 5  # segments
LOOKED = 2000  # segments that are looked at, spread over the recording
TIGHT, LOOSE = 0.1, 0.3  # spread of gravity over its median: certain; still gravity
FASTEST = 70.0  # rad/s: twice what most gyroscopes measure at all
HARDEST = 160.0  # m/s^2 as the mean of a second: no body bears it


def mean_sizes(values: np.ndarray, period: float) -> np.ndarray:
    """Norms of the means over segments of a second of readings (n, 3) that are `period` seconds apart."""
    per = max(1, min(len(values), round(SEGMENT / max(period, 1e-9))))
    starts = np.unique(np.linspace(0, len(values) - per, min(LOOKED, max(1, len(values) // per))).astype(int))
    with np.errstate(over="ignore", invalid="ignore"):
        means = np.stack([np.asarray(values[start : start + per], dtype=np.float64).mean(0) for start in starts])
        return np.linalg.norm(means, axis=1)


def gravity(values: np.ndarray, period: float) -> tuple[float, float, bool]:
    """The median size of gravity in readings (n, 3), in their unit, its spread (half of them) over it, and whether the
    recording is long enough to contradict a stated unit."""
    sizes = mean_sizes(values, period)
    if len(sizes) < FEW:  # too few to see them vary: the readings' own sizes have to agree
        with np.errstate(over="ignore", invalid="ignore"):  # readings beyond all bounds are reported elsewhere
            own = np.linalg.norm(np.asarray(values, dtype=np.float64), axis=1)
        return float(np.median(sizes)), spread_of(own)[1], False
    return *spread_of(sizes), True


def spread_of(sizes: np.ndarray) -> tuple[float, float]:
    """The median of some sizes, and the spread of their middle half over it."""
    with np.errstate(over="ignore", invalid="ignore"):
        low, middle, high = np.percentile(sizes, [25, 50, 75])
        return float(middle), float((high - low) / middle) if middle > 0 else np.inf


def unit_of(
    path: Path, size: float, spread: float, stated: str | None, by_recipe: bool, long: bool = True
) -> tuple[str, list[str]]:
    """The unit of accelerations whose gravity has this size, before any conversion, and what is to be said of it.

    long: whether the recording is long enough to contradict its header; a body may fall for a second or two.

    Raises:
        SampleError: the size fits another unit than the one stated, or no unit certainly.
    """
    remedy = "state the unit: `modalities.imu.units.acceleration=g` (or m/s^2, mg, or m/s^2 per count as a number)"
    like_g = abs(size - 1) <= 0.1 and spread <= TIGHT
    like_metres = abs(size - GRAVITY) <= 0.1 * GRAVITY and spread <= TIGHT
    if stated is None:
        if like_g:
            return "g", ["acceleration is in g, for its mean is 1: converted to m/s^2"]
        if abs(size - 1) <= 0.25 and spread <= LOOSE:
            raise SampleError(path, f"its acceleration looks like g (its mean over a second is {size:.2f})", remedy)
        if abs(size - 1) <= 0.25:
            return "m/s^2", ["acceleration may be in g: it is read as m/s^2, state `modalities.imu.units.acceleration`"]
        if size > HARDEST and spread <= LOOSE:
            raise SampleError(path, f"its acceleration is not in m/s^2 (its mean over a second is {size:.4g})", remedy)
        return "m/s^2", []
    if (stated == "m/s^2" and like_g) or (stated == "g" and like_metres):
        other = "g" if like_g else "m/s^2"
        if by_recipe or not long:
            by = "recipe" if by_recipe else "header"
            return stated, [f"acceleration looks like {other}, the {by} states {stated}"]
        raise SampleError(
            path, f"its header states {stated}, but its acceleration is in {other} (mean {size:.2f})", remedy
        )
    return stated, []


def refuse_fast(path: Path, values: np.ndarray) -> None:
    """Refuse angular velocities without a stated unit that cannot be rad/s.

    Raises:
        SampleError: names how large they are.
    """
    with np.errstate(invalid="ignore"):
        there = np.abs(values[np.isfinite(values)])
        largest = float(np.percentile(there, 99)) if len(there) else 0.0  # one broken reading is no unit
    if FASTEST < largest < 1e6:
        remedy = (
            "state the unit: `modalities.imu.units.angular_velocity=deg/s` (or rad/s, or rad/s per count as a number)"
        )
        raise SampleError(path, f"its angular velocity reaches {largest:.4g}, too fast for rad/s", remedy)
