"""Synchronous masking: the same seconds in every modality, or in one modality the seconds visible in the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch

from fusion.masking.masking import JointMasking, Noise, Plan, checked, rank
from modalities.records import Patches
from modalities.shapes import Bool, Tensor


class Synchronous(JointMasking):
    """Cut the window into `segments` equal stretches of time and hide whole stretches.

    mode: `same` hides the same seconds everywhere, so that only the past and the future can help; `complement` hides
        them in the first modality and everything else in the others, so that each must be predicted from the other.
    ratio: share of the stretches that the first modality hides.
    """

    schedulable = ("ratio",)

    def __init__(self, *, ratio: float = 0.5, segments: int = 8, mode: Literal["same", "complement"] = "same"):
        super().__init__()
        if mode not in ("same", "complement"):
            raise ValueError(f"mode is 'same' or 'complement', got {mode!r}")
        if segments < 2:
            raise ValueError(f"there must be at least 2 segments, got {segments}")
        if mode == "same" and ratio == 1:
            raise ValueError("a ratio of 1 hides the whole window in every stream; hide less, or set mode=complement")
        self.ratio, self.segments, self.mode = checked(ratio), segments, mode

    def plan(self, streams: Mapping[str, Patches], noise: Noise) -> dict[str, Plan]:
        count = int(self.ratio * self.segments)
        hide = rank(noise("mask/segments", self.segments)) < count
        plans = {}
        for number, (name, patches) in enumerate(streams.items()):
            flip = number > 0 and self.mode == "complement"
            plans[name] = self.one(patches, ~hide if flip else hide, self.segments - count if flip else count)
        return plans

    def one(self, patches: Patches, hide: Bool[Tensor, "b segments"], count: int) -> Plan:
        steps, n = patches.grid[0], patches.time.shape[1]
        each = n // steps
        if patches.valid is None and steps % self.segments == 0:  # every stretch holds the same number of patches
            segment = patches.coords[:, 0] * self.segments // steps
            hidden = n // self.segments * count
            return Plan.of(hide[:, segment], n - hidden, hidden)
        fraction = patches.time / patches.duration[:, None]
        segment = (fraction * self.segments).long().clamp(0, self.segments - 1)
        most = each * (steps // self.segments + 1)  # patches that one stretch can hold
        valid = torch.ones_like(segment, dtype=torch.bool) if patches.valid is None else patches.valid
        slots = (min(n, most * (self.segments - count)), min(n, most * count))
        return Plan.of(hide.gather(1, segment), *slots, valid)
