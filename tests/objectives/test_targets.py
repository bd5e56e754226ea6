"""Several labels at once, and numbers: learned by a run, by probes and by fine-tuning, tested in their own figures."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import moving
import numpy as np
import pytest
import tiny
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, smooth_l1_loss

import mmmae
from mmmae.__main__ import main
from mmmae.build import build_target
from mmmae.data.augment import mixup
from mmmae.data.manifest import Manifest
from mmmae.data.measurements import Numbers
from mmmae.probe import finetune
from mmmae.probe.finetune import Tuning
from mmmae.probe.late_fusion import fuse
from mmmae.probe.metrics import number_scores, set_scores
from mmmae.probe.results import ClassScores
from mmmae.probe.splits import split
from mmmae.recipes.lookup import RecipeError
from mmmae.storage.checkpoint import find, load_recipe

KINDS = {
    "numbers": ("regression", "regression: {}", {"mae", "r2", "pearson"}),
    "pairs": ("regression", "regression: {loss: smooth_l1}", {"mae", "r2", "pearson"}),
    "sets": ("multilabel", "multilabel: {}", {"map", "f1", "auroc"}),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Recordings with labels of each kind, some of them missing, and a run that learned each."""
    folder = tmp_path_factory.mktemp("moving")
    truth = moving.recorded(folder)
    pairs = [[push, None if n == 4 else turn] for n, (push, turn) in enumerate(truth.tolist())]
    sets = [[name for name, is_there in (("strong", push > 5), ("left", turn > 0)) if is_there] for push, turn in truth]
    labels = {"numbers": (36 + truth[:, 0] / 10).tolist(), "pairs": pairs, "sets": [*sets[:5], None, *sets[6:]]}
    labels["numbers"][7] = None
    for name, found in labels.items():
        moving.trained(moving.manifest(folder, found, f"{name}.jsonl"), folder / name, KINDS[name][1])
    return folder


def probed(folder: Path, name: str, out: Path, *more: str) -> dict:
    given = ["--data", str(folder / f"{name}.jsonl"), "--workers", "0", "--seeds", "1", "--output", str(out)]
    assert main(["probe", str(folder / name), *given, *more]) == 0
    return json.loads((out / "results.json").read_text())


@pytest.mark.parametrize(
    ("name", "kind"),
    [*((name, kind) for name in KINDS for kind in ("head", "linear", "knn")), ("pairs", "attentive")],
)
def test_labels_of_every_kind_are_learned(folder, tmp_path, name, kind):
    found = probed(folder, name, tmp_path, "--kind", kind)
    target, _, figures = KINDS[name]
    nothing, best = (result["scores"] for result in found["results"])
    assert found["target"] == target and figures <= best.keys()
    main_figure = "r2" if target == "regression" else "map"
    floor = 0.9 if kind in ("head", "linear") else 0.3 if target == "regression" else 0.8
    assert best[main_figure]["mean"] > floor > (nothing[main_figure]["mean"] or 0)
    assert ("r2 label 1" in best) == (name == "pairs")
    assert (tmp_path / "scatter.png").is_file() == (target == "regression") and not (
        tmp_path / "confusion.png"
    ).exists()


@pytest.mark.parametrize("name", KINDS)
def test_labels_of_every_kind_are_fine_tuned(folder, tmp_path, name, monkeypatch):
    monkeypatch.setattr(finetune, "Tuning", partial(Tuning, steps=30, epochs=1, rounds=2, rate=1e-2))
    best = probed(folder, name, tmp_path, "--kind", "finetune")["results"][-1]
    assert best["scores"]["r2" if KINDS[name][0] == "regression" else "map"]["mean"] > 0.5
    assert best["train"] + best["test"] >= 23


def test_folds_and_targets_of_other_runs(folder, tmp_path):
    """A run that learned one kind is probed for another."""
    given = ["--data", str(folder / "sets.jsonl"), "--workers", "0", "--seeds", "1", "--output", str(tmp_path)]
    assert main(["probe", str(folder / "numbers"), *given, "--target", "multilabel", "--folds", "3"]) == 0
    found = json.loads((tmp_path / "results.json").read_text())
    assert found["target"] == "multilabel" and found["results"][1]["test"] == 23
    assert "1 of 24 rows have no label" in found["notes"]


@pytest.mark.parametrize(
    ("name", "more", "says"),
    [
        ("numbers", ["--target", "class"], "--target regression"),
        ("pairs", ["--target", "class"], "holds the list"),
        ("sets", ["--target", "regression"], "where a number or a list of numbers is asked for"),
        ("sets", ["--kind", "head", "--target", "class"], "learned by multilabel"),
        ("numbers", ["--shots", "2"], "--shots counts labels of each class"),
    ],
)
def test_another_kind_than_the_labels_is_refused(folder, tmp_path, capsys, name, more, says):
    given = ["--data", str(folder / f"{name}.jsonl"), "--workers", "0", "--output", str(tmp_path)]
    assert main(["probe", str(folder / name), *given, *more]) == 2 and says in capsys.readouterr().err


def test_numbers_are_standardised_by_the_training_rows_alone(folder):
    kept = load_recipe(find(folder / "numbers")).tree["objectives"]["regression"]
    rows = [json.loads(line) for line in (folder / "numbers.jsonl").read_text().splitlines()]
    train = [row["label"] for row in rows if row["split"] == "train" and row["label"] is not None]
    assert kept["means"] == [pytest.approx(np.mean(train))] and kept["deviations"] == [pytest.approx(np.std(train))]
    manifest = Manifest.open(folder / "numbers.jsonl")
    halves = split(manifest, 0.3, Numbers.of(manifest))
    assert halves.target.means == (pytest.approx(np.mean(train)),)


def test_predictions_are_numbers_or_lists(folder):
    numbers = mmmae.predict(folder / "numbers", folder / "numbers.jsonl")
    rows = [json.loads(line) for line in (folder / "numbers.jsonl").read_text().splitlines()]
    errors = [abs(one["label"] - row["label"]) for one, row in zip(numbers, rows, strict=True) if row["label"]]
    assert np.mean(errors) < 0.1 and numbers[0]["score"] is None
    pairs = mmmae.predict(folder / "pairs", folder / "pairs.jsonl")
    assert all(len(record["label"]) == 2 for record in pairs)
    sets = mmmae.predict(folder / "sets", folder / "sets.jsonl")
    assert all(isinstance(record["label"], list) and len(record["score"]) == len(record["label"]) for record in sets)
    assert all(record["scores"].keys() == {"left", "strong"} for record in sets)


# Objectives


@torch.no_grad()
def test_losses_count_what_is_known():
    recipe = tiny.tiny(
        "imu_mae", ["objectives={reconstruction: null, regression: {means: [1, 2], deviations: [2, 3]}}"]
    )
    model, batch = recipe.build(), recipe.example(batch_size=3)
    nan = torch.nan
    label = torch.tensor([[0.5, nan], [nan, nan], [1.0, -1.0]])
    encoded = model.encode_masked(replace(batch, label=label))
    objective = model.objectives["regression"]
    said, _ = objective.tell(encoded.tokens)
    losses = objective(encoded)
    expected = ((said[0, 0] - 0.5) ** 2 + ((said[2] - label[2]) ** 2).mean()) / 2
    torch.testing.assert_close(losses["label"], expected)
    errors = (2 * (said[0, 0] - 0.5).abs() + ((said[2] - label[2]).abs() * torch.tensor([2.0, 3.0])).mean()) / 2
    torch.testing.assert_close(losses["mae"], errors)
    assert objective.target.loss(said, label, smooth=True)[2] == smooth_l1_loss(said[2], label[2])
    for nothing in (None, torch.full((3, 2), nan)):
        assert model(replace(batch, label=nothing)).total == 0

    recipe = tiny.tiny("imu_mae", ["objectives={reconstruction: null, multilabel: {labels: [a, b, c]}}"])
    model, batch = recipe.build(), recipe.example(batch_size=2)
    label = torch.tensor([[0.0, 1.0, 1.0], [nan] * 3])
    encoded = model.encode_masked(replace(batch, label=label))
    said, _ = model.objectives["multilabel"].tell(encoded.tokens)
    losses = model.objectives["multilabel"](encoded)
    torch.testing.assert_close(losses["label"], binary_cross_entropy_with_logits(said[0], label[0]))
    assert losses["accuracy"] == ((said[0] > 0) == (label[0] > 0)).float().mean()


@torch.no_grad()
@pytest.mark.parametrize("objective", ["regression", "multilabel"])
def test_mixed_samples_count_by_their_shares(objective):
    recipe = tiny.tiny("imu_mae", [f"objectives={{reconstruction: null, {objective}: {{}}}}", "data.mixup=0.5"])
    model, batch = recipe.build(), recipe.example(batch_size=4)
    label = batch.label.clone()
    label[3] = torch.nan
    mixed = mixup(replace(batch, label=label), torch.tensor([0.3, 0.2, 0.9, 0.5]))
    weight = mixed.mixed.weight
    assert weight.tolist() == pytest.approx([1, 0.2, 0.9, 1])  # the partner of the first has no label
    encoded = model.encode_masked(mixed)
    own = model.objectives[objective]
    said, _ = own.tell(encoded.tokens)
    mine, others = (own.judge(said, labels)[0] for labels in (label, label.flip(0)))
    each = [mine[0], *(weight[n] * mine[n] + (1 - weight[n]) * others[n] for n in (1, 2))]
    torch.testing.assert_close(own(encoded)["label"], torch.stack(each).mean())


def test_two_objectives_do_not_ask_for_one_label():
    with pytest.raises(RecipeError, match="regression and classification ask for one column"):
        build_target(tiny.tiny("imu_mae", ["objectives.regression={}", "objectives.classification={detached: true}"]))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("regression={means: [1], deviations: [0]}", "above 0"),
        ("regression={loss: huber}", "regression.loss"),
        ("multilabel={labels: [a, a]}", "each once"),
        ("classification={classes: [a, a]}", "'a' stands there twice"),
        ("classification={classes: [a]}", "at least 2 classes"),
    ],
)
def test_settings_of_labels_are_checked(change, says):
    with pytest.raises(RecipeError, match=says):
        tiny.tiny("imu_mae", [f"objectives.{change}"]).build()


# Figures


def test_figures_of_numbers_are_those_of_their_definitions():
    truth = np.array([[1.0, 5.0], [2.0, np.nan], [3.0, 5.5], [6.0, 1.0]])
    given = truth + np.array([[0.5, -1.0], [0.0, 3.0], [-0.5, 0.0], [1.0, 1.0]])
    found = number_scores(truth, given, ["a", "b"])
    first = truth[:, 0], given[:, 0]
    assert found["mae a"] == pytest.approx(0.5) and found["mae b"] == pytest.approx(2 / 3)
    assert found["r2 a"] == pytest.approx(1 - ((first[1] - first[0]) ** 2).sum() / ((first[0] - 3) ** 2).sum())
    assert found["pearson a"] == pytest.approx(np.corrcoef(*first)[0, 1])
    assert found["mae"] == pytest.approx((found["mae a"] + found["mae b"]) / 2)
    constant = number_scores(truth[:, :1], np.full((4, 1), 3.0))
    assert constant.keys() == {"mae", "r2", "pearson"} and np.isnan(constant["pearson"]) and constant["r2"] == 0


def test_figures_of_sets_are_means_over_labels():
    truth = np.array([[1.0, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0]])
    perfect = set_scores(truth, 0.1 + 0.8 * truth)
    assert perfect == {"map": 1, "f1": 1, "auroc": 1}
    swapped = set_scores(truth, 0.1 + 0.8 * truth[:, [1, 0, 2]])
    assert swapped["f1"] == pytest.approx(0.5) and swapped["auroc"] == pytest.approx(0.5)
    eager = set_scores(truth, np.full((4, 3), 0.9))
    assert eager["map"] == pytest.approx(0.5) and eager["f1"] == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
    assert np.isnan(set_scores(np.zeros((3, 2)), np.zeros((3, 2)))["map"])


def test_voices_are_joined_as_their_kind_asks():
    one, other = (
        ClassScores(np.array([0, 1]), np.array([[0.8], [0.5]])),
        ClassScores(np.array([1, 2]), np.array([[0.9], [0.2]])),
    )
    assert fuse([one, other], "regression").probabilities[:, 0] == pytest.approx([0.8, 0.7, 0.2])
    assert fuse([one, other], "multilabel").probabilities[:, 0] == pytest.approx([0.8, 0.9, 0.2])
    twice = fuse([one, one], "multilabel").probabilities[0, 0]
    assert twice == pytest.approx(0.64 / (0.64 + 0.04))
