"""The humanoid's skeleton: where its limbs are, and what sensors inside them feel."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from einops import einsum, rearrange
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

RATE, DENSE = 50, 200  # readings, and poses that they are derived from, per second
GRAVITY, SATURATION = 9.80665, 16 * 9.80665  # m/s^2; like most, the sensors measure up to 16 g
BANDWIDTH = 0.015  # s, standard deviation of the smoothing that the sensors apply (-3 dB at 9 Hz)
MARGIN = 0.25  # s of poses before and after a recording, so that smoothing sees no border
SCALE = 0.25  # the model file is four times life size

LIMBS = {  # the joints in the order of a motion file -> the limb that each one moves
    "root": "pelvis",
    "chest": "chest",
    "neck": "head",
    "right_hip": "right_thigh",
    "right_knee": "right_shin",
    "right_ankle": "right_foot",
    "right_shoulder": "right_upper_arm",
    "right_elbow": "right_forearm",
    "left_hip": "left_thigh",
    "left_knee": "left_shin",
    "left_ankle": "left_foot",
    "left_shoulder": "left_upper_arm",
    "left_elbow": "left_forearm",
}
HINGES = ("knee", "elbow")  # one angle about z; every other joint is a quaternion


@dataclass(frozen=True)
class Body:
    """Thirteen limbs in the order of LIMBS: the parent of each, where its joint lies in the parent, and its centre."""

    parents: list[int]
    joints: np.ndarray
    centres: np.ndarray

    @property
    def edges(self) -> list[list[int]]:
        return [[parent, child] for child, parent in enumerate(self.parents) if parent >= 0]

    def place(self, position: np.ndarray, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Centres (t, 13, 3) and orientations (t, 13, 3, 3) of the limbs, from root positions and joint quaternions."""
        places: list[np.ndarray] = []
        turns: list[np.ndarray] = []
        for limb, parent in enumerate(self.parents):
            turn = Rotation.from_quat(joints[:, limb]).as_matrix()
            places.append(position if parent < 0 else places[parent] + turns[parent] @ self.joints[limb])
            turns.append(turn if parent < 0 else turns[parent] @ turn)
        orientation = np.stack(turns, axis=1)
        return np.stack(places, axis=1) + einsum(orientation, self.centres, "t l i j, l j -> t l i"), orientation


def read_body(path: Path) -> Body:
    """The skeleton of a humanoid model file, in life size."""
    text, end, _ = path.read_text().partition("</robot>")  # the packaged file has bytes after its end
    model = ElementTree.fromstring(text + end)

    def read(path: str, name: str) -> str:
        return next(model.iterfind(path)).attrib[name]

    def offset(path: str) -> list[float]:
        return [SCALE * float(x) for x in read(path, "xyz").split()]

    parents = [read(f"joint[@name='{limb}']/parent", "link") for limb in LIMBS]
    return Body(
        parents=[list(LIMBS).index(parent) if parent in LIMBS else -1 for parent in parents],
        joints=np.array([offset(f"joint[@name='{limb}']/origin") for limb in LIMBS]),
        centres=np.array([offset(f"link[@name='{limb}']/inertial/origin") for limb in LIMBS]),
    )


def measure(centres: np.ndarray, orientation: np.ndarray) -> np.ndarray:
    """What sensors at the limbs' centres feel: poses (t, 13, ...) at 200 Hz -> (t', 13, 6) at 50 Hz, less the margins.

    Specific force in m/s^2 (a limb at rest reads 9.81 upwards) and angular velocity in rad/s, in the limb's own axes.
    """
    width = BANDWIDTH * DENSE
    acceleration = np.diff(centres, 2, axis=0) * DENSE**2  # exactly 0 at constant speed, wherever the person is
    acceleration = gaussian_filter1d(padded(acceleration), width, axis=0)
    acceleration[..., 2] += GRAVITY
    force = einsum(orientation, acceleration, "t l i j, t l i -> t l j")
    change = einsum(orientation[:-2], orientation[2:], "t l i j, t l i k -> t l j k")
    rate = Rotation.from_matrix(rearrange(change, "t l i j -> (t l) i j")).as_rotvec() * DENSE / 2
    rate = rearrange(rate, "(t l) c -> t l c", t=len(change))
    rate = gaussian_filter1d(padded(rate), width, axis=0)
    margin = round(MARGIN * DENSE)
    return np.concatenate([force, rate], axis=-1)[margin : len(force) - margin : DENSE // RATE]


def padded(values: np.ndarray) -> np.ndarray:
    """The two poses that a central difference costs, given back."""
    return np.pad(values, [(1, 1), (0, 0), (0, 0)], mode="edge")


def disturb(readings: np.ndarray, seed: int, index: int) -> np.ndarray:
    """White noise, a constant bias and saturation, as cheap sensors have them."""
    noise = np.random.default_rng([seed, index])
    scale = np.repeat([0.05, 0.01], 3)
    readings = readings + scale * (noise.standard_normal(readings.shape) + noise.standard_normal(readings.shape[1:]))
    return np.concatenate([readings[..., :3].clip(-SATURATION, SATURATION), readings[..., 3:]], axis=-1)
