"""What the data decides about channels: which there are, and how large their readings are."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import numpy as np

from modalities.imu.recording import Table
from modalities.imu.words import CHANNELS

SURVEYED = 16  # recordings looked at for what the recipe leaves open


def fitting(found: Collection[str]) -> int | list[str]:
    """The setting `channels` that reads what was found: a count where they are the first ones, else names."""
    names = [channel for channel in CHANNELS if channel in found] + sorted(set(found) - set(CHANNELS))
    return len(names) if tuple(names) == CHANNELS[: len(names)] else names


def moments(tables: Iterable[Table], channels: Sequence[str], asked: Iterable[str]) -> dict[str, list[float]]:
    """Mean and standard deviation of each channel over all sensors, those of the two that are asked for.

    Every recording counts alike. What does not vary gets the deviation 1.
    """
    means, squares = [], []
    for table in tables:
        count, total, square = (np.zeros(len(channels)) for _ in range(3))
        for group in table.groups:
            _, readings = group.around(table.values, -np.inf, np.inf, 0.0)
            for (_, channel), column in zip(group.places, readings.T, strict=True):
                if channel in channels:
                    place = channels.index(channel)
                    count[place] += len(column)
                    total[place] += column.sum()
                    square[place] += np.square(column).sum()
        with np.errstate(invalid="ignore"):
            means.append(total / count)
            squares.append(square / count)
    mean, square = (np.array([average(column) for column in np.array(rows).T]) for rows in (means, squares))
    std = np.sqrt(np.maximum(square - mean**2, 0.0))
    found = {"mean": np.nan_to_num(mean), "std": np.where(std > 1e-6, std, 1.0)}
    return {key: [float(f"{value:.4g}") for value in found[key]] for key in ("mean", "std") if key in asked}


def average(values: np.ndarray) -> float:
    """The mean of the numbers that there are."""
    there = values[np.isfinite(values)]
    return float(there.mean()) if len(there) else np.nan
