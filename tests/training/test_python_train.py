"""`mmmae.train(...)` is the loop of the command for Python: same weights, errors instead of exits, signals restored."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
import yaml
from places import ROOT
from safetensors.torch import load_file
from walks import walks

import mmmae
import mmmae.train
from mmmae.api import Recipe
from mmmae.recipes.lookup import RecipeError
from mmmae.train import main
from mmmae.training.result import Run
from mmmae.training.trainer import Trainer
from modalities.errors import InputError

OVERRIDES = ["size=tiny", "window=0.8", "trunk.depth=1", "data.holdout=0.2", "training.trackers=[]"]
FRESH = """
import mmmae
run = mmmae.train("imu_mae", {data!r}, {output!r}, {overrides!r}, steps=2, batch_size=4, workers=0)
print(run.step, sorted(run.figures)[:2], run.checkpoint, type(run.model()).__name__)
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return walks(tmp_path_factory.mktemp("walks"), 12)


def trained(data: Path, output: Path, recipe="imu_mae", overrides=OVERRIDES, **training) -> Run:
    settings = {"steps": 2, "batch_size": 4, "workers": 0} | training
    return mmmae.train(recipe, str(data), output, overrides, **settings)


def weights(output: Path, step: int = 2) -> bytes:
    return (output / "checkpoints" / f"step-{step}" / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def called(data, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("runs") / "called"
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    run = trained(data, output)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert (run.folder, run.step, run.checkpoint) == (output, 2, output / "checkpoints" / "step-2")
    assert run.figures["loss"] > 0 and run.figures["evaluation/loss"] > 0
    assert run.model().encode(run.model().recipe.example(2))["imu"].x.isfinite().all()
    return output


def test_a_call_and_the_command_train_the_same(data, called, tmp_path):
    words = ["--recipe", "imu_mae", "--data", str(data), "--output", str(tmp_path / "run"), "--steps", "2"]
    assert main([*words, "--batch-size", "4", "--workers", "0", *OVERRIDES]) == 0
    assert weights(tmp_path / "run") == weights(called)


def test_a_fresh_process_trains_in_a_line(data, tmp_path):
    code = FRESH.format(data=str(data), output=str(tmp_path / "run"), overrides=OVERRIDES)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=100,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = f"2 ['data_wait', 'evaluation/loss'] {tmp_path / 'run' / 'checkpoints' / 'step-2'} MaskedAutoencoder"
    assert done.stdout.splitlines()[-1] == found


def test_calling_again_goes_on(data, called):
    run = trained(data, called)
    assert run.step == 2 and run.figures["loss"] > 0
    further = trained(data, called, steps=3)
    assert further.step == 3 and further.checkpoint.is_dir()


@pytest.mark.parametrize("kind", ["mapping", "file", "object", "dotted", "nested"])
def test_recipes_and_overrides_come_in_many_forms(data, tmp_path, kind):
    tree = Recipe.load("imu_mae").tree
    flat = {"size": "tiny", "window": 0.8, "trunk.depth": 1, "data.holdout": 0.2, "training.trackers": []}
    nested = {"size": "tiny", "window": 0.8, "trunk": {"depth": 1}, "data": {"holdout": 0.2},
              "training": {"trackers": []}}  # fmt: skip
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(tree))
    recipe = {"mapping": tree, "file": tmp_path / "mine.yaml", "object": Recipe.load("imu_mae")}.get(kind, "imu_mae")
    overrides = {"dotted": flat, "nested": nested}.get(kind, OVERRIDES)
    run = trained(data, tmp_path / "run", recipe, overrides, steps=1)
    found = json.loads((run.checkpoint / "recipe.json").read_text())["recipe"]
    assert (found["size"], found["trunk"]["depth"], found["training"]["trackers"]) == ("tiny", 1, [])
    assert sum(p.numel() for p in run.model().trunk.parameters()) < 250_000


@pytest.mark.parametrize(
    "change, says",
    [
        ({"recipe": "imu_may"}, "did you mean 'imu_mae'"),
        ({"stepz": 3}, "did you mean 'steps'"),
        ({"overrides": {"trunk.dept": 3}}, "trunk.dept"),
        ({"overrides": ["window"]}, "key=value"),
        ({"batch_size": 100}, "leave it away"),
        ({"data": "nowhere"}, "nowhere"),
    ],
)
def test_what_needs_mending_is_raised(data, tmp_path, change, says):
    with pytest.raises(InputError, match=says):
        trained(**({"data": data, "output": tmp_path / "run"} | change))


def test_a_batch_of_the_recipe_itself_is_fitted(data, tmp_path):
    run = mmmae.train("imu_mae", str(data), tmp_path / "run", OVERRIDES, steps=1, workers=0)
    found = json.loads((run.checkpoint / "recipe.json").read_text())["recipe"]["training"]
    assert found["batch_size"] == 8


def test_an_interrupt_saves_then_raises(data, tmp_path, monkeypatch):
    step = Trainer.one_step

    def interrupted(self, batches):
        if self.step == 1:
            signal.raise_signal(signal.SIGINT)
        return step(self, batches)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "one_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            trained(data, tmp_path / "run", steps=6)
    (saved,) = (tmp_path / "run" / "checkpoints").glob("step-[23]")
    assert trained(data, tmp_path / "run", steps=6).step == 6
    straight = trained(data, tmp_path / "straight", steps=6).folder
    assert weights(tmp_path / "run", 6) == weights(straight, 6) and saved.parent.is_dir()


STAGED = [
    "masking.imu.ratio=[0.3, 0.9]", "objectives.reconstruction.weight={from: 1, to: 0.1, shape: cosine}",
    "training.freeze=[tokenizers, norm1]", "optimizer.clip=1.0", "optimizer.lr=1",
]  # fmt: skip
LORA = "training.lora={rank: 2, names: [trunk], train: [objectives]}"


@pytest.mark.parametrize("changes", [STAGED, [*STAGED, LORA]], ids=["schedules", "adapters"])
def test_a_run_with_schedules_and_stages_goes_on_to_the_bit(data, tmp_path, changes):
    if LORA in changes:
        pytest.importorskip("peft")
    overrides = [*OVERRIDES, *changes]
    straight = trained(data, tmp_path / "straight", overrides=overrides, steps=4, save_every=2)
    moved = tmp_path / "moved"
    shutil.copytree(straight.folder, moved)
    shutil.rmtree(moved / "checkpoints" / "step-4")
    again = trained(data, moved, overrides=overrides, steps=4, save_every=2)
    for name in ("model.safetensors", "optimizer.safetensors"):
        assert (again.checkpoint / name).read_bytes() == (straight.checkpoint / name).read_bytes(), name
    first, last = (load_file(straight.folder / "checkpoints" / f"step-{n}" / "model.safetensors") for n in (2, 4))
    rests = {name for name in first if torch.equal(first[name], last[name])}
    frozen = {name for name in first if name.startswith("tokenizers.") or ".norm1." in name}
    assert frozen and frozen <= rests
    if LORA in changes:
        trunk = {name for name in first.keys() - rests if name.startswith("trunk.")}
        assert trunk == {name for name in first if "lora_" in name}
    losses = [json.loads(line) for line in (straight.folder / "log.jsonl").read_text().splitlines()]
    assert losses[-1]["loss"] < 0.5 * losses[-1]["reconstruction/imu"]
    model = straight.model()
    assert model.encode(model.recipe.example(2))["imu"].x.isfinite().all()
    with pytest.raises(InputError, match=r"training\.freeze"):
        trained(data, moved, overrides=[*overrides, "training.freeze=[trunk.stacks]"], steps=5)


def test_a_thread_trains_and_another_precision_follows(data, tmp_path):
    found: list[Run] = []
    thread = threading.Thread(target=lambda: found.append(trained(data, tmp_path / "thread", steps=1)))
    thread.start()
    thread.join()
    assert found[0].step == 1
    run = trained(data, tmp_path / "bf16", overrides=[*OVERRIDES, "training.precision=bf16"], steps=1)
    assert torch.isfinite(torch.tensor(run.figures["loss"]))
    assert trained(data, tmp_path / "full", steps=1).step == 1


def test_the_package_has_one_name_for_both():
    assert mmmae.train is sys.modules["mmmae.train"] and callable(mmmae.train) and mmmae.train.main is main
    with pytest.raises(RecipeError):
        mmmae.train("no such recipe")
