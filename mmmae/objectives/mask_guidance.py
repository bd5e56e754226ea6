"""Contrastive training of the encoders that guide a masking."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from mmmae.objectives.contrastive import infonce
from mmmae.objectives.objective import Encoded, Objective, Parts
from mmmae.parallel.reduce import compared
from modalities.records import Patches
from modalities.shapes import Bool, Float, Tensor
from modalities.tokenizer import Tokenizer


class MaskGuidance(Objective):
    """Contrast the streams that a masking compares (`text_guided` with a scorer of its own), clip by clip.

    InfoNCE among all samples of all processes; nothing but the masking learns from it.

    Args:
        temperature: of the contrast. weight: of this objective in the total.
    """

    trains_masking = True
    ties_streams = False
    compares = True
    schedulable = (*Objective.schedulable, "temperature")

    def __init__(
        self, tokenizers: Mapping[str, Tokenizer], dim: int, *, temperature: float = 0.07, weight: float = 1.0
    ):
        super().__init__(weight)
        if temperature <= 0:
            raise ValueError(f"a temperature is above 0, got {temperature}")
        self.temperature = temperature

    @classmethod
    def applicable(cls, tokenizers: Mapping[str, Tokenizer]) -> bool:
        return len(tokenizers) > 1

    def forward(self, encoded: Encoded) -> dict[str, Float[Tensor, ""]]:
        wholes = {name: plan.stream_vector for name, plan in encoded.plans.items() if plan.stream_vector is not None}
        if len(wholes) < 2:
            return {}  # a batch of too few streams
        (a, whole), (b, guide) = wholes.items()
        with torch.autocast(encoded.batch.key.device.type, enabled=False):
            both = there(encoded.patches[a]) & there(encoded.patches[b])
            parts = Parts()
            parts.put(f"{a}-{b}", infonce(whole, guide, both, 1 / self.temperature), compared(both))
            return parts


def there(patches: Patches) -> Bool[Tensor, " b"]:
    """Which samples have the stream."""
    if patches.valid is None:
        return torch.ones_like(patches.duration, dtype=torch.bool)
    return patches.valid.any(1)
