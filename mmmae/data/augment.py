"""What happens to a batch on the device, after the uint8 transfer: repetition, then each modality's augmentation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import nn

from modalities.augmentation import Augmentation
from modalities.noise import mix, mix_tensor, signed
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
    """Augments the modalities that have an augmentation and leaves the others alone."""

    def __init__(self, augmentations: Mapping[str, Augmentation]):
        super().__init__()
        self.augmentations = nn.ModuleDict(augmentations)

    def forward(self, batch: Batch) -> Batch:
        changed = {m: augment(batch[m], batch.key) for m, augment in self.augmentations.items() if m in batch}
        return replace(batch, signals=batch.signals | changed)
