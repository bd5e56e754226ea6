"""Readings at their own moments, turned into values at even ticks."""

from __future__ import annotations

import numpy as np

LONGEST_GAP = 3.0  # source periods that linear interpolation may bridge
NARROWING = 1.5  # source rate over the reader's from which readings are averaged, against aliasing
NOISE = 1e-4  # of a period: stamps in nanoseconds since 1970 keep no more


def resample(
    times: np.ndarray, values: np.ndarray, ticks: np.ndarray, period: float, width: float
) -> tuple[np.ndarray, np.ndarray]:
    """Readings (n, channels) of one clock at ticks (t,), and at which of them they are observed (t,).

    Readings closer than `LONGEST_GAP` periods form a run; beyond its ends the outer readings hold for less than a
    period. If the source is much faster, each tick is the mean over `width` seconds of the broken line through the run;
    near the ends of the run the mean narrows, so that a straight line always comes back as it was.
    """
    if not len(times):
        return np.zeros((len(ticks), values.shape[1])), np.zeros(len(ticks), dtype=bool)
    breaks = np.flatnonzero(np.diff(times) > LONGEST_GAP * period * (1 + NOISE))
    firsts, lasts = times[np.r_[0, breaks + 1]], times[np.r_[breaks, len(times) - 1]]
    run = np.clip(np.searchsorted(firsts, ticks, side="right") - 1, 0, None)
    nearer_next = (run + 1 < len(firsts)) & (np.r_[firsts, np.inf][run + 1] - ticks < ticks - lasts[run])
    run = run + nearer_next
    first, last = firsts[run], lasts[run]
    holds = period * (1 - NOISE)  # the noise of stamps must not carry a reading to the next one's place
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
