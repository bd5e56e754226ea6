"""A classifier on the side learns beside the model: it changes nothing else and learns what it can."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import tiny
import torch

from mmmae.objectives.labelled import BESIDE
from mmmae.recipes.lookup import RecipeError
from mmmae.training.optim import adamw, clip, set_learning_rate

SIDES = {
    "adversary": ("videomae", [f"objectives.adversarial={{optimizer: {json.dumps(BESIDE.model_dump())}}}"]),
    "sampler": ("adamae", []),  # a masking with weights
    "streams": ("default", []),
}


@pytest.mark.parametrize("name", SIDES)
def test_a_classifier_on_the_side_changes_nothing_else(name):
    recipe, changes = SIDES[name]
    changes = [*changes, "trunk.depth=1", "optimizer.clip=0.01"]
    weights, losses = [], []
    for more in ([], ["objectives.classification={detached: true}"]):
        made = tiny.tiny(recipe, [*changes, *more])
        model, batch = made.build(), made.example(batch_size=4)
        optimizer = adamw(model, made.sections.optimizer)
        before = {name: p.detach().clone() for name, p in model.named_parameters() if "classification" in name}
        for _ in range(3):
            set_learning_rate(optimizer, 1e-2)
            found = model(batch)
            found.total.backward()
            norm = clip(optimizer, made.sections.optimizer.clip)[0]
            optimizer.step()
            optimizer.zero_grad()
        weights.append(model.state_dict())
        losses.append({"norm": norm.item(), "total": found.total.item()})
    assert losses[0] == losses[1]
    assert all(torch.equal(weights[1][name], tensor) for name, tensor in weights[0].items())
    assert len(before) == 4 and not any(torch.equal(weights[1][name], old) for name, old in before.items())


def test_a_classifier_on_the_side_learns_what_it_can_and_needs_a_model_that_does():
    made = tiny.tiny("videomae", ["objectives.classification={detached: true}", "trunk.depth=1"])
    model, batch = made.build(), made.example(batch_size=16, seed=4)
    clips = batch["video"].values // 2 + 64 * batch.label[:, None, None, None, None].byte()
    batch = replace(batch, signals={"video": replace(batch["video"], values=clips)})
    optimizer = adamw(model, made.sections.optimizer)
    for _ in range(30):
        set_learning_rate(optimizer, 1e-4)
        model(batch).total.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert model(batch)["classification/accuracy"] == 1
    with pytest.raises(RecipeError, match="classification is detached"):
        tiny.tiny("videomae_v2_finetune", ["objectives.classification.detached=true", "data.mixup=0"]).build()
