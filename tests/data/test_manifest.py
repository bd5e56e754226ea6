"""Manifests: every format gives the same rows, splits keep groups together, and bad input is named with its remedy."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import datasets
import pytest
from clocks import recordings, write

from mmmae.data.manifest import Manifest
from modalities.errors import InputError

ROWS = [
    {"id": "clip", "video": "clip.mp4", "audio": "clip.wav", "imu": "clip.csv", "text": ["a dog, running", "a cat"]},
    {"id": "deep/walk", "video": "deep/walk.webm", "audio": None, "imu": None, "text": ["ein Mann läuft"]},
]


@pytest.fixture
def media(tmp_path):
    folder = tmp_path / "media"
    (folder / "deep").mkdir(parents=True)
    (folder / ".trash").mkdir()
    for name in (
        ".trash/old.mp4",
        "clip.mp4",
        "clip.wav",
        "clip.csv",
        "deep/walk.webm",
        "deep/.hidden.mp4",
        "thumb.png",
    ):
        (folder / name).write_text("9")
    (folder / "clip.txt").write_text("a dog, running\n\na cat\n", encoding="utf-8")
    (folder / "deep/walk.txt").write_text("ein Mann läuft", encoding="utf-8")
    return folder


def write_csv(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(dict.fromkeys(column for row in rows for column in row)))
        table.writeheader()
        table.writerows(rows)
    return path


def test_every_format_gives_the_same_rows(media):
    expected = list(Manifest.open(media))
    assert [row.id for row in expected] == ["clip", "deep/walk"]
    assert expected[0].sources == {
        "video": str(media / "clip.mp4"),
        "audio": str(media / "clip.wav"),
        "imu": {"path": str(media / "clip.csv"), "rate": None, "edges": None},
        "text": ["a dog, running", "a cat"],
    }
    assert expected[1].sources["audio"] == expected[1].sources["video"]  # its sound track
    assert expected[1].sources["text"] == "ein Mann läuft" and "imu" not in expected[1].sources
    table = datasets.Dataset.from_list(ROWS)
    table.to_parquet(media / "rows.parquet")
    (media / "rows.json").write_text(json.dumps(ROWS, indent=1))
    write(media, ROWS, "rows.jsonl")
    for name in ("rows.parquet", "rows.json", "rows.jsonl"):
        assert list(Manifest.open(media / name)) == expected, name
    single = [row | {"text": row["text"][0]} for row in ROWS]  # a cell of a CSV holds one caption
    expected[0] = replace(expected[0], sources=expected[0].sources | {"text": "a dog, running"})
    assert list(Manifest.open(write_csv(media / "rows.csv", single))) == expected
    table.save_to_disk(media / "saved")
    absolute = Manifest.open(media / "saved", modalities=["text"])
    assert list(absolute.captions()) == ["a dog, running", "a cat", "ein Mann läuft"]


def test_a_saved_dataset_brings_its_splits_and_classes(tmp_path):
    (tmp_path / "saved").mkdir()
    recordings(tmp_path / "saved", 2).unlink()
    features = datasets.Features(video=datasets.Value("string"), label=datasets.ClassLabel(names=["walk", "run"]))
    part = [datasets.Dataset.from_list([{"video": f"{i}.mp4", "label": i}], features=features) for i in (0, 1)]
    datasets.DatasetDict(train=part[0], validation=part[1]).save_to_disk(tmp_path / "saved")
    train, test = Manifest.open(tmp_path / "saved").split(0.5)
    assert train.labels == test.labels == ("run", "walk") and [train[0].label, test[0].label] == [1, 0]
    assert test[0].sources["video"] == str(tmp_path / "saved/1.mp4")


def test_a_manifest_in_a_folder_is_found(tmp_path):
    path = recordings(tmp_path)
    assert list(Manifest.open(tmp_path)) == list(Manifest.open(path))


def test_videos_of_one_name_are_told_apart(tmp_path):
    for name in ("a.mp4", "a.webm", "b.mp4"):
        (tmp_path / name).touch()
    assert [row.id for row in Manifest.open(tmp_path)] == ["a.mp4", "a.webm", "b"]


@pytest.mark.parametrize("names", [["a.png", "a.wav"], ["a.wav", "a.csv", "b.csv"], ["a.txt"]])
def test_folders_without_videos(tmp_path, names):
    for name in names:
        (tmp_path / name).write_text("x")
    manifest = Manifest.open(tmp_path)
    assert len(manifest) == len({name[0] for name in names})
    kinds = {"png": "video", "wav": "audio", "csv": "imu", "txt": "text"}
    assert set(manifest.modalities) == {kinds[name[2:]] for name in names}


def test_a_picture_has_no_sound_track(tmp_path):
    (tmp_path / "a.png").touch()
    assert not Manifest.open(tmp_path).has("audio")


def test_columns_reach_the_readers(tmp_path):
    recordings(tmp_path)
    timed = [{"text": "jump", "start": 0, "end": 1.5}, {"text": "fall", "start": 1.5, "end": 2}]
    row = {"imu": "1.mp4", "imu_rate": 50, "edges": [[0, 1]], "text": timed, "start": 1, "end": 4, "label": 7}
    manifest = Manifest.open(write(tmp_path, [row]))
    assert manifest[0].id == "0" and manifest[0].label == 0 and manifest.labels == ("7",)
    assert (manifest[0].start, manifest[0].end) == (1, 4)
    assert manifest.source(0, "imu") == {"path": str(tmp_path / "1.mp4"), "rate": 50, "edges": [[0, 1]]}
    assert manifest.source(0, "text") == timed
    assert list(manifest.sources("video")) == []


def test_rows_without_any_asked_modality_are_left_out(tmp_path):
    recordings(tmp_path)
    path = write(tmp_path, [{"text": "a"}, {"video": "1.mp4"}, {"imu": "gone.csv"}])
    assert [row.id for row in Manifest.open(path, modalities=["video"])] == ["1"]


def test_labels_are_sorted_classes(tmp_path):
    manifest = Manifest.open(recordings(tmp_path, 6, label=["walk", None, "run", "sit", "lie", "walk"]))
    assert manifest.target.names == ("lie", "run", "sit", "walk")
    assert [row.label for row in manifest] == [3, None, 1, 2, 0, 3]


def test_the_split_column_decides(tmp_path):
    train, test = Manifest.open(recordings(tmp_path, 4, split=["train", "test", None, "test"])).split(0.9)
    assert [row.id for row in train] == ["r0", "r2"] and [row.id for row in test] == ["r1", "r3"]


def test_a_split_by_hash_is_stable_and_keeps_groups_together(tmp_path):
    def held(count):
        path = write(tmp_path, [{"id": f"r{i}", "text": "x", "group": f"g{i // 3}"} for i in range(count)])
        train, test = Manifest.open(path).split(0.2)
        ids = [{int(row.id[1:]) for row in side} for side in (train, test)]
        assert ids[0] | ids[1] == set(range(count)) and not {i // 3 for i in ids[0]} & {i // 3 for i in ids[1]}
        return ids[1]

    few, many = held(300), held(900)
    assert few == {i for i in many if i < 300} and 0.1 < len(many) / 900 < 0.3


@pytest.mark.parametrize(("count", "share", "least"), [(1, 0.5, 0), (2, 0.01, 1), (2, 0.99, 1), (5, 0.0, 0)])
def test_neither_side_of_a_small_split_is_empty(tmp_path, count, share, least):
    train, test = Manifest.open(recordings(tmp_path, count)).split(share)
    assert len(train) + len(test) == count and len(train) >= 1 and len(test) >= least
    assert share or not len(test)


BAD = {
    "unknown column": ('{"vidoe": "1.mp4"}', ["line 1", "'vidoe'", "did you mean 'video'", "group"]),
    "bad JSON": ('{"text": "a"}\n{"text": ', ["line 2, character 10", "not JSON"]),
    "not an object": ('{"text": "a"}\n["a"]', ["line 2", "expected an object"]),
    "missing file": ('{"text": "a"}\n{"video": "x.mp4"}\n{"video": "y.mp4"}', ["line 2", "x.mp4", "2 of 2"]),
    "wrong path": ('{"video": 3}', ["line 1", "'video'", "a path", "got 3"]),
    "wrong text": ('{"text": {"words": 1}}', ["'text'", "a caption"]),
    "half timed": ('{"text": {"text": "a", "start": 1}}', ["'text'", "a caption"]),
    "partly timed": ('{"text": [{"text": "a", "start": 1, "end": 2}, "b"]}', ["'text'", "`start` and `end`, or none"]),
    "wrong number": ('{"text": "a", "start": "soon"}', ["'start'", "a number", "'soon'"]),
    "negative start": ('{"text": "a", "start": -1}', ["'start'", "from 0 up"]),
    "start after end": ('{"text": "a", "start": 3, "end": 2}', ["line 1", "start 3 s", "end 2 s"]),
    "wrong split": ('{"text": "a", "split": "tset"}', ["'split'", "'train' or 'test'"]),
    "wrong edges": ('{"text": "a", "edges": [[0, "b"]]}', ["'edges'", "pairs of sensors"]),
    "wrong rate": ('{"text": "a", "imu_rate": 0}', ["'imu_rate'", "a number"]),
    "wrong label": ('{"text": "a", "label": {"a": 1}}', ["'label'", "a name, a number, or a list"]),
    "empty": ("\n", ["is empty", '{"video"']),
    "nothing to read": ('{"id": "a"}', ["no row has any modality", "Fill one of"]),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_manifest_names_the_row_and_the_remedy(tmp_path, case):
    text, parts = BAD[case]
    (tmp_path / "rows.jsonl").write_text(text)
    with pytest.raises(InputError) as caught:
        Manifest.open(tmp_path / "rows.jsonl")
    message = str(caught.value)
    assert message.startswith(str(tmp_path / "rows.jsonl")) and len(message.splitlines()) <= 3
    assert [part for part in parts if part not in message] == [], message


def test_asking_for_an_absent_modality_tells_what_works(tmp_path):
    with pytest.raises(
        InputError, match=r"(?s)no row has imu; present: audio, text, video.*--modalities audio,text,video"
    ):
        Manifest.open(recordings(tmp_path), modalities=["imu", "video"])


@pytest.mark.parametrize(
    ("name", "contents", "message"),
    [
        ("rows.csv", b"id,text\na,hello, world\n", "line 2: more cells"),
        ("rows.csv", b"id,text\na,\xff\n", "not UTF-8"),
        ("rows.json", b'[{"text": "a"},\n {"text" "b"}]', "line 2, character 10: not JSON"),
        ("rows.parquet", b"nothing", "not a readable parquet"),
        ("film.mp4", b"", "not a manifest"),
        ("dataset_info.json", b"{}", "not a readable Hugging Face dataset"),
        ("notes.md", b"", "no recordings.*Looked for.*\\.mp4"),
    ],
)
def test_a_file_that_is_no_manifest(tmp_path, name, contents, message):
    (tmp_path / name).write_bytes(contents)
    with pytest.raises(InputError, match=f"(?s){message}"):
        Manifest.open(tmp_path if name in ("dataset_info.json", "notes.md") else tmp_path / name)


def test_a_missing_path(tmp_path):
    with pytest.raises(InputError, match="gone: no such file or folder\n  --data takes"):
        Manifest.open(tmp_path / "gone")
