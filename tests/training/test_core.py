"""The step that pretraining and fine-tuning share: pieces, guard, schedules and what models do after it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
import torch

from mmmae import MaskedAutoencoder, Recipe
from mmmae.parallel.ranks import Ranks
from mmmae.parallel.signals import Interrupt
from mmmae.training.core import Core
from mmmae.training.nonfinite import Guard
from mmmae.training.optim import adamw, clip, learning_rate, set_learning_rate
from modalities.records import Batch

STEPS = 4


@pytest.fixture
def recipe() -> Recipe:
    changes = ["trunk.depth=1", "objectives.reconstruction.weight=[1.0, 0.2]", "optimizer.clip=1.0", "optimizer.lr=1"]
    return tiny.tiny("imu_mae", changes)


def batches(recipe: Recipe) -> Iterator[Batch]:
    return (recipe.example(batch_size=4, seed=seed) for seed in range(100))


def core(recipe: Recipe, model: MaskedAutoencoder, output: Path, pieces: int = 1) -> Core:
    accelerator, settings = Ranks().accelerator(), recipe.sections.optimizer
    model = accelerator.prepare_model(model.to(accelerator.device))
    optimizer = accelerator.prepare_optimizer(adamw(model, settings))
    guard = Guard(accelerator, optimizer.optimizer, output, lambda line: None, Interrupt(), policy="skip")
    return Core(
        accelerator, model, optimizer, guard, lambda batch: batch.to(accelerator.device), settings, steps=STEPS,
        batch_size=8, pieces=pieces,
    )  # fmt: skip


def test_it_is_the_loop_of_the_textbook(recipe, tmp_path):
    model, plain = recipe.build(), recipe.build()
    made, given = core(recipe, model, tmp_path, pieces=2), batches(recipe)
    norms = [made.step(step, given)[1] for step in range(STEPS)]
    settings, given = recipe.sections.optimizer, batches(recipe)
    optimizer = adamw(plain, settings)
    for step in range(STEPS):
        plain.train().advance(step / STEPS)
        set_learning_rate(optimizer, learning_rate(step, STEPS, settings, 8))
        for _ in range(2):
            (plain(next(given)).total / 2).backward()
        (norm,) = clip(optimizer, settings.clip)  # AdamW itself takes a gradient of any size for the same
        torch.testing.assert_close(norms[step], norm)
        optimizer.step()
        optimizer.zero_grad()
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(weight.cpu(), plain.state_dict()[name])
    assert float(model.objectives["reconstruction"].weight) == pytest.approx(1 - 0.8 * 3 / 4)


def test_what_a_model_does_after_a_step_is_done_once_for_each_and_knows_which_counted(recipe, tmp_path, monkeypatch):
    calls: list[tuple[float, bool]] = []
    forward = MaskedAutoencoder.forward

    def after_step(self, progress, taken, epoch_ends):
        calls.append((progress, bool(taken)))

    def broken(self, batch):
        losses = forward(self, batch)
        return losses if len(calls) != 2 else type(losses)(losses.total * torch.nan, losses.parts, losses.counts)

    monkeypatch.setattr(MaskedAutoencoder, "after_step", after_step)
    monkeypatch.setattr(MaskedAutoencoder, "forward", broken)
    model = recipe.build()
    made, given, states = core(recipe, model, tmp_path), batches(recipe), []
    for step in range(STEPS):
        made.step(step, given)
        states.append({name: weight.clone() for name, weight in model.state_dict().items()})
    made.guard.settle()
    assert calls == [(0.0, True), (0.25, True), (0.5, False), (0.75, True)]
    assert all(torch.equal(weight, states[2][name]) for name, weight in states[1].items())
    assert not all(torch.equal(weight, states[3][name]) for name, weight in states[2].items())
    assert (tmp_path / "skipped_steps.jsonl").read_text().count("\n") == 1
