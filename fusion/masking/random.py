"""Random masking."""

from __future__ import annotations

from fusion.masking.masking import Masking, Plan, Ratio, rank, share
from modalities.records import Patches
from modalities.shapes import Float, Tensor


class Random(Masking):
    """Hide patches independently of each other (MAE, arXiv:2111.06377; spacetime-agnostic in MAE-ST, 2205.09113)."""

    def __init__(self, *, ratio: Ratio = 0.75):
        super().__init__(ratio)

    def plan(self, patches: Patches, noise: Float[Tensor, "b n"]) -> Plan:
        n, ratio = noise.shape[1], self.ratio
        hidden = int(ratio * n)
        count = hidden if patches.valid is None else share(ratio, patches.valid.sum(1))[:, None]
        return Plan.of(rank(noise, patches.valid) < count, n - hidden, hidden, patches.valid)
