"""The schedule and the parameter groups of AdamW, against the formulas of the papers."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmmae.recipes.sections import Optimizer
from mmmae.training.optim import adamw, clip, learning_rate, parameter_groups, set_learning_rate

STEPS = st.integers(20, 2000)


@given(STEPS, st.floats(0.05, 0.9), st.sampled_from([64, 256, 4096]))
def test_warmup_rises_linearly_to_the_scaled_rate(steps, warmup, batch):
    settings = Optimizer(lr=1e-3, warmup=warmup)
    peak, last = 1e-3 * batch / 256, round(warmup * steps)
    rates = [learning_rate(step, steps, settings, batch) for step in range(last)]
    assert rates == pytest.approx([peak * (step + 1) / last for step in range(last)])


@given(STEPS, st.floats(0, 0.5), st.floats(0, 0.5))
def test_after_warmup_half_a_cosine_falls_to_the_final_share(steps, warmup, final):
    settings = Optimizer(lr=1e-3, warmup=warmup, final=final)
    first = round(warmup * steps)
    rates = [learning_rate(step, steps, settings, 256) for step in range(first, steps)]
    assert rates[0] == pytest.approx(1e-3)
    assert all(one >= other for one, other in pairwise(rates))
    end = 1e-3 * (final + (1 - final) * 0.5 * (1 + math.cos(math.pi)))
    assert learning_rate(steps, steps, settings, 256) == pytest.approx(end, abs=1e-12)


@pytest.mark.parametrize("name", ["videomae", "default", "cav_mae", "lv_mae"])
def test_weight_decay_reaches_matrices_only(name):
    """Biases, norms and single tokens never decay (He et al., arXiv:2111.06377, and every ViT before)."""
    model = tiny.tiny(*tiny.SYSTEMS[name]).build()
    names = {id(parameter): key for key, parameter in model.named_parameters()}
    for group in parameter_groups(model, Optimizer(weight_decay=0.1)):
        for parameter in group["params"]:
            key = names[id(parameter)]
            single = parameter.ndim < 2 or key.endswith("bias") or ".norm" in key
            assert not (single and group["weight_decay"]), key
            if key.endswith(("qkv.weight", "mlp.0.weight", "mlp.2.weight", "project.weight")):
                assert group["weight_decay"] == 0.1, key


def test_decay_alone_shrinks_matrices_and_leaves_biases():
    model = tiny.tiny("videomae").build()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = adamw(model, Optimizer(weight_decay=0.5))
    set_learning_rate(optimizer, 0.1)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in model.named_parameters():
        decays = parameter.ndim > 1 and getattr(parameter, "decay", True)
        torch.testing.assert_close(parameter.detach(), before[name] * (0.95 if decays else 1.0))


def test_layer_decay_multiplies_from_layer_to_layer():
    model = tiny.tiny("videomae", ["trunk.depth=3"]).build()
    groups = parameter_groups(model, Optimizer(layer_decay=0.5))
    scale = {id(parameter): group["scale"] for group in groups for parameter in group["params"]}
    named = dict(model.named_parameters())
    levels = {
        "tokenizers.video.project.weight": 4,
        **{next(n for n in named if f"layers.{i}.attention.qkv.weight" in n or f".{i}.attention.qkv.weight" in n): 3 - i
           for i in range(3)},
    }  # fmt: skip
    for name, below in levels.items():
        assert scale[id(named[name])] == pytest.approx(0.5**below), name


def test_clipping_scales_the_whole_gradient_to_the_largest_norm():
    model = tiny.tiny("videomae").build()
    optimizer = adamw(model, Optimizer())
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    expected = math.sqrt(sum(p.numel() for p in model.parameters() if p.requires_grad))
    (norm,) = clip(optimizer, 2.0)
    assert float(norm) == pytest.approx(expected, rel=1e-5)
    after = torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm()
    assert float(after) == pytest.approx(2.0, rel=1e-4)
