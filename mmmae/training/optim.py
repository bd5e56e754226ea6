"""AdamW's parameter groups, read from tags that modules carry, and the learning rate of every step."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from mmmae.model import MaskedAutoencoder
from mmmae.recipes.sections import AdamW, Optimizer


def adamw(model: MaskedAutoencoder, settings: Optimizer) -> torch.optim.AdamW:
    """The optimizer of a model; each group carries `scale`, its factor on the learning rate."""
    groups = parameter_groups(model, settings)
    return torch.optim.AdamW(groups, lr=0.0, fused=True)  # fused ones heed `found_inf` (mmmae/training/nonfinite.py)


def parameter_groups(model: MaskedAutoencoder, settings: Optimizer) -> list[dict[str, Any]]:
    """Trainable parameters by the settings they follow, by how deep they lie and by weight decay.

    Vectors and scalars (biases, norms, mask tokens, temperatures) and whatever is tagged `decay = False` do not decay.
    A module's `level` tells its layer; tokenizers lie at 0, masking and objectives above the trunk. With layer decay,
    each level learns slower than the one above it by that factor (BEiT, arXiv:2106.08254). A module's `optimizer`
    (AdamW) makes all inside it a side of its own, such as an adversary, with its own rate, betas and weight decay;
    only the shape of the schedule is shared.
    """
    top = model.trunk.depth + 1
    order: dict[int, AdamW] = {id(settings): settings}  # two modules with equal settings are two sides
    groups: dict[tuple[int, int, bool], list[nn.Parameter]] = {}
    for side, level, parameter in tagged(model, settings, 0, top):
        order.setdefault(id(side), side)
        decays = parameter.ndim > 1 and getattr(parameter, "decay", True)
        groups.setdefault((list(order).index(id(side)), level, decays), []).append(parameter)
    told = list(order.values())
    covered = sum(len(group) for group in groups.values())
    assert covered == sum(p.requires_grad for p in model.parameters()), "every parameter belongs to one group"
    return [
        {
            "params": parameters,
            "betas": told[side].betas,
            "weight_decay": told[side].weight_decay if decays else 0.0,
            "scale": told[side].lr / settings.lr * settings.layer_decay ** (top - level),
            "side": side,
        }
        for (side, level, decays), parameters in sorted(groups.items(), key=lambda item: item[0])
    ]


def tagged(module: nn.Module, side: AdamW, level: int, top: int) -> Iterator[tuple[AdamW, int, nn.Parameter]]:
    """Every trainable parameter with the `optimizer` and the `level` of the nearest module around it that has one."""
    for parameter in module.parameters(recurse=False):
        if parameter.requires_grad:
            yield side, level, parameter
    for name, child in module.named_children():
        pretext = isinstance(module, MaskedAutoencoder) and name in ("masking", "objectives")
        inner = top if pretext else getattr(child, "level", level)
        yield from tagged(child, getattr(child, "optimizer", side), inner, top)


def sides(optimizer: torch.optim.Optimizer) -> list[list[nn.Parameter]]:
    """The model's parameters, then those of each side with settings of its own: what is clipped together."""
    found: dict[int, list[nn.Parameter]] = {}
    for group in optimizer.param_groups:
        found.setdefault(group["side"], []).extend(group["params"])
    return list(found.values())


def clip(optimizer: torch.optim.Optimizer, largest: float | None) -> list[Tensor]:
    """Clip the gradients of each side on its own, so that neither sways the other; their norms before.

    The first is the model's. Without a largest norm nothing is clipped.
    """
    largest = float("inf") if largest is None else largest
    norms: list[Any] = [nn.utils.clip_grad_norm_(side, largest) for side in sides(optimizer)]
    return [norm.full_tensor() if hasattr(norm, "full_tensor") else norm for norm in norms]  # sharded: a DTensor


def peak(settings: Optimizer, batch_size: int) -> float:
    """The highest learning rate of a run: it scales with the global batch (Goyal et al., arXiv:1706.02677)."""
    return settings.lr * batch_size / 256


def learning_rate(step: int, steps: int, settings: Optimizer, batch_size: int) -> float:
    """Linear warm-up to the peak, then half a cosine.

    step counts from 0; the last one of `steps` ends just above the final share.
    """
    highest = peak(settings, batch_size)
    warmup = round(settings.warmup * steps)
    if step < warmup:
        return highest * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return highest * (settings.final + (1 - settings.final) * 0.5 * (1 + math.cos(math.pi * progress)))


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]
