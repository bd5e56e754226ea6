"""Trunk with early fusion: all streams in one sequence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from fusion.blocks import Stack
from fusion.streams import StreamEmbedding, join, part
from fusion.trunks.trunk import Trunk
from modalities.records import Tokens


class Joint(Trunk):
    """Encode the concatenated tokens of all streams (MultiMAE, arXiv:2204.01678; AV-MAE's early fusion)."""

    def __init__(self, streams: Sequence[str], *, width: int = 768, depth: int = 12, heads: int = 12):
        super().__init__(width, depth)
        self.embedding = StreamEmbedding(streams, width)
        self.stack = Stack(width, depth, heads)

    def forward(self, tokens: Mapping[str, Tokens]) -> dict[str, Tokens]:
        tokens = {name: replace(t, x=t.x + self.embedding(name, t)) for name, t in tokens.items()}
        x, valid = join(tokens)
        return part(self.stack(x, valid), tokens)
