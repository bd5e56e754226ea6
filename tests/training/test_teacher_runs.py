"""Real runs with a teacher and a queue: killed, resumed, with a skipped step, without the teacher's run."""

from __future__ import annotations

import shutil
import signal
from itertools import pairwise
from pathlib import Path

import failing
import pytest
import torch
from failing import Disk, fork, on
from safetensors.torch import load_file
from small_runs import SMALL, log_of

from mmmae import MaskedAutoencoder
from mmmae.corpora import prepare
from mmmae.storage import checkpoint
from mmmae.train import main

EMA = [
    "objectives.contrastive={queue: 20, head: {hidden: [16], norm: batch}}",
    "objectives.contrastive.teacher={momentum: {from: 0.9, to: 1.0, shape: cosine}}",
    "objectives.distillation={pooled: 0.5, teacher: {each: epoch}}",
]


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    return prepare("world", tmp_path_factory.mktemp("corpus") / "world", clips=12, seconds=1.0, size=32).parent


def train(world: Path, output: Path, *settings: str, steps: int = 4) -> int:
    small = ["--modalities", "video,imu", "--steps", str(steps), "size=tiny", "training.evaluate_every=4", *SMALL]
    return main(["--data", str(world), "--output", str(output), *small, *settings])


def saved(output: Path, step: int) -> dict[str, torch.Tensor]:
    return load_file(output / "checkpoints" / f"step-{step}" / checkpoint.MODEL)


def outcome(output: Path) -> tuple[list[dict], dict]:
    """Losses of every step, and the last checkpoint's weights and moments."""
    log = [{k: v for k, v in line.items() if k not in ("samples_per_second", "data_wait")} for line in log_of(output)]
    folder = checkpoint.find(output)
    return log, {name: (folder / name).read_bytes() for name in (checkpoint.MODEL, checkpoint.OPTIMIZER)}


def test_a_killed_run_goes_on_to_the_bit(world, tmp_path):
    disk, settings = Disk(), [*EMA, "training.save_every=2"]
    with on(disk):
        assert train(world, tmp_path / "one", *settings) == 0
    renames = [number for number, event in enumerate(disk.events) if event[0] == "rename" and "draft" in event[1]]
    with on(Disk(renames[2] - 1, failing.killed)):  # after the first checkpoint, while the second is saved
        assert fork(lambda: train(world, tmp_path / "two", *settings)) == -signal.SIGKILL
    assert (tmp_path / "two" / "checkpoints" / "step-2").is_dir()
    assert fork(lambda: train(world, tmp_path / "two", *settings)) == 0
    assert outcome(tmp_path / "one") == outcome(tmp_path / "two")
    state = saved(tmp_path / "one", 4)
    assert (state["objectives.contrastive.queue.imu.keys"] != 0).any(1).sum() == 20
    weight = next(name for name in state if name.startswith("trunk.") and name.endswith("weight"))
    assert not torch.equal(state[weight], state[f"objectives.contrastive.teacher.{weight}"])
    moments = load_file(checkpoint.find(tmp_path / "one") / checkpoint.OPTIMIZER)
    assert not [name for name in moments if ".teacher." in name]


def test_a_skipped_step_moves_neither_teacher_nor_queue(world, tmp_path, monkeypatch):
    forward, calls = MaskedAutoencoder.forward, []

    def broken(self, batch):
        losses = forward(self, batch)
        calls.append(batch)
        return losses if len(calls) != 3 else type(losses)(losses.total * torch.nan, losses.parts, losses.counts)

    monkeypatch.setattr(MaskedAutoencoder, "forward", broken)
    assert train(world, tmp_path, *EMA, "training.save_every=1", "training.keep=9", "training.piece=8") == 0
    steps = [saved(tmp_path, step) for step in range(1, 5)]
    assert (tmp_path / "skipped_steps.jsonl").read_text().count('"step": ') == 1
    equal = [all(torch.equal(one[name], other[name]) for name in one) for one, other in pairwise(steps)]
    assert equal.count(True) == 1
    for number, same in enumerate(equal):
        moved = [
            n for n in steps[0] if ".teacher.trunk" in n and not torch.equal(steps[number][n], steps[number + 1][n])
        ]
        assert bool(moved) != same


def test_a_run_resumes_without_the_run_of_its_teacher(world, tmp_path):
    assert train(world, tmp_path / "teacher", "objectives.contrastive=null", steps=1) == 0
    settings = [
        f"objectives.distillation={{teacher: {{use: frozen, run: {tmp_path / 'teacher'}}}}}",
        "training.save_every=2",
    ]
    assert train(world, tmp_path / "student", *settings, "training.keep=9") == 0
    before = outcome(tmp_path / "student")
    teacher = saved(tmp_path / "teacher", 1)
    for step in (2, 4):
        state = saved(tmp_path / "student", step)
        for name in [name for name in teacher if name.startswith(("trunk.", "tokenizers."))]:
            assert torch.equal(state[f"objectives.distillation.teacher.{name}"], teacher[name])
    shutil.rmtree(tmp_path / "teacher")
    shutil.rmtree(tmp_path / "student" / "checkpoints" / "step-4")
    assert train(world, tmp_path / "student", *settings, "training.keep=9") == 0
    assert outcome(tmp_path / "student") == before
    other = [setting.replace("/teacher}", "/another}") for setting in settings]
    assert train(world, tmp_path / "student", *other) != 0  # another teacher: not this run
