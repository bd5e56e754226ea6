"""Token dropping in training, without predicting what is dropped."""

from __future__ import annotations

import torch

from fusion.masking.masking import Masking, Plan, hide_lowest
from modalities.records import Patches
from modalities.shapes import Float, Tensor


class Drop(Masking):
    """Show a random part while training and everything otherwise (DropToken in VATT, arXiv:2104.11178).

    Nothing need be asked of what is left out: half of a signal at a high resolution costs no more than all of it at a
    low one, and is worth more.
    """

    def __init__(self, *, ratio: float = 0.5):
        super().__init__(ratio)

    def plan(self, patches: Patches, noise: Float[Tensor, "b n"]) -> Plan:
        if self.training:
            return hide_lowest(patches, noise, self.ratio)
        return Plan.of(torch.zeros_like(noise, dtype=torch.bool), noise.shape[1], 0, patches.valid)
