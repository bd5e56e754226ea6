"""Frequency masking: whole bands."""

from __future__ import annotations

from fusion.masking.masking import Masking, Plan, hide_slices
from modalities.records import Patches
from modalities.shapes import Float, Tensor


class Frequency(Masking):
    """Hide the same frequency bands at all times (AudioMAE, arXiv:2207.06405).

    span: neighbouring bands that are hidden together.
    """

    def __init__(self, *, ratio: float = 0.5, span: int = 1):
        super().__init__(ratio)
        if span < 1:
            raise ValueError(f"a span has at least one band, got {span}")
        self.span = span

    def plan(self, patches: Patches, noise: Float[Tensor, "b n"]) -> Plan:
        return hide_slices(patches, noise, self.ratio, axes=(len(patches.grid) - 1,), run=self.span)
