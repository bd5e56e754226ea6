"""Motion-guided masking: a block where motion is strongest."""

from __future__ import annotations

from einops import rearrange

from fusion.masking.guide import guide, hide_in_steps
from fusion.masking.masking import Masking, Plan, further
from modalities.records import Patches, constant_like, lattice
from modalities.shapes import Float, Tensor


class Motion(Masking):
    """Hide in every time step one block, where most of the motion is (MGM, arXiv:2308.12962).

    The block has the proportions of the picture, lies inside it, and has exactly the asked number of patches: where no
    rectangle has, the next ones at its sides. It lies where motion, weighed by a cone as wide as the block, is
    strongest, and so follows what moves over time; where nothing does, it stays at a place drawn for the whole clip.
    """

    follows = "motion"

    def __init__(self, *, ratio: float = 0.75):
        super().__init__(ratio)

    def plan(self, patches: Patches, noise: Float[Tensor, "b n"]) -> Plan:
        steps, *sizes = patches.grid
        if not sizes:
            raise ValueError(f"motion masking follows a video, whose grid is time, row, column; got {patches.grid}")
        motion, places = rearrange(guide(patches, "motion"), "b (t p) -> b t p", t=steps), noise.shape[1] // steps
        sides = [max(1, round(self.ratio ** (1 / len(sizes)) * size)) for size in sizes]
        first = lattice(tuple(size - side + 1 for size, side in zip(sizes, sides, strict=True)), noise.device)
        side = constant_like(sides, noise)
        middle = first + (side - 1) / 2  # of each block that lies inside the picture
        apart = (patches.coords[:places, 1:] - middle[:, None]) / side
        away = apart.abs().amax(-1)  # below 1/2 in the block: (blocks, p)
        pull = motion @ (1 - 2 * away).clamp_min(0).mT
        pull = pull / pull.amax((1, 2), keepdim=True).clamp_min(1e-6)
        block = (pull + 1e-4 * further(noise, "block", len(first))[:, None]).argmax(-1)
        nearest = away + 1e-3 * apart.square().sum(-1)
        score = nearest[block] + 1e-5 * noise[:, None, :places]
        return hide_in_steps(patches, rearrange(score, "b t p -> b (t p)"), self.ratio)
