"""Every module that holds weights is called as one: hooks, adapters and quantisation depend on it."""

from __future__ import annotations

import copy

import peft
import pytest
import tiny
import torch
from torch import nn

from mmmae import Recipe

SMALL = ["size=tiny", "modalities.video.size=32", "modalities.video.patch=8", "modalities.video.frames=8"]


@pytest.fixture(scope="module")
def videomae():
    recipe = Recipe.load("videomae", SMALL)
    return recipe.build().eval(), recipe.example(batch_size=2)


def called(model: nn.Module) -> dict[str, int]:
    """How often each module was called since, counted by hooks."""
    counts: dict[str, int] = {}

    def count(name: str):
        def hook(module, given, out):
            counts[name] = counts.get(name, 0) + 1

        return hook

    for name, module in model.named_modules():
        module.register_forward_hook(count(name))
    return counts


@pytest.mark.parametrize("name", sorted(tiny.SYSTEMS))
def test_weights_that_learn_belong_to_modules_that_are_called(name):
    recipe = tiny.tiny(*tiny.SYSTEMS[name])
    model, batch = recipe.build(), recipe.example(batch_size=3)
    counts = called(model)
    model(batch).total.backward()
    for place, module in model.named_modules():
        if isinstance(module, (nn.Linear, nn.Embedding, nn.LayerNorm, nn.Conv1d, nn.Conv2d, nn.Conv3d)):
            learned = any(p.grad is not None and p.grad.any() for p in module.parameters(recurse=False))
            assert not learned or counts.get(place), place


def test_encoding_calls_each_projection_once_per_layer(videomae):
    model, batch = copy.deepcopy(videomae[0]), videomae[1]
    counts = called(model)
    model.encode(batch)
    for place in (name for name, module in model.named_modules() if isinstance(module, nn.Linear)):
        if place.startswith(("trunk.", "tokenizers.")):
            assert counts.get(place) == 1, place


@pytest.mark.parametrize("target", ["qkv", "project", "mlp.0"])
def test_adapters_change_features_and_learn(videomae, target):
    model, batch = videomae
    before = model.encode(batch)["video"].x
    tuned = peft.inject_adapter_in_model(peft.LoraConfig(r=4, target_modules=[target]), copy.deepcopy(model))
    adapters = {name: p for name, p in tuned.named_parameters() if "lora_" in name and name.startswith("trunk.")}
    with torch.no_grad():
        for name, parameter in adapters.items():
            if "lora_B" in name:
                parameter.normal_()
    after = tuned.encode(batch)["video"].x
    assert (after - before).abs().max() > 0.1
    after.square().sum().backward()
    assert adapters and all(p.grad is not None and p.grad.any() for p in adapters.values())


def test_dynamic_quantisation_reaches_attention(videomae):
    model, batch = videomae
    before = model.encode(batch)["video"].x
    small = torch.ao.quantization.quantize_dynamic(copy.deepcopy(model), {nn.Linear}, dtype=torch.qint8)
    kinds = {type(m).__module__ for name, m in small.named_modules() if name.endswith(("qkv", "mlp.0"))}
    assert all("quantized" in kind for kind in kinds)
    after = small.encode(batch)["video"].x
    similarity = nn.functional.cosine_similarity(before.flatten(1), after.flatten(1))
    assert after.isfinite().all() and (similarity > 0.99).all() and not torch.equal(before, after)
