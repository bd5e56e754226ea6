"""What happens to a batch on the device, after the uint8 transfer: repetition, then each modality's augmentation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import nn

from mmmae.streams import Change
from modalities.augmentation import Augmentation
from modalities.noise import apart, mix, mix_tensor, signed
from modalities.records import Batch


def repeat_key(key: int, number: int) -> int:
    """The key of a sample's repetition; the first keeps its own."""
    return key if number == 0 else signed(mix(key + number))


def repeat(batch: Batch, times: int) -> Batch:
    """Every sample `times` times in a row under keys of their own: crops and masks differ (arXiv:1901.09335)."""
    if times == 1:
        return batch
    number = torch.arange(times, device=batch.key.device)
    key = batch.key[:, None] + number
    key = torch.where(number == 0, key, mix_tensor(key)).flatten()
    repeated = batch.map(lambda x: x.repeat_interleave(times, dim=0))
    return replace(repeated, key=key, ids=[name for name in batch.ids for _ in range(times)])


class Augment(nn.Module):
    """Augments the streams that have an augmentation, in their order, and leaves the others alone.

    changes: what else is said of each. Outside of training (`eval()`) only those that say `always` are augmented.
    """

    def __init__(self, augmentations: Mapping[str, Augmentation], changes: Mapping[str, Change] | None = None):
        super().__init__()
        self.augmentations = nn.ModuleDict(augmentations)
        self.changes = {name: (changes or {}).get(name, Change()) for name in augmentations}

    def forward(self, batch: Batch) -> Batch:
        signals = dict(batch.signals)
        for name, augment in self.augmentations.items():
            change = self.changes[name]
            if name in signals and (self.training or change.always):
                signal = signals.get(change.after or name, signals[name])
                signals[name] = augment(signal, batch.key if change.draw is None else apart(batch.key, change.draw))
        return replace(batch, signals=signals)
