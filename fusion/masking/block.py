"""Block masking: one contiguous block of space and time."""

from __future__ import annotations

import torch

from fusion.masking.masking import Masking, Plan, further, rank, share
from modalities.records import Patches
from modalities.shapes import Float, Tensor


class BlockMasking(Masking):
    """Hide a contiguous block around a random centre (as BEiT, arXiv:2106.08254, in any number of axes).

    The block has the proportions of the grid and exactly the asked number of patches: those nearest to the centre.
    """

    def __init__(self, *, ratio: float = 0.5):
        super().__init__(ratio)

    def plan(self, patches: Patches, noise: Float[Tensor, "b n"]) -> Plan:
        n, ratio = noise.shape[1], self.ratio
        ends = patches.coords + 1
        if patches.valid is not None:  # a sample's block has the proportions of what the sample has
            ends = torch.where(patches.valid[..., None], ends, 1)
        middle = (patches.coords + 0.5) / ends.amax(-2, keepdim=True)
        centre = further(noise, "centre", len(patches.grid))
        distance = (middle - centre[:, None]).abs().amax(-1) + 1e-5 * noise  # ties are broken by chance
        hidden = int(ratio * n)
        count = hidden if patches.valid is None else share(ratio, patches.valid.sum(1))[:, None]
        return Plan.of(rank(distance, patches.valid) < count, n - hidden, hidden, patches.valid)
