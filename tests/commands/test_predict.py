"""Labels of recordings by a run: from the command line and from Python, by name, with what is bad among them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import moving
import numpy as np
import pytest
from PIL import Image

import mmmae
from mmmae.__main__ import main
from mmmae.api import Recipe
from modalities.errors import InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Recordings, and a run that knows whether the push is strong."""
    folder = tmp_path_factory.mktemp("moving")
    truth = moving.recorded(folder)
    data = moving.manifest(folder, ["strong" if push > 5 else "weak" for push, _ in truth])
    moving.trained(data, folder / "run", "classification: {}")
    (folder / "bad.csv").write_text("no table")
    rows = [{"id": "a", "imu": "0.csv"}, {"id": "bad", "imu": "bad.csv"}, {"id": "c", "imu": "1.csv", "label": "other"}]
    (folder / "new.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def truths(folder: Path) -> list[str]:
    return [json.loads(line)["label"] for line in (folder / "rows.jsonl").read_text().splitlines()]


def test_every_recording_gets_its_label(folder):
    records = mmmae.predict(folder / "run", folder / "rows.jsonl")
    assert [record["id"] for record in records] == [f"r{n}" for n in range(24)]
    assert [record["label"] for record in records] == truths(folder)
    for record in records:
        assert record["scores"].keys() == {"strong", "weak"} and sum(record["scores"].values()) == pytest.approx(1)
        assert record["score"] == record["scores"][record["label"]] > 0.5 and record["error"] is None
        assert (record["start"], record["end"]) == (pytest.approx(0.1), pytest.approx(1.1))


@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_bad_and_unlabelled_recordings_have_a_record(folder, batch_size):
    with pytest.warns(UserWarning, match="1 records have no label, e.g. 'bad'"):
        records = mmmae.predict(str(folder / "run"), str(folder / "new.jsonl"), batch_size=batch_size)
    labels = truths(folder)
    assert [record["label"] for record in records] == [labels[0], None, labels[1]]
    assert "bad.csv" in records[1]["error"] and records[1]["score"] is None
    with pytest.warns(UserWarning):
        pieces = mmmae.predict(folder / "run", folder / "new.jsonl", segment=0.6, batch_size=batch_size)
    assert [(r["id"], r["start"], r["end"]) for r in pieces] == [
        ("a", 0, pytest.approx(0.6)), ("a", pytest.approx(0.6), pytest.approx(1.2)), ("bad", None, None),
        ("c", 0, pytest.approx(0.6)), ("c", pytest.approx(0.6), pytest.approx(1.2)),
    ]  # fmt: skip
    assert [r["label"] for r in pieces if r["id"] == "c"] == [labels[1]] * 2


def test_a_model_in_memory_stays_as_it_is(folder):
    model = mmmae.MaskedAutoencoder.from_pretrained(folder / "run").train()
    records = mmmae.predict(model, folder / "rows.jsonl")
    assert records == mmmae.predict(folder / "run", folder / "rows.jsonl") and model.training
    found = mmmae.features(model, folder / "rows.jsonl")
    assert model.training and found.labels == truths(folder) and found.arrays["imu"].shape == (24, 128)


def test_features_have_a_row_for_every_recording(folder):
    with pytest.warns(UserWarning, match="1 of 3 recordings are bad"):
        found = mmmae.features(folder / "run", folder / "new.jsonl", pool="statistics")
    assert found.ids == ["a", "bad", "c"] and found.labels == [None, None, "other"]
    assert [fault.id for fault in found.bad] == ["bad"] and found.arrays["imu"].shape == (3, 256)
    assert np.isnan(found.arrays["imu"]).all(1).tolist() == [False, True, False]
    whole = mmmae.features(folder / "run", folder / "rows.jsonl", pool="statistics").arrays["imu"]
    np.testing.assert_allclose(found.arrays["imu"][[0, 2]], whole[:2], atol=1e-5)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"run": 3}, "expected the folder of a run or a model"),
        ({"stride": 1.0}, "give --segment"),
        ({"segment": -1.0}, "seconds above 0"),
        ({"segment": 1.0, "views": 2}, "a segment is seen once"),
        ({"modalities": ["sound"]}, "the run has imu"),
    ],
)
def test_calls_that_make_no_sense_are_refused(folder, given, says):
    with pytest.raises(InputError, match=says):
        mmmae.predict(given.pop("run", folder / "run"), folder / "rows.jsonl", **given)


def test_labels_are_written_and_printed(folder, tmp_path, capsys):
    new, labels = folder / "new.jsonl", truths(folder)
    given = ["predict", str(folder / "run"), "--data", str(new), "--workers", "0"]
    assert main([*given, "--out", str(tmp_path / "made" / "x.csv")]) == 1
    with open(tmp_path / "made" / "x.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == [labels[0], "", labels[1]] and "bad.csv" in rows[1]["error"]
    assert 0.5 < float(rows[0]["score"]) <= 1 and float(rows[0]["end"]) == pytest.approx(1.1)
    assert main([*given, "--out", str(tmp_path / "x.jsonl"), "--segment", "0.6", "--stride", "0.3"]) == 1
    lines = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text().splitlines()]
    assert [line["start"] for line in lines if line["id"] == "a"] == pytest.approx([0, 0.3, 0.6])
    capsys.readouterr()
    assert main(given) == 1
    said = capsys.readouterr().out
    assert labels[0] in said and "bad: row 'bad'" in said
    assert main([*given, "--out", str(tmp_path / "x.xlsx")]) == 2 and ".csv or .jsonl" in capsys.readouterr().err


def test_a_picture_has_no_time(tmp_path):
    for n in range(3):
        Image.fromarray(np.full((32, 32, 3), 80 * n, dtype=np.uint8)).save(tmp_path / f"{n}.png")
    changes = ["size=tiny", "window=1", "trunk.depth=1", "objectives.classification.classes=[a,b]"]
    changes += ["modalities.video={frames: 1, size: 32, patch: 16, tube: 1}"]
    records = mmmae.predict(Recipe.load("videomae", changes).build(), str(tmp_path))
    assert [(r["id"], r["start"], r["end"], r["error"]) for r in records] == [
        (str(n), None, None, None) for n in range(3)
    ]
    assert all(record["label"] in ("a", "b") for record in records)
