"""The whole model learns labels: fine-tuning, a run's own classifier, and what one on the side tells while training."""

from __future__ import annotations

import json
import re
from contextlib import redirect_stderr
from dataclasses import replace
from functools import partial
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from people import MOTIONS, motion, write
from rich.progress import Progress

from mmmae import Recipe
from mmmae.__main__ import main
from mmmae.api import MaskedAutoencoder
from mmmae.corpora.writing import write_imu
from mmmae.data.augment import prepared
from mmmae.data.classes import Classes
from mmmae.data.manifest import Manifest
from mmmae.data.open_settings import fit
from mmmae.parallel.ranks import Ranks
from mmmae.probe import finetune
from mmmae.probe.features import reading
from mmmae.probe.finetune import Finetuning, Fit, Tuning
from mmmae.probe.own_head import class_scores
from mmmae.probe.results import EvalRequest, Result
from mmmae.probe.splits import Split, split
from modalities.records import Batch, Signal


@pytest.fixture(scope="module")
def people(tmp_path_factory) -> Path:
    """Six people with one sensor, and a run that learned what they do beside its own task."""
    folder = tmp_path_factory.mktemp("moving")
    rows = []
    for person in range(6):
        for take, kind in enumerate(MOTIONS * 2):
            name = f"{person}-{take}"
            seconds = (0.8, 2.4)[take % 2]
            readings = {"hand": motion(kind, person, take, seconds)}
            write_imu(folder / f"{name}.csv", np.arange(round(50 * seconds)) / 50, readings)
            split = "test" if person > 3 else "train"
            rows.append({"id": name, "imu": f"{name}.csv", "label": kind, "group": f"{person}", "split": split})
    rows.insert(4, {"id": "unlabelled", "imu": "1-0.csv", "group": "1", "split": "train"})
    write(folder, rows)
    small = ["size=tiny", "trunk.depth=1", "window=0.8", "modalities.imu.patch=10", "training.log_every=1"]
    small += ["objectives.classification={detached: true}", "training.workers=0", "training.trackers=[]"]
    with redirect_stderr(StringIO()) as said:
        done = main(
            ["train", "--recipe", "imu_mae", "--data", str(folder), "--output", str(folder / "run"), "--steps", "2",
             "--batch-size", "8", *small]
        )  # fmt: skip
    assert done == 0
    (folder / "said").write_text(said.getvalue())
    return folder


@pytest.fixture(scope="module")
def model(people) -> MaskedAutoencoder:
    return MaskedAutoencoder.from_pretrained(people / "run")


@pytest.fixture(scope="module")
def rows(people) -> Split:
    return split(Manifest.open(people), 0.3)


def tuned(people: Path, model: MaskedAutoencoder, rows: Split, name: str = "pretrained", **tuning) -> tuple:
    """One training on all rows, with seed 0: the model and the step that it was kept at."""
    study = Finetuning({"pretrained": model}, rows, 1, Tuning(**{"steps": 10, "epochs": 1, "rounds": 5, **tuning}))
    clips = reading(model, Manifest.open(people))
    fit = Fit(Result("imu", name), 0, *rows.parts(0))
    return study.tuned(fit, clips, batch_size=8, workers=0, tick=lambda count: None, ranks=Ranks())


def test_the_side_is_told_while_training(people):
    said = (people / "said").read_text()
    for line in (
        r"step 2/2 loss .*classification/accuracy [\d.]+\)",
        r"held-out loss .*classification/accuracy [\d.]+",
    ):
        assert re.search(line, said)
    lines = [json.loads(line) for line in (people / "run" / "log.jsonl").read_text().splitlines()]
    assert all(0 <= line["classification/accuracy"] <= 1 for line in lines)
    assert 0 <= lines[-1]["evaluation/classification/accuracy"] <= 1
    assert lines[0]["loss"] == lines[0]["reconstruction/imu"]


def test_the_checkpoint_is_where_fine_tuning_begins(people, model, rows):
    lasting = {n: w for n, w in model.state_dict().items() if n.startswith(("tokenizers.", "trunk."))}
    for name, same in (("pretrained", True), ("random", False)):
        found = tuned(people, model, rows, name, rate=1e-9)[0].state_dict()
        assert all(torch.allclose(found[key], weight, atol=1e-6) for key, weight in lasting.items()) == same
    assert not any(key.startswith("objectives.reconstruction") for key in found)


def test_what_does_best_in_validation_is_kept_and_only_training_rows_are_learned_from(people, model, rows, monkeypatch):
    ids, states, scores = set(), [], iter([0.1, 0.7, 0.7, 0.2, 0.3])

    def learned(batch: Batch, *rest) -> Batch:
        ids.update(batch.ids)
        assert batch.label.min() >= 0
        return prepared(batch, *rest)

    def selecting(model: MaskedAutoencoder, clips, indices, **settings):
        states.append({name: weight.clone() for name, weight in model.state_dict().items()})
        assert indices == rows.parts(0)[1].tolist()
        return class_scores(model, clips, indices, **settings)

    monkeypatch.setattr(finetune, "prepared", learned)
    monkeypatch.setattr(finetune, "class_scores", selecting)
    monkeypatch.setattr(finetune, "selection", lambda target, labels, predicted: next(scores))
    found, step = tuned(people, model, rows, steps=15)
    names = [row["id"] for row in Manifest.open(people).columns("id")]
    assert ids == {names[index] for index in rows.parts(0)[0]}
    assert step == 9 and len(states) == 5
    assert all(torch.equal(weight, states[2][name]) for name, weight in found.state_dict().items())
    assert not all(torch.equal(weight, states[4][name]) for name, weight in found.state_dict().items())


def test_fine_tuning_learns_and_repeats_itself_without_the_labels_of_the_test(people, model, rows):
    clips = reading(model, Manifest.open(people), windows=2)
    poisoned = rows.labels.copy()
    poisoned[rows.test] = (poisoned[rows.test] + 1) % 3
    outcomes = []
    for side, shots in ((rows, (2,)), (replace(rows, labels=poisoned), ())):
        study = Finetuning({"pretrained": model}, side, 1, Tuning(steps=30, epochs=1, rounds=2, rate=3e-3))
        with Progress(disable=True) as progress:
            outcomes.append(
                study.run(EvalRequest(clips, shots, progress, Ranks(), drop=False, batch_size=8, workers=0))
            )
            assert all(task.finished for task in progress.tasks)
    (whole, few), (other,) = (outcome.results for outcome in outcomes)
    assert whole.seeds[0]["accuracy"] > 0.8 and other.seeds[0]["accuracy"] < 0.2
    assert whole.confusion.sum(0).tolist() == other.confusion.sum(0).tolist() and whole.chosen == other.chosen
    assert (whole.train, whole.test, few.train, few.shots) == (24, 12, 6, 2)


def test_a_step_that_is_not_finite_is_left_out_of_fine_tuning(people, model, rows, tmp_path, monkeypatch):
    forward, calls = MaskedAutoencoder.forward, []

    def broken(self, batch):
        calls.append(self.training)
        losses = forward(self, batch)
        return replace(losses, total=losses.total * torch.nan) if len(calls) == 3 else losses

    monkeypatch.setattr(MaskedAutoencoder, "forward", broken)
    study = Finetuning({"pretrained": model}, rows, 1, Tuning(steps=5, epochs=1, rounds=5), tmp_path)
    fit = Fit(Result("imu", "pretrained"), 0, *rows.parts(0))
    clips = reading(model, Manifest.open(people))
    found, _ = study.tuned(fit, clips, batch_size=8, workers=0, tick=lambda count: None, ranks=Ranks())
    assert all(weight.isfinite().all() for weight in found.state_dict().values())
    assert len(calls) == 5 and all(calls)
    (line,) = (tmp_path / "skipped_steps.jsonl").read_text().splitlines()
    assert json.loads(line)["step"] == 3 and len(json.loads(line)["samples"]) == 8


def test_few_rows_are_learned_from_for_long_and_all_for_some_epochs():
    assert Tuning().length(5, 5) == 200 and Tuning().length(3200, 32) == 30 * 100
    assert Tuning(epochs=100).length(65, 32) == 300


def test_the_test_is_the_mean_over_windows(people, model):
    manifest = Manifest.open(people)
    (index,) = [i for i, row in enumerate(manifest) if row.id == "2-1"]  # of 2.4 s
    found = class_scores(model, reading(model, manifest, windows=2), [index], batch_size=4, workers=0)
    reader = model.recipe.readers()["imu"]
    windows = [reader.read(manifest[index].sources["imu"], start, 0.8).values for start in (0.4, 1.2)]
    with torch.no_grad():
        tokens = model.encode({"imu": Signal(torch.stack(windows), duration=torch.full((2,), 0.8))})
        said = model.objectives["classification"].tell(tokens)[0].softmax(1).double()
    assert not torch.allclose(said[0], said[1], atol=1e-4)
    np.testing.assert_allclose(found.probabilities[0], said.mean(0), atol=1e-5)


def test_words_are_not_mixed_but_fine_tuned():
    recipe = tiny.tiny("default", ["masking={use: synchronous}"])
    three = Classes(("a", "b", "c"))
    alone = Tuning().recipe(recipe, ["imu"], three)
    assert alone.sections.data.mixup == 0.8 and list(alone.tree["objectives"]) == ["classification"]
    both = Tuning().recipe(recipe, ["imu", "text"], three)
    assert both.sections.data.mixup == 0
    losses = both.build()(both.example(batch_size=2))
    assert losses.total.isfinite()
    step = both.build().encode_masked(both.example(batch_size=2))
    assert all(plan.hidden.shape[1] == 0 for plan in step.plans.values())


# The commands


def command(people: Path, out: Path, *more: str) -> int:
    return main(["probe", str(people / "run"), "--data", str(people), "--output", str(out), "--workers", "0", *more])


def test_fine_tuning_from_files_to_pictures(people, tmp_path, monkeypatch):
    monkeypatch.setattr(finetune, "Tuning", partial(Tuning, steps=2, rounds=2))
    options = ["--epochs", "1", "--lr", "1e-3", "--seeds", "2", "--shots", "1", "--baseline", "random"]
    assert command(people, tmp_path, "--kind", "finetune", *options) == 0
    found = json.loads((tmp_path / "results.json").read_text())
    assert [(r["features"], r["model"], r["shots"]) for r in found["results"]] == [
        ("none", "majority", None),
        *(("imu", name, k) for k in (None, 1) for name in ("pretrained", "random")),
    ]
    assert all(len(r["chosen"]) == 2 for r in found["results"][1:])
    assert (tmp_path / "shots.png").is_file()


def test_a_run_is_tested_with_its_own_classifier(people, tmp_path, capsys):
    assert command(people, tmp_path, "--kind", "head", "--views", "2") == 0
    found = json.loads((tmp_path / "results.json").read_text())["results"][1]
    manifest, model = Manifest.open(people), MaskedAutoencoder.from_pretrained(people / "run")
    rows = split(manifest, 0.1)
    said = class_scores(model, reading(model, manifest, windows=2), rows.test.tolist(), batch_size=5, workers=0)
    right = (said.probabilities.argmax(1) == rows.labels[said.indices]).mean()
    assert found["scores"]["accuracy"]["values"] == [pytest.approx(right)] and found["test"] == 12


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        (["--kind", "head", "--shots", "1"], "--shots"),
        (["--kind", "attentive", "--pool", "statistics"], "--pool statistics --kind attentive"),
        (["--kind", "finetune", "--drop"], "--drop"),
        (["--kind", "linear", "--lr", "1"], "--kind finetune"),
        (["--kind", "finetune", "--lr", "0"], "--lr 0"),
        (["--kind", "finetune", "--epochs", "0"], "--epochs 0"),
    ],
)
def test_wishes_that_make_no_sense_are_refused(people, tmp_path, capsys, wish, says):
    assert command(people, tmp_path, *wish) == 2 and says in capsys.readouterr().err


def test_a_run_without_a_classifier_says_so(people, tmp_path, capsys):
    changes = ["size=tiny", "window=0.8", "modalities.imu.patch=10"]
    fit(Recipe.load("imu_mae", changes), Manifest.open(people), tmp_path).build().save_pretrained(tmp_path / "run")
    for command in (["probe", "--kind", "head", "--output", str(tmp_path / "o")], ["predict"]):
        assert main([command[0], str(tmp_path / "run"), "--data", str(people), *command[1:]]) == 2
        assert "not trained with `classification`" in capsys.readouterr().err
