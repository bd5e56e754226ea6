"""Independent masking of each modality."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from torch import nn

from fusion.masking.masking import JointMasking, Masking, Noise, Plan
from modalities.records import Patches


class Independent(JointMasking):
    """A masking of its own for every stream; what a recipe's `masking: {video: ..., audio: ...}` makes."""

    def __init__(self, *, maskings: Mapping[str, Masking]):
        super().__init__()
        self.maskings = cast("Mapping[str, Masking]", nn.ModuleDict(maskings))

    @property
    def target_only(self) -> frozenset[str]:
        return frozenset(name for name, masking in self.maskings.items() if masking.target_only)

    def plan(self, streams: Mapping[str, Patches], noise: Noise) -> dict[str, Plan]:
        return {
            name: self.maskings[name].plan(patches, noise(f"mask/{name}", patches.time.shape[1]))
            for name, patches in streams.items()
        }
