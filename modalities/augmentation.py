"""Augmentation changes a signal on the device, by what each sample's key draws."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import nn

from modalities.records import Signal
from modalities.shapes import Int, Tensor


class Augmentation(nn.Module, ABC):
    """Augments one modality; `modalities/NAME/augmentation.py` holds what `augment: {NAME: ...}` in a recipe means."""

    @abstractmethod
    def forward(self, signal: Signal, key: Int[Tensor, " b"]) -> Signal:
        """The signal changed as each sample's key says; the same key gives the same change."""
