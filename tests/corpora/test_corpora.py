"""Corpora: the synthetic world is as described, and preparing one is all or nothing."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from pathlib import Path

import av
import numpy as np
import pytest

from mmmae import corpora
from mmmae.corpora import world
from mmmae.corpora.world.physics import STEPS
from mmmae.corpora.world.scene import ACTIONS, draw_scene
from mmmae.corpora.world.senses import ARM
from mmmae.corpora.writing import CHANNELS, write_imu, write_manifest, write_video
from modalities.errors import InputError
from modalities.imu import IMUReader

LEAD = round(world.LEAD * STEPS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Twenty clips of two seconds: every action twice."""
    return corpora.prepare("world", tmp_path_factory.mktemp("corpora") / "world", clips=20, seconds=2.0).parent


UNITS = {"a": "m/s^2", "g": "rad/s"}


def rows(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


def sound(path: Path) -> tuple[np.ndarray, int]:
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    return np.concatenate([frame.to_ndarray() for frame in frames], axis=1)[0], frames[0].sample_rate


def imu(path: Path) -> tuple[list[str], np.ndarray]:
    header, *lines = csv.reader(path.open())
    return header, np.array(lines, dtype=float)


def digests(folder: Path, pattern: str = "**/*") -> dict[str, str]:
    files = sorted(path for path in folder.glob(pattern) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def alone(action: str) -> int:
    """The first scene in which a single body does this."""
    return next(i for i in range(400) if (scene := draw_scene(i, 0)).label == action and len(scene.bodies) == 1)


def single(action: str) -> tuple[world.Scene, world.Trace]:
    scene = draw_scene(alone(action), 0)
    return scene, world.simulate_scenes([scene], 4.0)[0]


def test_a_clip_is_a_function_of_seed_and_index(tmp_path):
    for name, clips, seed, workers in (("one", 3, 0, 1), ("two", 3, 0, 2), ("fewer", 2, 0, 2), ("other", 3, 1, 2)):
        (tmp_path / name).mkdir()
        world.write(tmp_path / name, clips=clips, seconds=1.0, seed=seed, workers=workers)
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    fewer, more = digests(tmp_path / "fewer", "*/*"), digests(tmp_path / "one", "*/*")
    assert len(fewer) == 6 and fewer.items() <= more.items()
    assert not digests(tmp_path / "other", "*/*").items() & more.items()


def test_files_open_and_last_as_long_as_they_should(folder):
    for row in rows(folder):
        with av.open(str(folder / row["video"])) as container:
            pictures = list(container.decode(video=0))
        assert [(p.width, p.height) for p in pictures] == [(64, 64)] * 32
        assert [p.time for p in pictures] == pytest.approx(np.arange(32) / 16)
        samples, rate = sound(folder / row["video"])
        assert rate == 16_000 and 0 <= len(samples) - 32_000 <= 1024  # AAC fills its last frame
        assert 0.01 < np.abs(samples).max() <= 1
        header, table = imu(folder / row["imu"])
        bodies = int(row["group"].split()[0])
        assert header == ["time", *(f"body{i}.{c} ({UNITS[c[0]]})" for i in range(bodies) for c in CHANNELS)]
        assert table[:, 0] == pytest.approx(np.arange(100) / 50) and np.isfinite(table).all()


def test_the_manifest_balances_actions_and_holds_out_the_last_fifth(folder):
    table = rows(folder)
    assert [row["label"] for row in table] == 2 * list(ACTIONS)
    assert [row["split"] for row in table] == 16 * ["train"] + 4 * ["test"]
    assert len({row["id"] for row in table}) == 20
    assert (folder / "CREDITS.md").exists()


def test_captions_say_what_the_scene_holds():
    for scene in (draw_scene(index, 0) for index in range(200)):
        places = [scene.caption.index(body.noun) for body in scene.bodies]
        assert places == sorted(places)
        assert scene.caption == " ".join(scene.caption.split()) and " ," not in scene.caption
        said = re.findall("|".join(ACTIONS), scene.caption)
        acted = [body.action for body in scene.bodies]
        assert said == (acted[1:] if scene.label == "collide" else acted)
        body = scene.bodies[0]
        if len(scene.bodies) == 1 and body.action != "rest":
            assert bool(re.search(r"\b(slowly|low)\b", scene.caption)) == (body.pace < 1 / 3)
            assert bool(re.search(r"\b(fast|quickly|high)\b", scene.caption)) == (body.pace >= 2 / 3)


def test_falls_and_springs_keep_their_energy():
    for action in ("bounce", "swing", "slide"):
        _, trace = single(action)
        energy = 9.81 * trace.position[:, 0, 1] + 0.5 * (trace.velocity[:, 0] ** 2).sum(1)
        assert np.ptp(energy) < 1e-3 * energy.mean(), action
    _, trace = single("circle")
    assert np.ptp(np.linalg.norm(trace.velocity[:, 0], axis=1)) < 0.02


def test_collisions_keep_momentum_and_bodies_apart():
    scene = draw_scene(ACTIONS.index("collide"), 0)
    trace = world.simulate_scenes([scene], 4.0)[0]
    mass = np.array([body.radius**2 for body in scene.bodies[:2]])
    momentum = (trace.velocity[:, :2, 0] * mass).sum(1)
    both = (trace.hits[:, :2] > 0).all(1)
    assert both.sum() >= 3
    assert np.diff(momentum)[np.flatnonzero(both) - 1] == pytest.approx(0, abs=1e-9)
    apart = np.abs(np.diff(trace.position[:, :2, 0], axis=1))
    assert apart.min() > 2 * np.sqrt(mass.prod() ** 0.5) - 0.02


@pytest.mark.parametrize("action", ["bounce", "slide"])
def test_every_reversal_is_heard_when_it_is_seen(action, tmp_path):
    scene, trace = single(action)
    clip = trace.of(slice(None), slice(LEAD, -LEAD))
    axis = 1 if action == "bounce" else 0
    speed = clip.velocity[:, 0, axis]
    turned = np.flatnonzero((speed[:-1] * speed[1:] < 0) & (np.abs(np.diff(speed)) > 0.1)) + 1
    assert turned.tolist() == np.flatnonzero(clip.hits[:, 0]).tolist() and len(turned) >= 2

    heard = world.hear(scene.bodies, clip, 16_000, np.random.default_rng(0))
    write_video(tmp_path / "clip.mp4", np.zeros((64, 16, 16, 3), np.uint8), 16, heard, 16_000)
    samples, rate = sound(tmp_path / "clip.mp4")
    crisp = np.diff(samples[: len(heard)], n=4)  # the knock is broadband, the hum is not
    blocks = crisp[: len(crisp) // 80 * 80].reshape(-1, 80)
    loud = np.log(1e-12 + (blocks**2).mean(1))
    loud = np.flatnonzero(loud > np.median(loud) + 2.5)
    onsets = loud[np.diff(loud, prepend=-100) > 20] * 80 / rate  # after a tenth of a second of quiet
    assert onsets == pytest.approx(turned / STEPS, abs=0.02)  # AAC smears by a frame


def test_a_resting_body_feels_gravity_alone():
    scene, trace = single("rest")
    time = np.arange(200) / 50
    values = world.feel(scene.bodies[0], trace, time, world.LEAD, np.random.default_rng(0))
    assert np.linalg.norm(values[:, :3], axis=1).mean() == pytest.approx(9.81, abs=0.02)
    assert values[:, :3].mean(0) == pytest.approx([0, 9.81, 0], abs=0.02)
    assert values[:, 3:].mean(0) == pytest.approx([0, 0, 0], abs=0.01)


def test_a_falling_body_feels_nothing_and_a_turning_one_sees_gravity_turn():
    scene, trace = single("bounce")
    time = np.arange(200) / 50
    arm = round(ARM * STEPS)
    struck = np.convolve(trace.hits[:, 0], np.ones(2 * arm + 1), "same")[
        np.rint((time + world.LEAD) * STEPS).astype(int)
    ]
    values = world.feel(scene.bodies[0], trace, time, world.LEAD, np.random.default_rng(0))
    assert np.abs(values[struck == 0, :2]).max() < 0.2

    scene, trace = single("spin")
    values = world.feel(scene.bodies[0], trace, time, world.LEAD, np.random.default_rng(0))
    angle = np.unwrap(np.arctan2(values[:, 0], values[:, 1]))
    assert np.gradient(angle, 0.02)[1:-1].mean() == pytest.approx(values[:, 5].mean(), abs=0.05)


def test_prepare_is_idempotent(folder):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert corpora.prepare("world", folder, clips=5) == folder / "manifest.jsonl"
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_prepare_leaves_nothing_behind_when_it_fails(tmp_path, monkeypatch):
    def broken(out: Path) -> Path:
        (out / "half.mp4").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(world, "write", broken)
    with pytest.raises(KeyboardInterrupt):
        corpora.prepare("world", tmp_path / "there")
    assert list(tmp_path.iterdir()) == []


def test_prepare_refuses_what_it_cannot_use(tmp_path):
    with pytest.raises(InputError, match=r"'wrold'(.|\n)*did you mean 'world'"):
        corpora.prepare("wrold", tmp_path / "x")
    with pytest.raises(InputError, match=r"no setting 'clip'(.|\n)*clips, seconds"):
        corpora.prepare("world", tmp_path / "x", clip=3)
    with pytest.raises(InputError, match="size=33 is odd"):
        corpora.prepare("world", tmp_path / "x", size=33)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds no manifest\.jsonl"):
        corpora.prepare("world", tmp_path, clips=1)
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_every_corpus_has_a_description_and_writes_lazily():
    assert {"concert", "world"} <= set(corpora.names()) and "writing" not in corpora.names()
    assert all(len(corpora.describe(name)) > 20 for name in corpora.names())


def test_an_absent_package_is_named_with_its_install_line(tmp_path):
    with pytest.raises(InputError, match="pip install absent==1"):
        corpora.installed("a_package_nobody_has", "pip install absent==1")


def test_the_concert_is_cut_into_consecutive_pieces(tmp_path, monkeypatch):
    package = tmp_path / "iscc_samples/files/video"
    package.mkdir(parents=True)
    (tmp_path / "iscc_samples/__init__.py").write_text("raise RuntimeError('never imported')")
    write_video(package / "demo.mp4", np.zeros((96, 16, 16, 3), np.uint8), 8, np.zeros(12 * 8000, np.float32), 8000)
    monkeypatch.syspath_prepend(tmp_path)
    table = rows(corpora.prepare("concert", tmp_path / "concert", window=2.0).parent)
    assert [(row["start"], row["end"]) for row in table] == [(2.0 * i, 2.0 * i + 2) for i in range(6)]
    assert [row["split"] for row in table] == 5 * ["train"] + ["test"]
    assert "CC-BY-4.0" in (tmp_path / "concert/CREDITS.md").read_text()
    with pytest.raises(InputError, match="not in the installed"):
        corpora.prepare("concert", tmp_path / "all", containers=True)


def test_what_a_sensor_did_not_read_stays_empty(tmp_path):
    write_imu(tmp_path / "a.csv", np.array([0.0, 0.02]), {"hip": np.array([[1.0, np.nan, 3]] * 2)})
    assert (tmp_path / "a.csv").read_text().splitlines()[:2] == [
        "time,hip.ax (m/s^2),hip.ay (m/s^2),hip.az (m/s^2)",
        "0.000000,1.0000,,3.0000",
    ]


def test_manifest_paths_are_relative_and_absence_is_left_out(tmp_path):
    path = write_manifest(tmp_path, [{"id": "a", "video": tmp_path / "v/a.mp4", "imu": None}])
    assert json.loads(path.read_text()) == {"id": "a", "video": "v/a.mp4"}


def test_sensors_are_read_in_the_unit_that_they_are_written_in(tmp_path):
    """A body that falls feels hardly anything, which must not be taken for gravity in g."""
    time = np.arange(200) / 50
    scenes = [draw_scene(index, 0) for index in range(200)]
    for index, trace in enumerate(world.simulate_scenes(scenes, 4.0)):
        felt = world.feel(scenes[index].bodies[0], trace.of(slice(0, 1)), time, world.LEAD, np.random.default_rng(0))
        path = write_imu(tmp_path / f"{index}.csv", time, {"body": felt})
        reading = IMUReader(sensors=1, rate=50.0).read(str(path), 0.0, 3.5)
        assert reading.values[:, 0].numpy() == pytest.approx(felt[:175], abs=0.01)
