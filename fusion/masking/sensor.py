"""Sensor masking: whole sensors of an IMU."""

from __future__ import annotations

from fusion.masking.masking import Masking, Plan, hide_slices
from modalities.records import Patches
from modalities.shapes import Float, Tensor


class Sensor(Masking):
    """Hide whole sensors of an IMU for the whole window; at least one of those present stays visible.

    The share counts the sensors that a sample has: a missing one is neither visible nor hidden.
    """

    def __init__(self, *, ratio: float = 0.5):
        super().__init__(ratio)

    def plan(self, patches: Patches, noise: Float[Tensor, "b n"]) -> Plan:
        return hide_slices(patches, noise, self.ratio, axes=(len(patches.grid) - 1,))
