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
    """Mean and scale of each patch, broadcastable to its values."""

    mean: Float[Tensor, "b m q"]
    scale: Float[Tensor, "b m q"]


def moments(x: Float[Tensor, "b m p"], norm: Norm, channels: int) -> Moments:
    """What a norm subtracts from a patch and divides it by.

    n1: of each channel, sqrt(unbiased variance) + 1e-6 (VideoMAE, arXiv:2203.12602); n2: of all values together,
    sqrt(unbiased variance + 1e-6) (MAE, arXiv:2111.06377); n0: nothing.
    """
    if norm == "n0":
        return Moments(torch.zeros_like(x[..., :1]), torch.ones_like(x[..., :1]))
    if norm == "n2":
        return Moments(x.mean(-1, keepdim=True), (x.var(-1, keepdim=True) + 1e-6).sqrt())
    by_channel = rearrange(x, "b m (v c) -> b m v c", c=channels)
    mean, std = by_channel.mean(-2), by_channel.var(-2).sqrt() + 1e-6
    values = x.shape[-1] // channels
    return Moments(mean.repeat(1, 1, values), std.repeat(1, 1, values))


def units(tokenizer: Tokenizer, patches: Patches, pick: Int[Tensor, "b m"], norm: Norm) -> Float[Tensor, "b m p"]:
    """Patches in the units that a norm works in: natural ones scaled to about one for n1, the network's for others."""
    x = tokenizer.target(patches, pick).float()
    return tokenizer.natural(x) / tokenizer.full_scale if norm == "n1" else x


def target(tokenizer: Tokenizer, patches: Patches, pick: Int[Tensor, "b m"], norm: Norm) -> Float[Tensor, "b m p"]:
    """What a decoder must say about the patches at `pick`."""
    x = units(tokenizer, patches, pick, norm)
    at = moments(x, norm, tokenizer.channels)
    return (x - at.mean) / at.scale


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
    at = moments(units(tokenizer, patches, visible, norm), norm, tokenizer.channels)
    here, there = patches.coords[pick].float(), patches.coords[visible].float()
    closeness = -0.5 * torch.cdist(here, there) ** 2
    if shown is not None:
        closeness = closeness.masked_fill(~shown[:, None, :], -1e9)
    weight = closeness.softmax(-1)
    x = predicted.float() * (weight @ at.scale) + weight @ at.mean
    if norm == "n1":
        return tokenizer.standardise(x * tokenizer.full_scale)
    return x
