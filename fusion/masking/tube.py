"""Tube masking: the same places at all times."""

from __future__ import annotations

from fusion.masking.masking import Masking, Plan, hide_slices
from modalities.records import Patches
from modalities.shapes import Float, Tensor


class Tube(Masking):
    """Hide the same places at every time step (VideoMAE, arXiv:2203.12602).

    A patch that could be copied from the next frame teaches nothing.
    """

    def __init__(self, *, ratio: float = 0.9):
        super().__init__(ratio)

    def plan(self, patches: Patches, noise: Float[Tensor, "b n"]) -> Plan:
        return hide_slices(patches, noise, self.ratio, axes=tuple(range(1, len(patches.grid))))
