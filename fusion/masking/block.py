"""Hide one piece of space and time."""

from __future__ import annotations

import torch

from fusion.masking.masking import Masking, Plan, Ratio, rank, share
from modalities.records import Patches
from modalities.shapes import Float, Tensor


class Block(Masking):
    """Hide a contiguous block around a random centre (as BEiT, arXiv:2106.08254, in any number of axes).

    The block has the proportions of the grid and exactly the asked number of patches: those nearest to the centre.
    """

    def __init__(self, *, ratio: Ratio = 0.5):
        super().__init__(ratio)

    def plan(self, patches: Patches, noise: Float[Tensor, "b n"]) -> Plan:
        n, ratio, axes = noise.shape[1], self.ratio, len(patches.grid)
        extent = torch.tensor(patches.grid, device=noise.device)
        # Drawn from a hash of the first draws, so that a grid with fewer patches than axes still has a centre.
        centre = torch.stack([(noise[:, 0] * 7919 * (axis + 1)).frac() for axis in range(axes)], 1)
        middle = (patches.coords + 0.5) / extent
        distance = (middle - centre[:, None]).abs().amax(-1) + 1e-4 * noise / n
        hidden = int(ratio * n)
        count = hidden if patches.valid is None else share(ratio, patches.valid.sum(1))[:, None]
        return Plan.of(rank(distance, patches.valid) < count, n - hidden, hidden, patches.valid)
