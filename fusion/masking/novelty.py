"""Similarity-based masking: the patches most similar to their predecessors."""

from __future__ import annotations

from torch.nn.functional import cosine_similarity, pad

from fusion.masking.masking import Masking, Plan, hide_lowest
from modalities.records import Patches
from modalities.shapes import Float, Tensor


class Novelty(Masking):
    """Show the patches least like their predecessor, hide those that repeat it (LV-MAE, arXiv:2504.03501).

    The predecessor lies at the same place one step earlier; the first step has none and is new. Among equals, chance.
    """

    def __init__(self, *, ratio: float = 0.5):
        super().__init__(ratio)

    def plan(self, patches: Patches, noise: Float[Tensor, "b n"]) -> Plan:
        return hide_lowest(patches, 1e-6 * noise - self.likeness(patches), self.ratio)

    @staticmethod
    def likeness(patches: Patches) -> Float[Tensor, "b n"]:
        """Cosine of the angle between each patch and its predecessor; -2, less than any, in the first step."""
        values, step = patches.values.float(), patches.coords.shape[0] // patches.grid[0]
        return pad(cosine_similarity(values[:, step:], values[:, :-step], dim=-1), (step, 0), value=-2.0)
