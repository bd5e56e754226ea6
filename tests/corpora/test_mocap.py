"""The corpus mocap: bodies feel what they do, motions go on without a jump, a camera and a speed are held out."""

from __future__ import annotations

import json
import math
from pathlib import Path

import av
import numpy as np
import pytest
from packages import UP, needs
from scipy.spatial.transform import Rotation

from mmmae import corpora
from mmmae.corpora import mocap
from mmmae.corpora.mocap import body as mocap_body
from mmmae.corpora.mocap.motion import Motion
from modalities.errors import InputError
from modalities.noise import sample_key


def upright(count: int, yaw: np.ndarray | float = 0.0) -> np.ndarray:
    """Joints (t, 13, 4) of somebody who stands, faces `yaw` and moves no joint."""
    joints = np.tile([0.0, 0, 0, 1], (count, len(mocap_body.LIMBS), 1))
    yaw = np.broadcast_to(yaw, count)
    root = Rotation.from_euler("z", yaw[:, None]) * Rotation.from_euler("x", math.pi / 2)  # limbs have y up
    joints[:, 0] = root.as_quat()
    return joints


@pytest.fixture(scope="module")
def body(tmp_path_factory) -> mocap_body.Body:
    """A made model file: every joint 1 unit above its parent's, every centre 2 units before its joint."""
    chain = dict(zip(mocap_body.LIMBS, ["base", *mocap_body.LIMBS], strict=False))
    links = [f'<link name="{n}"><inertial><origin xyz="2 0 0"/></inertial></link>' for n in mocap_body.LIMBS]
    joints = [
        f'<joint name="{n}"><parent link="{p}"/><child link="{n}"/><origin xyz="0 1 0"/></joint>'
        for n, p in chain.items()
    ]
    path = tmp_path_factory.mktemp("model") / "humanoid.urdf"
    path.write_text(f'<robot name="x">{"".join(links + joints)}</robot>\n\0')
    return mocap_body.read_body(path)


def test_mocap_places_limbs_along_the_skeleton(body):
    assert body.edges == [[i, i + 1] for i in range(12)]
    bent = upright(1, yaw=math.pi / 2)
    bent[:, 1] = Rotation.from_euler("z", math.pi / 2).as_quat()  # from the chest on, up is now backwards
    centres, _ = body.place(np.array([[10.0, 0, 0]]), bent)
    np.testing.assert_allclose(centres[0, 0], [10, 0.5, 0], atol=1e-12)
    np.testing.assert_allclose(centres[0, 1], [10, 0, 0.25 + 0.5], atol=1e-12)
    np.testing.assert_allclose(centres[0, 3], [10, -0.5, 0.25 + 0.5], atol=1e-12)


@pytest.mark.parametrize("speed", [0.0, 7.0])
def test_mocap_feels_gravity_alone_at_rest_and_at_constant_speed(body, speed):
    time = np.arange(500) / mocap_body.DENSE
    path = np.stack([1000 + speed * time, 0 * time, 0 * time], axis=1)
    readings = mocap_body.measure(*body.place(path, upright(500, yaw=0.7)))
    assert readings.shape == ((500 - 100) // 4, 13, 6)
    np.testing.assert_allclose(readings, np.broadcast_to([0, UP[2], 0, 0, 0, 0], readings.shape), atol=1e-5)


def test_mocap_feels_turning_as_it_is(body):
    time, omega = np.arange(500) / mocap_body.DENSE, 6.0
    readings = mocap_body.measure(*body.place(np.zeros((500, 3)), upright(500, yaw=omega * time)))
    inwards = -(omega**2) * 0.5  # the centres lie 0.5 m from the axis
    wanted = np.broadcast_to([inwards, UP[2], 0, 0, omega, 0], readings.shape)
    np.testing.assert_allclose(readings, wanted, atol=0.1)


def motion_file(folder: Path, *, keys: int = 31, turn: float = 0.0) -> Path:
    """Somebody goes 3 m/s straight on, 0.8 m above the ground, turning by `turn` meanwhile; y is up."""
    step = 1 / 30
    root = np.roll(Rotation.from_euler("y", np.linspace(0, turn, keys)[:, None]).as_quat(), 1, axis=1)
    rest = [1.0, 0, 0, 0]
    joints = [*rest, *rest, *rest, -0.3, *rest, *rest, 0.4, *rest, -0.3, *rest, *rest, 0.4]
    frames = [[step, 3 * step * i, 0.8, 0.0, *root[i], *joints] for i in range(keys)]
    path = folder / "motion.txt"
    path.write_text(json.dumps({"Loop": "wrap", "Frames": frames}))
    return path


def test_mocap_motions_go_on_without_a_jump(tmp_path):
    motion = Motion(motion_file(tmp_path), 5.0)
    assert motion.period == pytest.approx(1.0) and motion.facing == pytest.approx(0.0)
    time = np.arange(0, 6, 0.01)
    position, joints = motion.at(time)
    np.testing.assert_allclose(position, np.stack([3 * time, 0 * time, 0 * time + 0.8], axis=1), atol=1e-9)
    bend = 2 * np.arctan2(joints[:, list(mocap_body.LIMBS).index("left_elbow"), 2:].T[0], joints[:, -1, 3])
    np.testing.assert_allclose(bend, 0.4, atol=1e-9)


def test_mocap_repetitions_keep_the_heading(tmp_path):
    motion = Motion(motion_file(tmp_path, turn=math.pi / 2), 5.0)
    _, joints = motion.at(np.array([0.0, 1.0, 2.0, 3.0]))
    forward = Rotation.from_quat(joints[:, 0]).apply([1, 0, 0])
    np.testing.assert_allclose(forward, [[1, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0]], atol=0.05)
    position, _ = motion.at(np.array([0.5, 1.5]))
    assert np.gradient(motion.at(np.arange(1.2, 1.4, 0.01))[0][:, 1]).mean() == pytest.approx(0.03, rel=0.05)
    assert position[1, 1] > 1  # what went along x goes along y after a quarter turn


def test_mocap_names_a_motion_file_that_is_none(tmp_path):
    (tmp_path / "motion.txt").write_text('{"Frames": [[1, 2, 3]]}')
    with pytest.raises(InputError, match=r"motion\.txt.+44"):
        Motion(tmp_path / "motion.txt", 1.0)


def test_mocap_holds_out_a_camera_and_a_speed():
    takes = [mocap.plan_take(sample_key(0, 0, i), i) for i in range(300)]
    test = [take for take in takes if take.camera == mocap.TEST_CAMERA]
    train = [take for take in takes if take.camera != mocap.TEST_CAMERA]
    assert {take.speed for take in test} == {mocap.TEST_SPEED} and mocap.TEST_SPEED not in {t.speed for t in train}
    assert {take.action for take in test} == {take.action for take in train} == set(mocap.ACTIONS)
    assert {take.camera for take in train} == set(mocap.SEEN_FROM)


@needs("pybullet", mocap.INSTALL)
def test_mocap_for_real(tmp_path):
    data = corpora.installed("pybullet_data", mocap.INSTALL)
    body = mocap_body.read_body(data / "humanoid" / "humanoid.urdf")
    motion = Motion(data / "data" / "motions" / "humanoid3d_cartwheel.txt", 2.0)
    position, joints = motion.at(np.array([0.9]))
    studio = mocap.Studio(data, 32)
    studio.pose(position[0], joints[0])
    states = [studio.bullet.getLinkState(studio.person, studio.links[limb]) for limb in mocap_body.LIMBS]
    np.testing.assert_allclose(body.place(position, joints)[0][0], [state[0] for state in states], atol=1e-4)
    studio.close()

    folder = corpora.prepare("mocap", tmp_path / "mocap", clips=2, seconds=1.0, size=32).parent
    (row, _) = (json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines())
    assert row["text"].startswith("a person does backflips, seen from the ") and len(row["edges"]) == 12
    with av.open(str(folder / row["video"])) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 25 and np.ptp(frames[0]) > 100 and np.abs(frames[0].astype(int) - frames[12]).mean() > 2
