"""Time masking: whole time steps."""

from __future__ import annotations

from fusion.masking.masking import Masking, Plan, hide_slices
from modalities.records import Patches
from modalities.shapes import Float, Tensor


class Time(Masking):
    """Hide whole time steps: all places, bands or sensors of them (AudioMAE, arXiv:2207.06405).

    span: time steps in a row that are hidden together.
    """

    def __init__(self, *, ratio: float = 0.75, span: int = 1):
        super().__init__(ratio)
        if span < 1:
            raise ValueError(f"a span lasts at least one time step, got {span}")
        self.span = span

    def plan(self, patches: Patches, noise: Float[Tensor, "b n"]) -> Plan:
        return hide_slices(patches, noise, self.ratio, axes=(0,), run=self.span)
