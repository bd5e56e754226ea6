"""A stream that is predicted and never shown."""

from __future__ import annotations

from fusion.masking.masking import Masking, Plan
from modalities.records import Patches
from modalities.shapes import Float, Tensor


class Target(Masking):
    """Hide and predict every patch: a target-only stream (depth or segmentation in MultiMAE, arXiv:2204.01678).

    To the encoder such a stream is as absent as one that no sample has, also where nothing is masked
    (`MaskedAutoencoder.encode`); decoders predict it from the others.
    """

    def __init__(self):
        super().__init__(1.0)

    def plan(self, patches: Patches, noise: Float[Tensor, "b n"]) -> Plan:
        n = noise.shape[1]
        return Plan.of(noise >= 0, 0, n, patches.valid)
