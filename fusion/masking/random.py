"""Random masking."""

from __future__ import annotations

from fusion.masking.masking import Masking, Plan, hide_lowest
from modalities.records import Patches
from modalities.shapes import Float, Tensor


class Random(Masking):
    """Hide patches independently of each other (MAE, arXiv:2111.06377; spacetime-agnostic in MAE-ST, 2205.09113)."""

    def __init__(self, *, ratio: float = 0.75):
        super().__init__(ratio)

    def plan(self, patches: Patches, noise: Float[Tensor, "b n"]) -> Plan:
        return hide_lowest(patches, noise, self.ratio)
