"""Training for real: a small world rendered to files, the command run on it, the run folder looked into."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from places import ROOT
from small_runs import SMALL, log_of

from mmmae import MaskedAutoencoder
from mmmae.corpora import prepare
from mmmae.data.source import open_data
from mmmae.train import main


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> Path:
    """Thirty clips with all four modalities."""
    return prepare("world", tmp_path_factory.mktemp("corpus") / "world", clips=30, seconds=1.5, size=32).parent


def train(world: Path, output: Path, *more: str) -> list[dict]:
    """Run the command in this process; the log that it leaves."""
    assert main(["--data", str(world), "--output", str(output), *SMALL, *more]) == 0
    return log_of(output)


@pytest.fixture(scope="session")
def run(world, tmp_path_factory) -> Path:
    """A finished run of six steps on all modalities, saved every three."""
    output = tmp_path_factory.mktemp("runs") / "all"
    train(world, output, "--steps", "6", "--save-every", "3", "training.evaluate_every=3")
    return output


def test_a_run_leaves_log_pictures_and_checkpoints(run):
    log = log_of(run)
    assert [line["step"] for line in log] == [1, 2, 3, 4, 5, 6]
    parts = {"reconstruction/video", "reconstruction/audio", "reconstruction/imu", "masked_language/text"}
    for line in log:
        assert parts | {"loss", "samples_per_second", "data_wait", "learning_rate"} <= line.keys()
        assert 0 <= line["data_wait"] <= 1 and line["samples_per_second"] > 0
    assert "evaluation/loss" in log[2] and "evaluation/reconstruction/video" in log[-1]
    assert log[-1]["loss"] < log[0]["loss"]
    assert {path.name for path in (run / "panels").iterdir()} == {"step-000003.png", "step-000006.png"}
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"step-3", "step-6"}
    files = {path.name for path in (run / "checkpoints" / "step-6").iterdir()}
    assert files == {
        "checksums.json", "model.safetensors", "optimizer.safetensors", "recipe.json", "state.json",
        "text-vocabulary.json",
    }  # fmt: skip


def test_a_checkpoint_comes_back_with_one_line(run, world, tmp_path):
    model = MaskedAutoencoder.from_pretrained(run)
    batch = model.recipe.example(batch_size=2)
    tokens = model.encode(batch.only(["audio", "text"]))
    assert list(tokens) == ["audio", "text"]
    model.save_pretrained(tmp_path / "copy")
    shutil.rmtree(tmp_path / "gone", ignore_errors=True)
    again = MaskedAutoencoder.from_pretrained(tmp_path / "copy")
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name
    assert torch.equal(again.encode(batch)["video"].x, model.encode(batch)["video"].x)
    row = open_data(str(world))[0].sources["text"]
    words = again.recipe.readers()["text"].read(row, 0.0, 1.0)  # the vocabulary came along
    assert words.length > 3


def test_resuming_repeats_the_uninterrupted_run_bit_for_bit(run, world, tmp_path):
    output = tmp_path / "resumed"
    shutil.copytree(run, output)
    shutil.rmtree(output / "checkpoints" / "step-6")
    log = train(world, output, "--steps", "6", "--save-every", "3", "training.evaluate_every=3")
    losses = [{k: v for k, v in line.items() if k not in ("samples_per_second", "data_wait")} for line in log]
    before = [{k: v for k, v in line.items() if k not in ("samples_per_second", "data_wait")} for line in log_of(run)]
    assert losses == before
    for name in ("model.safetensors", "optimizer.safetensors"):
        fresh, old = (path / "checkpoints" / "step-6" / name for path in (output, run))
        assert fresh.read_bytes() == old.read_bytes(), name


def test_a_finished_run_says_so_and_another_recipe_is_refused(run, world, capsys):
    arguments = ["--data", str(world), "--output", str(run), *SMALL, "--steps", "6"]
    assert main(arguments) == 0
    assert "nothing to do: step 6 of 6" in capsys.readouterr().err
    assert main([*arguments, "trunk.depth=2"]) == 2
    assert "trunk.depth=1, this run has trunk.depth=2" in capsys.readouterr().err
    assert main([*arguments, "--resume", "none"]) == 2
    assert "holds a run already (step-6)" in capsys.readouterr().err


@pytest.mark.parametrize("modalities", ["video", "audio", "imu", "text", "video,text", "audio,imu"])
def test_subsets_of_the_modalities_train(world, tmp_path, modalities):
    log = train(world, tmp_path / "run", "--modalities", modalities, "--steps", "2")
    streams = modalities.split(",")
    named = {part.split("/")[1] for part in log[0] if part.startswith(("reconstruction/", "masked_language/"))}
    assert named == set(streams)
    assert any(part.startswith("contrastive/") for part in log[0]) == (len(streams) > 1)


def test_accumulation_changes_nothing(world, tmp_path):
    plain = train(world, tmp_path / "plain", "--modalities", "video", "--steps", "3")
    pieces = train(world, tmp_path / "pieces", "--modalities", "video", "--steps", "3", "training.accumulate=2")
    for one, other in zip(plain, pieces, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)


def launch(*words: str, env: dict[str, str] | None = None, timeout: float = 110) -> subprocess.CompletedProcess:
    """A command of its own, one thread for each process."""
    settings = {**os.environ, "OMP_NUM_THREADS": "1", **(env or {})}
    return subprocess.run(words, capture_output=True, text=True, env=settings, timeout=timeout, cwd=ROOT)


@pytest.mark.timeout(300)
def test_a_run_goes_from_two_processes_to_one_and_back(world, tmp_path):
    """Laws 7 and 8 end to end: same samples, same masks, same losses, whatever the number of processes."""
    common = ["--data", str(world), *SMALL, "--steps", "6", "--save-every", "2", "training.keep=3"]
    two = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "mmmae/train.py"]
    env = {"ACCELERATE_USE_CPU": "true"}
    through = launch(*two, *common, "--output", str(tmp_path / "through"), env=env)
    assert through.returncode == 0 and "on 2 x cpu" in through.stderr, through.stderr

    moved = tmp_path / "moved"
    shutil.copytree(tmp_path / "through", moved)
    for step in (4, 6):
        shutil.rmtree(moved / "checkpoints" / f"step-{step}")
    one = launch(sys.executable, "mmmae/train.py", *common, "--output", str(moved))
    assert one.returncode == 0 and "resuming at step 2" in one.stderr and "on 1 x cpu" in one.stderr, one.stderr
    alone = log_of(moved)
    shutil.rmtree(moved / "checkpoints" / "step-6")
    back = launch(*two, *common, "--output", str(moved), env=env)
    assert back.returncode == 0 and "resuming at step 4" in back.stderr and "on 2 x cpu" in back.stderr, back.stderr
    for expected, *found in zip(log_of(tmp_path / "through"), alone, log_of(moved), strict=True):
        for line in found:
            for name in expected:
                if ("/" in name and "evaluation" not in name) or name in ("loss", "gradient_norm"):
                    assert line[name] == pytest.approx(expected[name], rel=1e-6), (line["step"], name)
