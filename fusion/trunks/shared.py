"""Shared trunk: one set of weights for all streams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from fusion.blocks import Stack
from fusion.streams import StreamEmbedding
from fusion.trunks.trunk import Trunk
from modalities.records import Tokens


class Shared(Trunk):
    """Run one modality-agnostic encoder over each stream in turn (VATT, arXiv:2104.11178)."""

    mixes = False

    def __init__(self, streams: Sequence[str], *, width: int = 768, depth: int = 12, heads: int = 12):
        super().__init__(width, depth)
        self.embedding = StreamEmbedding(streams, width)
        self.stack = Stack(width, depth, heads)

    def forward(self, tokens: Mapping[str, Tokens]) -> dict[str, Tokens]:
        return {name: replace(t, x=self.stack(t.x + self.embedding(name, t), t.valid)) for name, t in tokens.items()}
