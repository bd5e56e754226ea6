"""What a model reconstructs: gradients flow through it, and only objectives that predict have any."""

from __future__ import annotations

from dataclasses import replace

import pytest
import tiny
import torch


@pytest.mark.parametrize("norm", ["none", "patch"])
@pytest.mark.parametrize("name", ["audio", "imu"])
def test_a_gradient_reaches_the_input_through_a_reconstruction(name, norm):
    recipe = tiny.tiny("default", [f"objectives.reconstruction.normalise={norm}"], [name])
    model, batch = recipe.build(), recipe.example(batch_size=2)
    values = batch[name].values.clone().requires_grad_()
    batch = replace(batch, signals={name: replace(batch[name], values=values)})
    picture = model.reconstruct(batch)[name]
    guessed = picture.predicted - picture.original.detach()
    (gradient,) = torch.autograd.grad(guessed.square().sum(), values, retain_graph=True)
    assert gradient.isfinite().all() and (gradient.flatten(1).abs().sum(1) > 0).all()
    weight = next(model.trunk.parameters())
    assert torch.autograd.grad(guessed.square().sum(), weight)[0].abs().sum() > 0
    with torch.no_grad():
        assert not model.reconstruct(batch)[name].predicted.requires_grad


def test_an_objective_that_predicts_nothing_has_no_pictures():
    recipe = tiny.tiny("default", ["objectives.reconstruction=null", "objectives.masked_language=null"])
    assert recipe.build().reconstruct(recipe.example(batch_size=2)) == {}
