"""Semantic masking: by the classes of a segmentation."""

from __future__ import annotations

import torch

from fusion.masking.guide import guide
from fusion.masking.masking import Masking, Plan, further, hide_lowest, rank
from modalities.records import Patches
from modalities.shapes import Float, Tensor

CLASSES = 256  # of a segmentation of one byte a pixel
PARTS = ((2, 4), (3, 5), (6,), (7, 8, 9), (10,))  # brow and eye, either side; nose; mouth; hair (LaPa)


class Regions(Masking):
    """Keep unimportant classes visible before the parts to be predicted (Fasking of MARLIN, arXiv:2211.06627).

    Each patch, not each place, is of one class of a segmentation. The visible set is filled with patches of `first`,
    then with those of the `parts`, whose order is drawn for each sample, then with what is named nowhere. Chance
    decides within each of these, and the last one is cut off where the count is full.

    first: classes that are shown first. parts: groups of classes. The defaults are those of faces in LaPa (0 is the
    background, 1 skin).
    """

    follows = "regions"

    groups: Tensor

    def __init__(
        self,
        *,
        ratio: float = 0.9,
        first: tuple[int, ...] = (0, 1),
        parts: tuple[tuple[int, ...], ...] = PARTS,
    ):
        super().__init__(ratio)
        named = [*first, *(number for part in parts for number in part)]
        if len(set(named)) < len(named) or not all(0 <= number < CLASSES for number in named):
            raise ValueError(f"first and parts name classes below {CLASSES}, each once, got {first} and {parts}")
        groups = torch.full((CLASSES,), len(parts) + 1)
        groups[list(first)] = 0
        for number, part in enumerate(parts, 1):
            groups[list(part)] = number
        self.parts = len(parts)
        self.register_buffer("groups", groups, persistent=False)

    def plan(self, patches: Patches, noise: Float[Tensor, "b n"]) -> Plan:
        group = self.groups[guide(patches, "regions").long()]
        turn = rank(further(noise, "parts", self.parts)) + 1 if self.parts else group[:, :0]
        turn = torch.cat([torch.zeros_like(turn[:, :1]), turn, torch.full_like(turn[:, :1], self.parts + 1)], 1)
        late = turn.gather(1, group) + noise
        return hide_lowest(patches, -late, self.ratio)
