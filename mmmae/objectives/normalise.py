"""Targets normalised by the patch's own mean and variance, in the two ways the field does it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from einops import rearrange

from modalities.records import Patches
from modalities.shapes import Float, Int, Tensor
from modalities.tokenizer import Tokenizer

Norm = Literal["n0", "n1", "n2"]
NORMS = ("n0", "n1", "n2")


@dataclass(frozen=True)
class Moments:
    """Mean and scale of each patch: of each of its c channels, or (c = 1) of all its values."""

    mean: Float[Tensor, "b m 1 c"]
    scale: Float[Tensor, "b m 1 c"]


def moments(x: Float[Tensor, "b m v c"], norm: Norm) -> Moments:
    """What a norm subtracts from a patch, its values laid out as `apart` does, and divides it by.

    n1: of each channel, sqrt(unbiased variance) + 1e-6 (VideoMAE, arXiv:2203.12602); n2: of all values together,
    sqrt(unbiased variance + 1e-6) (MAE, arXiv:2111.06377).
    """
    mean, variance = x.mean(-2, keepdim=True), x.var(-2, keepdim=True)
    return Moments(mean, variance.sqrt() + 1e-6 if norm == "n1" else (variance + 1e-6).sqrt())


def apart(x: Float[Tensor, "b m p"], tokenizer: Tokenizer, norm: Norm) -> Float[Tensor, "b m v c"]:
    """The values of each patch by channel, for n1, or all together."""
    return rearrange(x, "b m (v c) -> b m v c", c=tokenizer.channels if norm == "n1" else 1)


def units(tokenizer: Tokenizer, patches: Patches, pick: Int[Tensor, "b m"], norm: Norm) -> Float[Tensor, "b m p"]:
    """Patches in the units that a norm works in: natural ones scaled to about one for n1, the network's for others."""
    if norm == "n1":
        return tokenizer.contents(patches, pick) / tokenizer.full_scale
    return tokenizer.target(patches, pick).float()


def target(tokenizer: Tokenizer, patches: Patches, pick: Int[Tensor, "b m"], norm: Norm) -> Float[Tensor, "b m p"]:
    """What a decoder must say about the patches at `pick`."""
    x = units(tokenizer, patches, pick, norm)
    if norm == "n0":
        return x
    by_channel = apart(x, tokenizer, norm)  # a view of x, which is nobody else's: every pass over targets costs
    at = moments(by_channel, norm)
    by_channel.sub_(at.mean).div_(at.scale)
    return x


def denormalise(
    tokenizer: Tokenizer,
    patches: Patches,
    predicted: Float[Tensor, "b m p"],
    pick: Int[Tensor, "b m"],
    visible: Int[Tensor, "b k"],
    shown: Tensor | None,
    norm: Norm,
) -> Float[Tensor, "b m p"]:
    """Predictions in the network's units, with mean and scale borrowed from the visible patches nearby.

    The hidden patch's own moments are never used: that would show part of the answer as if it had been predicted.
    Visible patches count by a Gaussian of their distance, one patch wide.
    """
    if norm == "n0":
        return predicted.float()
    at = moments(apart(units(tokenizer, patches, visible, norm), tokenizer, norm), norm)
    here, there = patches.coords[pick].float(), patches.coords[visible].float()
    closeness = -0.5 * torch.cdist(here, there) ** 2
    if shown is not None:
        closeness = closeness.masked_fill(~shown[:, None, :], -1e9)
    weight = closeness.softmax(-1)
    scale, mean = ((weight @ x[..., 0, :])[..., None, :] for x in (at.scale, at.mean))
    x = (apart(predicted.float(), tokenizer, norm) * scale + mean).flatten(2)
    if norm == "n1":
        return tokenizer.standardise(x * tokenizer.full_scale)
    return x
