"""Data augmentation on the device, with randomness from each sample's key."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import nn

from modalities.records import Signal
from modalities.shapes import Int, Tensor


class Augmentation(nn.Module, ABC):
    """Augments one modality; `modalities/NAME/augmentation.py` holds what `augment: {NAME: ...}` in a recipe means."""

    @abstractmethod
    def forward(self, signal: Signal, key: Int[Tensor, " b"]) -> Signal:
        """The augmented signal; the same key gives the same augmentation."""
