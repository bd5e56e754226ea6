"""What a run knows stays with it: the names of its classes, and the columns of its streams."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import moving
import numpy as np
import pytest
from PIL import Image
from places import CASES

from mmmae.__main__ import main
from mmmae.api import Recipe
from mmmae.build import build
from mmmae.commands.predict import predict
from mmmae.data.classes import Classes, LabelSet
from mmmae.data.manifest import Manifest
from mmmae.data.open_settings import fit
from mmmae.data.source import open_for
from mmmae.probe.features import features
from mmmae.probe.own_head import matched_outputs
from mmmae.storage.checkpoint import find, load_recipe
from mmmae.training.resume import require_same
from modalities.errors import InputError


def told(output: Path) -> dict:
    """The results of a probe."""
    return json.loads((output / "results.json").read_text())


@pytest.fixture(scope="module")
def tuned(tmp_path_factory) -> Path:
    """The run of the case: it knows bike, run and walk."""
    case, output = CASES / "head-other-labels", tmp_path_factory.mktemp("tuned")
    changes = ["size=tiny", "training.batch_size=12", "training.steps=60", "optimizer.lr=0.01", "data.holdout=0"]
    more = ["training.workers=0", "training.trackers=[]", "training.save_every=60", "--output", str(output)]
    assert (
        main(["train", "--recipe", str(case / "tune.yaml"), "--data", str(case / "learn.jsonl"), *changes, *more]) == 0
    )
    assert load_recipe(find(output)).tree["objectives"]["classification"]["classes"] == ["bike", "run", "walk"]
    return output


def head(run: Path, data: Path, output: Path) -> dict:
    """What the run's own classifier gives on some data."""
    assert (
        main(["probe", str(run), "--data", str(data), "--kind", "head", "--workers", "0", "--output", str(output)]) == 0
    )
    return told(output)


@pytest.mark.parametrize(("name", "accuracy"), [("other", 4 / 6), ("fewer", 1.0)])
def test_outputs_are_matched_by_name(tuned, tmp_path, name, accuracy):
    found = head(tuned, CASES / "head-other-labels" / f"{name}.jsonl", tmp_path)
    assert found["results"][-1]["scores"]["accuracy"]["mean"] == pytest.approx(accuracy)
    assert found["classes"][:3] == ["bike", "run", "walk"]
    unknown = [note for note in found["notes"] if "sit" in note and "count as errors" in note]
    assert len(unknown) == (name == "other")


@pytest.mark.parametrize(
    ("renamed", "accuracy"),
    [
        ({"run": "walk", "walk": "run", "sit": None}, 0.0),  # the other way round: all wrong, and not by their order
        ({"run": "run", "walk": None, "sit": None}, 1.0),  # a single label
        ({"run": "zebra", "walk": "walk", "sit": None}, 0.5),
        ({"run": "run", "walk": "walk", "sit": "aardvark"}, 4 / 6),  # sorts before all that are known
    ],
)
def test_other_labels_are_matched_by_name(tuned, tmp_path, renamed, accuracy):
    rows = [json.loads(line) for line in (CASES / "head-other-labels/other.jsonl").read_text().splitlines()]
    folder = tmp_path / "data"
    shutil.copytree(CASES / "head-other-labels", folder)
    rows = [row | {"label": renamed[row["label"]], "split": "test"} for row in rows]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = head(tuned, folder / "rows.jsonl", tmp_path / "out")
    assert found["results"][-1]["scores"]["accuracy"]["mean"] == pytest.approx(accuracy)


def described(folder: Path, labels: list) -> Manifest:
    rows = [{"id": str(n), "text": "x", "label": label} for n, label in enumerate(labels)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Manifest.open(folder / "rows.jsonl")


def test_names_that_are_not_known_are_said_or_refused(tmp_path):
    counted = Classes(("0", "1", "2"), certain=False)  # of a run that was saved with the number of its classes
    target, notes = matched_outputs(counted, described(tmp_path, ["run", "walk", "bike"]))
    assert target.names == ("bike", "run", "walk") and "without the names" in notes[0]
    assert matched_outputs(counted, described(tmp_path, [2, 0])) == (counted, [])
    with pytest.raises(InputError, match="has 2 labels, the run was trained with 3, whose names"):
        matched_outputs(counted, described(tmp_path, ["run", "walk"]))
    known = Classes(("0", "1", "2"))
    with pytest.raises(InputError, match="none of which the run knows"):
        matched_outputs(known, described(tmp_path, ["run", "walk", "bike"]))
    target, notes = matched_outputs(known, described(tmp_path, [2, 5, 5]))
    assert target.names == ("0", "1", "2", "5") and "5" in notes[0]
    target, notes = matched_outputs(LabelSet(("a", "b")), described(tmp_path, [["b", "z"], ["a"]]))
    assert target.names == ("a", "b", "z") and notes


def test_a_run_saved_with_a_number_of_classes_loads_and_resumes(tuned, tmp_path):
    case = CASES / "head-other-labels"
    recipe = fit(Recipe.load(case / "tune.yaml", ["size=tiny"]), Manifest.open(case / "learn.jsonl"), tmp_path)
    recipe = recipe.changed({"objectives": {"classification": {"classes": 3}}})
    recipe.build().save_pretrained(tmp_path / "old")
    with pytest.warns(UserWarning, match="without the names of its 3 classes"):
        records = predict(tmp_path / "old", case / "fewer.jsonl")
    assert {record["label"] for record in records} <= {"0", "1", "2"}
    require_same(tmp_path / "old", recipe.changed({"objectives": {"classification": {"classes": ["a", "b", "c"]}}}))
    with pytest.raises(InputError, match=r"classification\.classes"):
        require_same(tmp_path / "old", recipe.changed({"objectives": {"classification": {"classes": ["a", "b"]}}}))


@pytest.mark.parametrize(
    "labels",
    [None, [100001, 100002, 250000], ["s-1", "s-2"], [-5, 7], [2**53 + 1, 2**53 + 2]],
    ids=["case", "sparse", "names", "negative", "huge"],
)
def test_identifiers_are_names(tmp_path, labels):
    case = CASES / "label-is-an-identifier"
    data, names = case / "rows.jsonl", ["1700000000", "1700000001"]
    if labels is not None:
        moving.recorded(tmp_path, 12)
        data = moving.manifest(tmp_path, [labels[n % len(labels)] for n in range(12)])
        names = [str(label) for label in labels]
    more = ["training.batch_size=8", "training.steps=2", "training.workers=0", "training.trackers=[]", "window=1"]
    more += ["modalities.imu.patch=10", "--output", str(tmp_path / "run")]
    assert main(["train", "--recipe", str(case / "tune.yaml"), "--data", str(data), "size=tiny", *more]) == 0
    kept = load_recipe(find(tmp_path / "run"))
    assert kept.tree["objectives"]["classification"]["classes"] == names
    assert build(kept).objectives["classification"].head.out_features == len(names)


# Streams with columns of their own


@pytest.fixture(scope="module")
def coloured(tmp_path_factory) -> Path:
    """The run of the case: colour and depth."""
    case, output = CASES / "stream-with-own-column", tmp_path_factory.mktemp("coloured")
    more = ["training.steps=2", "data.holdout=0", "training.trackers=[]", "--output", str(output)]
    assert main(["train", "--recipe", str(case / "rgbd.yaml"), "--data", str(case), *more]) == 0
    return output


@pytest.mark.parametrize("command", ["probe", "retrieve", "embed", "check"])
def test_a_stream_with_a_column_of_its_own_is_evaluated(coloured, tmp_path, capsys, command):
    case, out = CASES / "stream-with-own-column", tmp_path / "out"
    given = {
        "probe": [str(coloured), "--data", str(case), "--output", str(out)],
        "retrieve": [str(coloured), "--data", str(case), "--output", str(out)],
        "embed": [str(coloured), "--data", str(case), "--out", str(out)],
        "check": [str(case), "--recipe", str(case / "rgbd.yaml")],
    }[command]
    assert main([command, *given, "--workers", "0"]) == 0
    said = capsys.readouterr().out
    if command == "probe":
        assert {r["features"] for r in told(out)["results"]} == {"none", "video", "depth", "video+depth", "video|depth"}
    if command == "retrieve":
        assert {"video -> depth", "depth -> video"} <= told(out)["results"].keys()
    if command == "embed":
        assert len(list(out.glob("*.safetensors"))) == 6
    if command == "check":
        assert said.count("6 of 6") == 2 and "6 samples, 0 bad" in said


@pytest.mark.parametrize(
    ("modalities", "columns"),
    [
        ({"video": {}, "depth": {"use": "video", "source": "depth_map"}}, {"video": "c", "depth_map": "c"}),
        ({"thermal": {"use": "video"}}, {"thermal": "c"}),
        ({"video": {}, "later": {"share": "video", "lag": 0.0}}, {"video": "c"}),
        ({"watch": {"use": "imu"}, "phone": {"use": "imu", "source": "phone_log"}}, {"watch": "i", "phone_log": "i"}),
    ],
    ids=["source", "alone", "shared", "sensors"],
)
def test_the_columns_of_a_run_are_known_to_features(tmp_path, modalities, columns):
    shape = {"frames": 1, "size": 32, "patch": 16, "tube": 1}
    sensors = {"patch": 10}
    settings = {
        name: ({} if "share" in own else sensors if own.get("use") == "imu" else shape) | own
        for name, own in modalities.items()
    }
    tree = {
        "size": "tiny", "window": 1, "modalities": settings, "trunk": {"use": "joint", "depth": 1},
        "masking": {name: {"use": "random", "ratio": 0.5} for name in settings}, "objectives": {"reconstruction": {}},
    }  # fmt: skip
    moving.recorded(tmp_path, 3)
    for n in range(3):
        Image.fromarray(np.full((32, 32, 3), 40 * n + 20, dtype=np.uint8)).save(tmp_path / f"{n}.png")
    endings = {"c": "png", "i": "csv"}
    rows = [{"id": f"r{n}", **{column: f"{n}.{endings[k]}" for column, k in columns.items()}} for n in range(3)]
    (tmp_path / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = Recipe(tree)
    found = features(fit(recipe, open_for(recipe, str(tmp_path)), tmp_path).build(), str(tmp_path))
    assert found.ids == ["r0", "r1", "r2"] and found.bad == []
    expected = {name for name, own in settings.items() if "share" not in own}
    assert found.arrays.keys() == expected and all(np.isfinite(x).all() for x in found.arrays.values())
