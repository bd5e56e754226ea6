"""Access to the hint of patches, for guided maskings."""

from __future__ import annotations

import torch
from einops import rearrange

from fusion.masking.masking import Plan, rank, share
from modalities.records import Patches
from modalities.shapes import Float, Tensor


def guide(patches: Patches, hint: str, axes: tuple[int, ...] = ()) -> Float[Tensor, "b n ..."]:
    """The patches' hint, zero where a patch is not valid.

    hint: which one is meant, for the message; axes: its shape for each patch.

    Raises:
        ValueError: there is none, or it is of another kind. Hiding at random instead would be a silent mistake.
    """
    remedy = f"set `hint: {hint}` in the stream's section of `modalities`, if its reader knows it, or hide another way"
    if patches.hint is None:
        raise ValueError(f"masking follows {hint}, but the patches come without a hint; {remedy}")
    if patches.hint.shape[2:] != axes:
        raise ValueError(f"masking follows {hint}, but the hint is another one: {tuple(patches.hint.shape)}; {remedy}")
    if patches.valid is None:
        return patches.hint
    valid = patches.valid.reshape(*patches.valid.shape, *[1] * len(axes))
    return torch.where(valid, patches.hint, torch.zeros_like(patches.hint))


def hide_in_steps(patches: Patches, score: Float[Tensor, "b n"], ratio: float) -> Plan:
    """Hide in every time step the patches of the lowest score: int(ratio * count) of those that it has."""
    steps, n = patches.grid[0], score.shape[1]
    hidden, valid = int(ratio * (n // steps)), None
    count = torch.full((len(score) * steps,), hidden, device=score.device)
    if patches.valid is not None:
        valid = rearrange(patches.valid, "b (t p) -> (b t) p", t=steps)
        count = share(ratio, valid.sum(1))
    hide = rank(rearrange(score, "b (t p) -> (b t) p", t=steps), valid) < count[:, None]
    hide = rearrange(hide, "(b t) p -> b (t p)", t=steps)
    return Plan.of(hide, n - hidden * steps, hidden * steps, patches.valid)
