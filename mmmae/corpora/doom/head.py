"""What the head of the player does, as numbers and in words."""

from __future__ import annotations

import math

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter1d

from mmmae.corpora.doom.game import AFTER, BEFORE, TICS

RATE = 50  # readings per second
METRES = 1 / 32  # per map unit: the marine is 56 units tall
GRAVITY, SATURATION = 9.80665, 16 * 9.80665  # m/s^2; like most, the sensor measures up to 16 g
SMOOTH = 1.5  # tics, standard deviation of the smoothing of the head's path
TELEPORT = 64  # units within a tic, more than anybody runs


def measure(head: np.ndarray, key: int) -> np.ndarray:
    """What a sensor in the head feels: its path (t, 4) per tic -> (t', 6) at 50 Hz, less the border.

    Axes forward, left, up; specific force in m/s^2 (standing reads 9.81 upwards), angular velocity in rad/s; with white
    noise drawn from `key`.
    """
    steps = np.diff(head[:, :3], axis=0, prepend=head[:1, :3])
    steps[np.linalg.norm(steps, axis=1) > TELEPORT] = 0
    path, yaw = np.cumsum(steps, axis=0) * METRES, np.unwrap(np.radians(head[:, 3]))
    acceleration = np.pad(np.diff(path, 2, axis=0), [(1, 1), (0, 0)]) * TICS**2
    acceleration = gaussian_filter1d(acceleration, SMOOTH, axis=0)
    turning = gaussian_filter1d(np.gradient(yaw), SMOOTH) * TICS
    ahead = np.cos(yaw) * acceleration[:, 0] + np.sin(yaw) * acceleration[:, 1]
    left = np.cos(yaw) * acceleration[:, 1] - np.sin(yaw) * acceleration[:, 0]
    readings = np.stack([ahead, left, acceleration[:, 2] + GRAVITY, 0 * yaw, 0 * yaw, turning], axis=1)
    tics = np.arange(len(head)) - BEFORE
    seconds = np.arange(math.floor((len(head) - BEFORE - AFTER) / TICS * RATE)) / RATE
    readings = CubicSpline(tics / TICS, readings)(seconds)
    readings += np.repeat([0.05, 0.01], 3) * np.random.default_rng(key & 0xFFFFFFFF).standard_normal(readings.shape)
    return np.concatenate([readings[:, :3].clip(-SATURATION, SATURATION), readings[:, 3:]], axis=1)


def gait(head: np.ndarray) -> str:
    """How the head (t, 4) moved, in words."""
    pace = np.linalg.norm(np.diff(head[:, :2], axis=0), axis=1)
    turned = np.unwrap(np.radians(head[:, 3]))
    words = "standing" if np.median(pace) < 1 else "walking" if np.median(pace) < 10 else "running"
    if abs(turned[-1] - turned[0]) > math.pi / 3:
        words += " and turning left" if turned[-1] > turned[0] else " and turning right"
    return words
