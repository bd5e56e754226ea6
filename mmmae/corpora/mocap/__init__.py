"""What a person does, filmed from some side and felt at thirteen places of the body (video, IMU graph, text).

Package: `pybullet` 3.2.7 (zlib licence), whose data folder has fifteen captured motions of the humanoid of DeepMimic
(Peng et al. 2018, arXiv:1804.02717). A take is one motion repeated for some seconds: rendered by pybullet's software
renderer, and measured by a virtual accelerometer and gyroscope inside every limb, all from the same moving skeleton.

Motions, cameras and speeds are drawn per take. The test split holds one camera and one speed that training never sees;
`group` is the camera.
"""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmmae.corpora import installed
from mmmae.corpora.mocap.body import DENSE, LIMBS, MARGIN, RATE, Body, disturb, measure, read_body
from mmmae.corpora.mocap.motion import Motion
from mmmae.corpora.mocap.studio import FPS, Studio, View
from mmmae.corpora.writing import write_credits, write_imu, write_manifest, write_video
from modalities.noise import sample_key, uniform_scalar

INSTALL = "pip install pybullet==3.2.7"

ACTIONS = {
    "backflip": "does backflips",
    "cartwheel": "does a cartwheel",
    "crawl": "crawls on the floor",
    "dance_a": "dances, stepping around",
    "dance_b": "dances on the spot",
    "getup_facedown": "gets up from lying face down",
    "getup_faceup": "gets up from lying face up",
    "jump": "jumps forward",
    "kick": "kicks",
    "punch": "punches",
    "roll": "rolls on the floor",
    "run": "runs",
    "spin": "spins around",
    "spinkick": "does a spinning kick",
    "walk": "walks",
}
SEEN_FROM = {"front": 0, "front left": 45, "left": 90, "back left": 135, "back": 180, "back right": 225, "right": 270}
SPEEDS = {", slowly": 0.7, "": 1.0, ", fast": 1.3}
TEST_CAMERA, TEST_ANGLE, TEST_SPEED = "front right", 315, 0.85  # no train take has this camera or this speed
TEST_EVERY = 5  # of the takes of a motion, every fifth is a test take


def write(out: Path, *, clips: int = 240, seconds: float = 4.0, size: int = 112, seed: int = 0) -> Path:
    """Render and measure `clips` takes of `seconds`: video `size` x `size` at 25 fps, 13 sensors at 50 Hz, a caption.

    Raises:
        InputError: pybullet is not installed.
    """
    if clips < 1 or seconds <= 0 or size < 16 or size % 2:
        raise ValueError(f"mocap takes clips >= 1, seconds > 0 and an even size >= 16; got {clips}, {seconds}, {size}")
    data = installed("pybullet_data", INSTALL)
    body = read_body(data / "humanoid" / "humanoid.urdf")
    needed = (seconds + 2 * MARGIN) * max(SPEEDS.values())
    motions = {action: Motion(data / "data" / "motions" / f"humanoid3d_{action}.txt", needed) for action in ACTIONS}
    rows = []
    with closing(Studio(data, size)) as studio:
        for index in range(clips):
            take = plan_take(sample_key(seed, 0, index), index)
            motion, name = motions[take.action], f"{index:05d}-{take.action}"
            begin = take.phase * motion.period + MARGIN * take.speed
            poses = motion.at(begin + np.arange(math.ceil(seconds * FPS)) / FPS * take.speed)
            write_video(out / f"{name}.mp4", studio.render(*poses, motion.facing, take.view), FPS)
            readings = disturb(feel(body, motion, begin, take.speed, seconds), seed, index)
            sensors = {limb: readings[:, place] for place, limb in enumerate(LIMBS.values())}
            write_imu(out / f"{name}.csv", np.arange(len(readings)) / RATE, sensors)
            rows.append(
                {
                    "id": name,
                    "video": f"{name}.mp4",
                    "imu": f"{name}.csv",
                    "edges": body.edges,
                    "text": f"a person {ACTIONS[take.action]}, seen from the {take.camera}{take.manner}",
                    "label": take.action,
                    "group": take.camera,
                    "split": "test" if take.camera == TEST_CAMERA else "train",
                }
            )
    write_credits(
        out,
        "Motions and humanoid: pybullet 3.2.7 (Erwin Coumans, Yunfei Bai and contributors; zlib licence), after "
        "DeepMimic (Xue Bin Peng, Pieter Abbeel, Sergey Levine, Michiel van de Panne, 2018, arXiv:1804.02717).\n"
        "Rendered and measured by mmmae.",
    )
    return write_manifest(out, rows)


def feel(body: Body, motion: Motion, begin: float, speed: float, seconds: float) -> np.ndarray:
    """Readings (t, 13, 6) of `seconds` of a motion, played `speed` times as fast from its second `begin` on."""
    clock = np.arange(round((seconds + 2 * MARGIN) * DENSE)) / DENSE - MARGIN
    return measure(*body.place(*motion.at(begin + clock * speed)))


@dataclass(frozen=True)
class Take:
    """What is chosen for one clip; phase is where in the motion it begins, in [0, 1)."""

    action: str
    camera: str
    manner: str
    speed: float
    phase: float
    view: View


def plan_take(key: int, index: int) -> Take:
    """The takes visit the motions in turn; all else is drawn."""
    turn, place = divmod(index, len(ACTIONS))
    where, how, phase, sway, lift, away, *colour = uniform_scalar(key, "mocap/take", 9)
    if turn % TEST_EVERY == TEST_EVERY - 1:
        camera, azimuth, manner, speed = TEST_CAMERA, TEST_ANGLE, "", TEST_SPEED
    else:
        camera, azimuth = list(SEEN_FROM.items())[int(where * len(SEEN_FROM))]
        manner, speed = list(SPEEDS.items())[int(how * len(SPEEDS))]
    view = View(azimuth + 20 * (sway - 0.5), 5 + 20 * lift, 2.4 + 0.6 * away, tuple(0.3 + 0.7 * c for c in colour))
    return Take(list(ACTIONS)[place], camera, manner, speed, phase, view)
