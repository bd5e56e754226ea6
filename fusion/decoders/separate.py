"""Separate decoders, one for every stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from torch import nn

from fusion.decoders.joint import Joint
from fusion.decoders.per_stream import PerStream


class Separate(PerStream):
    """Decode every stream from its own visible tokens with its own layers (AV-MAE's "separate", arXiv:2212.05922)."""

    ties_streams = False

    def __init__(self, streams: Sequence[str], dim: int, outputs: Mapping[str, int], **size: Any):
        super().__init__(**size)
        own = {name: Joint([name], dim, {name: count}, **size) for name, count in outputs.items()}
        self.decoders = nn.ModuleDict(own)

    def decoder_of(self, name: str) -> Joint:
        return cast("Joint", self.decoders[name])
