"""A trunk of its own for every stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import nn

from fusion.blocks import Stack
from fusion.trunks.trunk import Trunk
from modalities.records import Tokens


class Separate(Trunk):
    """Encode every stream with its own weights; with one stream this is VideoMAE's encoder (arXiv:2203.12602)."""

    mixes = False

    def __init__(self, streams: Sequence[str], *, width: int = 768, depth: int = 12, heads: int = 12):
        super().__init__(width, depth)
        self.stacks = nn.ModuleDict({name: Stack(width, depth, heads) for name in streams})

    def forward(self, tokens: Mapping[str, Tokens]) -> dict[str, Tokens]:
        return {name: replace(t, x=self.stacks[name](t.x, t.valid)) for name, t in tokens.items()}
