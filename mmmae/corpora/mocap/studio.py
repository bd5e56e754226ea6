"""Where takes are filmed: a floor, the humanoid, and a camera that follows it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d

from mmmae.corpora.mocap.body import HINGES, LIMBS, SCALE
from mmmae.native_logs import quiet

FPS = 25
SKIN = (0.95, 0.8, 0.65)
EYES, GLIDE = 0.75, 0.3  # height in m at which the camera aims, and s over which it follows


class View(NamedTuple):
    """From where: degrees to the left of where the person faces, degrees up, metres away; and the person's colour."""

    azimuth: float
    elevation: float
    distance: float
    colour: tuple[float, ...]


class Studio:
    """A floor, the humanoid and a camera that follows it, in pybullet's software renderer (no display, no GPU)."""

    def __init__(self, data: Path, size: int):
        with quiet():  # it greets at import and warns of its own model
            import pybullet  # pyright: ignore[reportMissingImports]
            from pybullet_utils.bullet_client import BulletClient  # pyright: ignore[reportMissingImports]

            self.size, self.bullet = size, BulletClient(pybullet.DIRECT)
            self.bullet.loadURDF(str(data / "plane.urdf"))
            self.person = self.bullet.loadURDF(str(data / "humanoid" / "humanoid.urdf"), globalScaling=SCALE)
        infos = [self.bullet.getJointInfo(self.person, i) for i in range(self.bullet.getNumJoints(self.person))]
        self.links = {info[12].decode(): info[0] for info in infos}

    def close(self) -> None:
        self.bullet.disconnect()

    def render(self, position: np.ndarray, joints: np.ndarray, facing: float, view: View) -> Iterator[np.ndarray]:
        """One uint8 picture (size, size, 3) per pose; the camera glides along, always at the view's angle."""
        path = gaussian_filter1d(position, GLIDE * FPS, axis=0, mode="nearest")
        path[:, 2] = EYES
        angle, lift = facing + math.radians(view.azimuth), math.radians(view.elevation)
        away = np.array([math.cos(lift) * math.cos(angle), math.cos(lift) * math.sin(angle), math.sin(lift)])
        lens = self.bullet.computeProjectionMatrixFOV(fov=50, aspect=1, nearVal=0.1, farVal=30)
        self.paint(view.colour)
        for target, place, pose in zip(path, position, joints, strict=True):
            self.pose(place, pose)
            eye = self.bullet.computeViewMatrix(target + view.distance * away, target, [0, 0, 1])
            picture = self.bullet.getCameraImage(
                self.size, self.size, eye, lens, renderer=self.bullet.ER_TINY_RENDERER
            )[2]
            yield np.reshape(np.asarray(picture, dtype=np.uint8), (self.size, self.size, 4))[..., :3]

    def paint(self, colour: tuple[float, ...]) -> None:
        """Dress the person; head and hands stay skin."""
        for name, link in self.links.items():
            skin = name in ("neck", "left_wrist", "right_wrist")
            self.bullet.changeVisualShape(self.person, link, rgbaColor=(*(SKIN if skin else colour), 1))

    def pose(self, position: np.ndarray, joints: np.ndarray) -> None:
        """Put the person into one pose: root position (3,) and joint quaternions (13, 4)."""
        self.bullet.resetBasePositionAndOrientation(self.person, position, joints[0])
        for name, (x, y, z, w) in zip(list(LIMBS)[1:], joints[1:], strict=True):
            value = [2 * math.atan2(z, w)] if name.endswith(HINGES) else [x, y, z, w]
            self.bullet.resetJointStateMultiDof(self.person, self.links[name], value)
