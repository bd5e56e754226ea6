"""Trunk with fusion through a few bottleneck tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import nn

from fusion.blocks import EPS, Block, Stack, at_level, attendable, learned_token, record
from fusion.streams import StreamEmbedding
from fusion.trunks.trunk import States, TransformerTrunk, stacked
from modalities.records import Tokens


class Bottleneck(TransformerTrunk):
    """Let streams exchange information only through fusion tokens in the last layers (MBT, arXiv:2107.00135).

    depth: layers of each stream; in the last `fusion_depth` of them a stream also attends to `tokens` fusion tokens,
        which are averaged over the streams that a sample has after every layer.
    """

    def __init__(self, streams: Sequence[str], *, fusion_depth: int = 4, tokens: int = 4, **size: int):
        super().__init__(**size)
        width, depth, heads = self.width, self.depth, self.heads
        if not 0 < fusion_depth <= depth:
            raise ValueError(f"fusion_depth lies between 1 and depth = {depth}, got {fusion_depth}")
        if tokens < 1:
            raise ValueError(f"there must be at least one fusion token, got {tokens}")
        lower = depth - fusion_depth
        self.embedding = StreamEmbedding(streams, width)
        self.stacks = nn.ModuleDict({name: Stack(width, lower, heads, norm=False) for name in streams})
        self.layers = nn.ModuleList(
            at_level(nn.ModuleDict({name: Block(width, heads) for name in streams}), lower + i + 1)
            for i in range(fusion_depth)
        )
        self.norms = nn.ModuleDict({name: at_level(nn.LayerNorm(width, eps=EPS), depth) for name in streams})
        many = len(streams) > 1  # one stream has nobody to speak to
        self.fusion = learned_token(width, tokens) if many else None

    def forward(self, tokens: Mapping[str, Tokens], states: States | None = None) -> dict[str, Tokens]:
        tokens = {name: replace(t, x=t.x + self.embedding(name, t)) for name, t in tokens.items()}
        below = stacked(lambda name, t, kept: self.stacks[name](t.x, t.valid, states=kept), tokens, states)
        x = {name: t.x for name, t in below.items()}
        count = 0 if self.fusion is None else len(self.fusion)
        first = next(iter(x.values()))
        fusion = first.new_zeros(first.shape[0], 0, self.width)
        if self.fusion is not None:
            fusion = self.fusion.to(first.dtype).expand(first.shape[0], -1, -1)
        masks = {name: self.mask(t, count) for name, t in tokens.items()}
        there = torch.stack([t.present() for t in tokens.values()], 1).to(fusion.dtype)  # (b, streams)
        weight = there / there.sum(1, keepdim=True).clamp_min(1)
        for layer in cast("Iterable[nn.ModuleDict]", self.layers):
            said = {name: layer[name](torch.cat([fusion, x[name]], 1), masks[name]) for name in x}
            x = {name: y[:, count:] for name, y in said.items()}
            heard = torch.stack([y[:, :count] for y in said.values()], 1)  # (b, streams, count, width)
            fusion = (heard * weight[:, :, None, None]).sum(1)
            record(states, {name: replace(t, x=x[name]) for name, t in tokens.items()})
        return {name: replace(t, x=self.norms[name](x[name])) for name, t in tokens.items()}

    @staticmethod
    def mask(tokens: Tokens, count: int):
        """The fusion tokens are always there; a stream's tokens where they are valid."""
        if tokens.valid is None:
            return None
        return attendable(nn.functional.pad(tokens.valid, (count, 0), value=True))
