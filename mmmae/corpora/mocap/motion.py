"""Captured motions, made to go on for as long as a take needs."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation

from mmmae.corpora.mocap.body import HINGES, LIMBS
from modalities.errors import InputError

PACE, RISE = 8.0, 1.2  # rad/s and m/s at which a person passes from the end of a motion to its beginning


class Motion:
    """A captured motion that goes on: repetitions are joined where the last one ended, heading included.

    period: seconds of one repetition. facing: the angle about the vertical, in radians, that the person faces at first.
    """

    def __init__(self, path: Path, seconds: float):
        time, position, joints = read_motion(path)
        self.facing = facing(Rotation.from_quat(joints[:, 0]))
        time, position, joints, self.period = repeat(time, position, joints, seconds)
        self.position, self.joints = CubicSpline(time, position), CubicSpline(time, joints)

    def at(self, time: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Root positions (t, 3) in metres and unit joint quaternions (t, 13, 4)."""
        joints = self.joints(time)
        return self.position(time), joints / np.linalg.norm(joints, axis=-1, keepdims=True)


def read_motion(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Key times (k,), root positions (k, 3) and joint quaternions (k, 13, 4) as xyzw, turned from y up to z up.

    Keys are taken as evenly spaced, which they are: only `roll` lacks one.

    Raises:
        InputError: the file is no humanoid motion.
    """
    try:
        frames = np.array(json.loads(path.read_text())["Frames"], dtype=float)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: cannot be read as a motion ({error})\n  reinstall pybullet==3.2.7") from error
    width = 4 + sum(1 if joint.endswith(HINGES) else 4 for joint in LIMBS)
    if frames.ndim != 2 or frames.shape[1] != width:
        raise InputError(f"{path}: expected {width} numbers a frame, got {frames.shape}\n  reinstall pybullet==3.2.7")
    joints, column = [], 4
    for joint in LIMBS:
        if joint.endswith(HINGES):
            half = frames[:, column] / 2
            joints.append(np.stack([0 * half, 0 * half, np.sin(half), np.cos(half)], axis=1))
            column += 1
        else:
            joints.append(np.roll(frames[:, column : column + 4], -1, axis=1))  # wxyz -> xyzw
            column += 4
    upright = Rotation.from_euler("x", 90, degrees=True)
    joints[0] = (upright * Rotation.from_quat(joints[0])).as_quat()
    time = frames[0, 0] * np.arange(len(frames))
    return time, upright.apply(frames[:, 1:4]), np.stack(joints, axis=1)


def facing(root: Rotation) -> float:
    """Where a person looks when first upright; one who never is looks where the head points."""
    upright = root.apply([0, 1, 0])[:, 2] > 0.7
    forward = root[int(upright.argmax())].apply([1, 0, 0] if upright.any() else [0, 1, 0])
    return math.atan2(forward[1], forward[0])


def repeat(
    time: np.ndarray, position: np.ndarray, joints: np.ndarray, seconds: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Append repetitions, each begun where and in the direction that the last one ended, for a period and `seconds`.

    Between two of them the person takes as long as passing from pose to pose needs (PACE, RISE).
    Returns key times, positions, joints (neighbours of the same sign), and the period.
    """
    step, places, poses = time[1], [position], [joints]
    length, period = len(time), math.inf  # both counted in keys
    while length - 1 < period + seconds / step:
        last, end = Rotation.from_quat(poses[-1][-1]), places[-1][-1]
        turn = twist(last[0] * Rotation.from_quat(joints[0, 0]).inv())
        again = joints.copy()
        again[:, 0] = (turn * Rotation.from_quat(joints[:, 0])).as_quat()
        change = (last.inv() * Rotation.from_quat(again[0])).as_rotvec()
        rise = abs(position[0, 2] - end[2])
        pause = round(max(np.linalg.norm(change, axis=1).max() / PACE, rise / RISE) / step)
        pace = (end - places[-1][-2] + turn.apply(position[1] - position[0])) / 2
        moved = turn.apply(position - position[0]) + end + pause * pace
        moved[:, 2] = position[:, 2]

        passed = np.arange(1, pause)[:, None] / max(pause, 1)
        eased = passed**2 * (3 - 2 * passed)
        between = end + np.concatenate([passed, passed, eased], axis=1) * (moved[0] - end)
        turned = last * Rotation.from_rotvec(eased[..., None] * change)
        fresh = int(pause == 0)  # where the last pose is the first one, it is not shown twice
        places += [between, moved[fresh:]]
        poses += [turned.as_quat(), again[fresh:]]
        period = min(period, length - 1 + pause)
        length = sum(map(len, places))

    positions, rotations = np.concatenate(places), np.concatenate(poses)
    flips = np.where((rotations[1:] * rotations[:-1]).sum(axis=-1) < 0, -1, 1).cumprod(axis=0)
    rotations[1:] *= flips[..., None]  # q and -q are one rotation, but a spline between them is not
    return step * np.arange(length), positions, rotations, step * period


def twist(rotation: Rotation) -> Rotation:
    """The part of a rotation that turns about the vertical."""
    return Rotation.from_quat(rotation.as_quat() * [0, 0, 1, 1])
