"""Normalisation of targets by the mean and variance of each patch, or of each of its channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from einops import rearrange

from modalities.records import Patches, by_value, take
from modalities.shapes import Bool, Float, Int, Shaped, Tensor
from modalities.tokenizer import Tokenizer

Norm = Literal["none", "patch_channel", "patch"]
NORMS = ("none", "patch_channel", "patch")


@dataclass(frozen=True)
class Moments:
    """Mean and scale of each patch: of each of its c channels, or (c = 1) of all its values."""

    mean: Float[Tensor, "b m 1 c"]
    scale: Float[Tensor, "b m 1 c"]


def moments(x: Float[Tensor, "b m v c"], norm: Norm, exists: Bool[Tensor, "b m v c"] | None = None) -> Moments:
    """What a norm subtracts from a patch, its values laid out as `apart` does, and divides it by.

    n1: of each channel, sqrt(unbiased variance) + 1e-6 (VideoMAE, arXiv:2203.12602); n2: of all values together,
    sqrt(unbiased variance + 1e-6) (MAE, arXiv:2111.06377). Values that do not exist have no part in them.
    """
    mean, variance = x.mean(-2, keepdim=True), x.var(-2, keepdim=True)
    if exists is not None:
        count, whole = exists.sum(-2, keepdim=True), exists.all(-2, keepdim=True)
        some = torch.where(exists, x, 0.0).sum(-2, keepdim=True) / count.clamp_min(1)
        squares = torch.where(exists, x - some, 0.0).square().sum(-2, keepdim=True) / (count - 1).clamp_min(1)
        mean, variance = torch.where(whole, mean, some), torch.where(whole, variance, squares)  # whole: the same bits
    return Moments(mean, variance.sqrt() + 1e-6 if norm == "patch_channel" else (variance + 1e-6).sqrt())


def apart(x: Shaped[Tensor, "b m p"], tokenizer: Tokenizer, norm: Norm) -> Shaped[Tensor, "b m v c"]:
    """The values of each patch by channel, for n1, or all together."""
    return rearrange(x, "b m (v c) -> b m v c", c=tokenizer.channels if norm == "patch_channel" else 1)


def units(tokenizer: Tokenizer, patches: Patches, pick: Int[Tensor, "b m"], norm: Norm) -> Float[Tensor, "b m p"]:
    """Patches in the units that a norm works in: natural ones scaled to about one for n1, the network's for others."""
    if norm == "patch_channel":
        return tokenizer.contents(patches, pick) / tokenizer.full_scale
    return tokenizer.target(patches, pick).float()


def target(tokenizer: Tokenizer, patches: Patches, pick: Int[Tensor, "b m"], norm: Norm) -> Float[Tensor, "b m p"]:
    """What a decoder must say about the patches at `pick`."""
    x = units(tokenizer, patches, pick, norm)
    if norm == "none":
        return x
    exists = existing(patches, pick, x.shape[-1])
    by_channel = apart(x, tokenizer, norm)  # a view of x, which is nobody else's: every pass over targets costs
    at = moments(by_channel, norm, None if exists is None else apart(exists, tokenizer, norm))
    by_channel.sub_(at.mean).div_(at.scale)
    return x if exists is None else torch.where(exists, x, 0.0)


def existing(patches: Patches, pick: Int[Tensor, "b m"], size: int) -> Bool[Tensor, "b m p"] | None:
    """Which values of the patches at `pick` exist; None when all do."""
    return None if patches.observed is None else by_value(take(patches.observed, pick), size)


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
    Visible patches count by a Gaussian of their distance, one patch wide; for a channel that they have.
    """
    if norm == "none":
        return predicted.float()
    x = units(tokenizer, patches, visible, norm)
    exists = existing(patches, visible, x.shape[-1])
    exists = None if exists is None else apart(exists, tokenizer, norm)
    at = moments(apart(x, tokenizer, norm), norm, exists)
    here, there = patches.coords[pick].float(), patches.coords[visible].float()
    closeness = -0.5 * torch.cdist(here, there) ** 2
    if shown is not None:
        closeness = closeness.masked_fill(~shown[:, None, :], -1e9)
    if exists is None:
        weight = closeness.softmax(-1)
        scale, mean = ((weight @ x[..., 0, :])[..., None, :] for x in (at.scale, at.mean))
    else:
        weight = closeness[..., None].masked_fill(~exists.any(-2)[:, None], -1e9).softmax(-2)
        scale, mean = (torch.einsum("bmkc, bkvc -> bmvc", weight, x) for x in (at.scale, at.mean))
    x = (apart(predicted.float(), tokenizer, norm) * scale + mean).flatten(2)
    if norm == "patch_channel":
        return tokenizer.standardise(x * tokenizer.full_scale)
    return x
