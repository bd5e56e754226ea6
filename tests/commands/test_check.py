"""`mmmae check` says what data holds and what looks wrong with it, and only then."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from clocks import write
from media import coded, tone, write_film, write_sound

from mmmae.__main__ import main
from mmmae.corpora.writing import write_imu
from mmmae.data.columns import Columns
from mmmae.data.facts import Facts
from mmmae.data.manifest import Manifest
from mmmae.data.suspicions import about_columns, about_streams, by_share
from modalities.audio.contents import SoundContents
from modalities.embedding.contents import RowContents
from modalities.imu.contents import SensorContents
from modalities.reader import Doubt, Reading
from modalities.video.contents import PictureContents

SMALL = ["--workers", "0", "window=0.5", "modalities.video.frames=2", "modalities.video.size=32"]
RATE = 16000


def checked(data: Path, capsys, *more: str) -> tuple[int, str, dict]:
    """Exit code, what is printed, and the report of contents."""
    report = data.parent / "bad.jsonl"
    code = main(["check", str(data), *SMALL, "--report", str(report), *more])
    return code, capsys.readouterr().out, json.loads((data.parent / "bad-contents.json").read_text())


def holds(tree: dict, stream: str) -> dict[str, str]:
    """What holds for some recordings of a stream, and the first of them."""
    return {name: found["first"] for name, found in tree["streams"][stream]["holds"].items()}


# What is in the files


def test_silent_constant_quiet_and_clipped_sounds_are_named(tmp_path, capsys):
    noise = 0.3 * np.random.default_rng(0).normal(size=(1, RATE)).clip(-2, 2)
    sounds = {
        "good": noise, "full": 2 * tone(1.0), "silent": 0 * noise, "constant": 0 * noise + 0.25, "quiet": 0.01 * noise,
        "clipped": np.clip(8 * tone(1.0), -1, 1),
    }  # fmt: skip
    for name, sound in sounds.items():
        write_sound(tmp_path / f"{name}.wav", sound)
    rows = [{"id": name, "audio": f"{name}.wav", "text": f"a sound, {name}"} for name in sounds]
    code, shown, tree = checked(write(tmp_path, rows), capsys)
    assert code == 0
    assert holds(tree, "audio") == {name: name for name in ("silent", "constant", "quiet", "clipped")}
    assert "audio: 1 of 6 recordings is silent throughout: first 'silent'" in shown
    assert tree["streams"]["audio"]["recordings"] == 5 and "6 samples, 0 bad, 4 warnings" in shown


def test_black_plain_and_frozen_videos_are_named(tmp_path, capsys):
    noise = np.random.default_rng(0)
    blue = np.full((64, 64, 3), [20, 40, 200], np.uint8)
    films = {
        "good": [noise.integers(0, 255, (64, 64, 3), dtype=np.uint8) for _ in range(25)],
        "late": [0 * blue] * 20 + [coded(5)] * 5, "black": [0 * blue] * 25, "blue": [blue] * 25,
        "frozen": [coded(77)] * 25,
    }  # fmt: skip
    for name, pictures in films.items():
        write_film(tmp_path / f"{name}.mp4", pictures)
    rows = [{"id": name, "video": f"{name}.mp4"} for name in films]
    code, shown, tree = checked(write(tmp_path, rows), capsys, "--modalities", "video")
    assert code == 0 and holds(tree, "video") == {"black": "black", "one colour": "blue", "frozen": "frozen"}
    assert "video: 1 of 5 recordings shows the same picture throughout: first 'frozen'" in shown
    assert tree["streams"]["video"]["seconds"]["median"] == pytest.approx(1.0)


def test_an_image_is_not_frozen_and_a_black_one_is_black():
    look = PictureContents()
    look.add(Reading(torch.randint(0, 255, (1, 3, 8, 8), dtype=torch.uint8), 1), 0.0)
    assert not look.findings()["frozen"] and not look.findings()["black"]
    for values in (torch.zeros(1, 1, 8, 8, dtype=torch.uint8), torch.zeros(1, 3, 8, 8)):
        look = PictureContents()
        look.add(Reading(values, 1), 0.0)
        assert look.findings()["black"] and not look.findings()["one colour"]


def test_gaps_and_constant_channels_are_named(tmp_path, capsys):
    noise, time = np.random.default_rng(0), np.arange(200) / 50
    for number in range(3):
        values = noise.normal(size=(200, 6))
        if number:
            values[:, 5] = 0.25
        if number == 2:
            values[50:150] = np.nan
        write_imu(tmp_path / f"{number}.csv", time, {"hip": values})
    rows = [{"id": f"r{number}", "imu": f"{number}.csv"} for number in range(3)]
    code, shown, tree = checked(write(tmp_path, rows), capsys, "--modalities", "imu", "modalities.imu.patch=5")
    imu = tree["streams"]["imu"]
    assert code == 0 and imu["constant"] == {"gz": 2} and holds(tree, "imu") == {"constant": "r1"}
    assert "2 of 3 recordings have channels that never change (gz in 2): first 'r1'" in shown
    assert imu["longest gap"]["max"] == pytest.approx(2.0, abs=0.05)
    assert imu["unobserved"]["ax"]["max"] == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("length", [8, 20, 64])
def test_gaps_are_the_same_however_windows_cut_and_overlap_them(length):
    noise = np.random.default_rng(length)
    observed = noise.random((64, 1, 2)) > 0.3
    observed[20:41], observed[[19, 41, 63]] = False, True  # 21 ticks, which hold whole windows of 8
    values = torch.from_numpy(noise.normal(size=(64, 1, 2)).astype(np.float32))
    look = SensorContents(10.0, 1, 2)
    starts = [*range(0, 64 - length, length), 64 - length]  # the last may overlap the one before
    for start in starts:
        part = slice(start, start + length)
        reading = Reading(values[part], length, torch.from_numpy(observed[part]))
        look.add(reading if observed[part].any() else None, start / 10)
    found = look.findings()
    assert found["unobserved"] == pytest.approx(
        {"ax": 1 - observed[:, 0, 0].mean(), "ay": 1 - observed[:, 0, 1].mean()}
    )
    assert found["longest gap"] == pytest.approx(2.1)


def test_a_recording_that_ends_without_readings_has_a_gap():
    look = SensorContents(10.0, 1, 2)
    for start, reading in ((0.0, Reading(torch.rand(8, 1, 2), 8)), (0.8, None), (1.6, None)):
        look.add(reading, start)
    assert look.findings()["longest gap"] == pytest.approx(1.6)
    assert look.findings()["unobserved"] == pytest.approx({"ax": 2 / 3, "ay": 2 / 3})


def test_a_sensor_that_is_never_there_is_named_once():
    look = SensorContents(10.0, ["hip", "hand"], 3)
    observed = torch.zeros(5, 2, 3, dtype=torch.bool)
    observed[:, 0, :2] = True
    look.add(Reading(torch.rand(5, 2, 3), 5, observed), 0.0)
    assert look.findings()["never observed"] == {"hip.az", "hand"}


def test_embeddings_of_zeros_and_of_one_row_are_named():
    cases = {"zeros": torch.zeros(4, 3), "all the same": torch.ones(4, 3), None: torch.rand(4, 3)}
    for wrong, values in cases.items():
        look = RowContents()
        look.add(Reading(values, 4), 0.0)
        assert {name for name, value in look.findings().items() if value is True} == ({wrong} if wrong else set())


def test_sound_that_is_there_for_a_moment_is_not_silent():
    look = SoundContents()
    for reading in (None, Reading(torch.rand(100), 50), None):
        look.add(reading, 0.0)
    assert "silent" not in look.findings()
    assert SoundContents().findings() == {"silent": True}


def test_recordings_shorter_than_the_window_are_named(tmp_path, capsys):
    for name, seconds in {"long": 2.0, "short": 0.1}.items():
        write_sound(tmp_path / f"{name}.wav", tone(seconds))
    rows = [{"id": name, "audio": f"{name}.wav"} for name in ("long", "short")]
    rows += [{"id": "part", "audio": "long.wav", "start": 0.5, "end": 1.5}]
    _, shown, tree = checked(write(tmp_path, rows), capsys, "--modalities", "audio")
    assert "1 of 3 recordings is shorter than the window of 0.5 s, down to 0.1 s (20% of it, 'short')" in shown
    assert tree["streams"]["audio"]["seconds"]["mean"] == pytest.approx((2.0 + 0.1 + 1.0) / 3, abs=0.01)


def test_a_video_without_sound_is_not_a_silent_one(tmp_path, capsys):
    write_film(tmp_path / "mute.mp4", [coded(i) for i in range(25)])
    write_film(tmp_path / "heard.mp4", [coded(i) for i in range(25)], sound=tone(1.0))
    rows = [{"id": name, "video": f"{name}.mp4"} for name in ("mute", "heard")]
    _, _, tree = checked(write(tmp_path, rows), capsys)
    assert holds(tree, "audio") == {} and tree["streams"]["audio"]["recordings"] == 1


# What is in the manifest


def sentences(folder: Path, rows: list[dict], holdout: float = 0.1) -> str:
    findings = about_columns(Columns.of(Manifest.open(write(folder, rows)), holdout))
    return "\n".join(finding.sentence for finding in by_share(findings))


def test_repeated_captions_are_counted(tmp_path):
    rows = [{"text": "a dog"}] * 6 + [{"text": ["a cat", " a dog "]}] + [{"text": f"cat {n}"} for n in range(2)]
    found = sentences(tmp_path, rows, holdout=0.0)
    assert "captions: 70% of 10 are repeated, most often 'a dog' (7 times)" in found
    assert sentences(tmp_path, [{"text": f"cat {n}"} for n in range(9)]) == ""


def test_what_training_and_test_share_is_named(tmp_path):
    (tmp_path / "a.wav").touch()
    (tmp_path / "b.wav").touch()
    rows = [
        {"text": "a bark", "split": "test", "label": "dog"},
        {"audio": "a.wav", "end": 1.0, "text": "a bark", "split": "train", "label": "dog"},
        {"audio": "./a.wav", "start": 1.0, "text": "a bark", "split": "test", "label": "dog"},
        {"audio": "b.wav", "text": "a mew", "split": "test", "label": "cat"},
        {"text": "a roar", "split": "train", "label": "lion"}, {"text": "a growl", "split": "train", "label": "lion"},
    ]  # fmt: skip
    found = sentences(tmp_path, rows)
    assert "split: 1 of 2 files held out are in the training rows, too: first 'a.wav'" in found
    assert "split: 2 of 3 captions held out are in the training rows, too: first 'a bark'" in found
    assert "labels: of 3 classes 1 only among the rows held out: first 'cat'" in found
    assert "labels: of 3 classes 1 with a single row: first 'cat'" in found


def test_identifiers_groups_and_ids_that_cannot_be_meant_are_named(tmp_path):
    rows = [{"id": "x", "text": f"{n}", "label": f"run {n}", "group": "all"} for n in range(30)]
    found = sentences(tmp_path, rows)
    assert "labels: 30 of 30 occur once" in found and "groups: all rows with a group are of one, 'all'" in found
    assert "ids: 30 of 30 rows share their id with another: first 'x'" in found
    rows = [{"id": f"{n}", "text": f"{n}", "label": n % 3, "group": n % 5} for n in range(30)]
    assert sentences(tmp_path, rows) == ""


# Facts of many recordings


LOUD = {"loud": Doubt("are loud", "turn it down")}


def facts(*known: dict) -> Facts:
    found = Facts()
    for number, one in enumerate(known):
        found.add(f"run-{number}", one)
    return found


def test_the_largest_share_comes_first_and_one_is_singular():
    found = {"audio": facts({"loud": True}, {"loud": True}, {}), "voice": facts({"loud": True}, {}, {})}
    doubts = dict.fromkeys(found, LOUD)
    first, second = by_share(reversed(list(about_streams(found, doubts, {}))))
    assert first.sentence == "audio: 2 of 3 recordings are loud: first 'run-0'" and first.share == pytest.approx(2 / 3)
    assert second.sentence == "voice: 1 of 3 recordings is loud: first 'run-0'" and second.remedy == "turn it down"


@pytest.mark.parametrize(
    ("known", "says"),
    [
        ([{"rate": 50.0}] * 8 + [{"rate": 100}] * 2, "2 of 10 recordings have rate 100 Hz, the others 50 Hz"),
        ([{"rate": 49.9}, {"rate": 50.2}, {"rate": 50}], None),
        ([{"units": {"ax": "m/s^2"}}] * 3 + [{"units": {"ax": "g"}}], "has units ax g, the others ax m/s^2"),
        ([{"channels": ["ax", "ay"]}] * 3 + [{"channels": ["ay", "ax"]}], "has channels ay, ax, the others ax, ay"),
        ([{"codec": "h264"}] * 3 + [{"codec": "vp9"}], None),
        ([{"rate": 10}, {"rate": 50}, {"rate": 100}], None),  # no usual one
    ],
)  # fmt: skip
def test_recordings_that_differ_from_the_others_are_named(known, says):
    found = [finding.sentence for finding in about_streams({"imu": facts(*known)}, {"imu": {}}, {"imu": 1.0})]
    assert (says in found[0] and len(found) == 1) if says else not found


def test_memory_does_not_grow_with_the_number_of_recordings():
    noise = np.random.default_rng(0)
    found, values = Facts(), noise.uniform(1.0, 1.5, 6_000)
    tracemalloc.start()
    for number, value in enumerate(values):
        found.add(f"r{number}", {"seconds": value, "name": f"take {number}"})
        if number == 3_000:
            half = tracemalloc.get_traced_memory()[0]
    assert tracemalloc.get_traced_memory()[0] < 1.5 * half
    tracemalloc.stop()
    assert found.numbers["seconds"].median == pytest.approx(np.median(values), rel=1e-3)
    tree = found.tree()
    assert tree["seconds"]["max"] == values.max() and tree["name"]["others"] == 5_000


# The command


def test_workers_find_what_one_process_finds(tmp_path, capsys):
    for number in range(4):
        write_sound(tmp_path / f"{number}.wav", tone(0.4 + number) * (number > 1))
    (tmp_path / "broken.wav").write_text("broken")
    names = [*map(str, range(4)), "broken"]
    data = write(tmp_path, [{"id": name, "audio": f"{name}.wav", "text": name} for name in names])
    code, shown, tree = checked(data, capsys)
    bad = (tmp_path / "bad.jsonl").read_text()
    assert code == 1 and json.loads(bad)["id"] == "broken" and "5 samples, 1 bad, 2 warnings" in shown
    again = checked(data, capsys, "--workers", "2")
    assert (tmp_path / "bad.jsonl").read_text() == bad and again == (code, shown, tree)
    assert [finding["sentence"].split(":")[0] for finding in tree["warnings"]] == ["audio", "audio"]
