"""Separate trunks, one for every stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import nn

from fusion.blocks import Stack
from fusion.trunks.trunk import Trunk
from modalities.records import Tokens
from modalities.shapes import Int, Tensor


class Separate(Trunk):
    """Encode every stream with its own weights; with one stream this is VideoMAE's encoder (arXiv:2203.12602).

    within: for some streams, an axis of their coordinates: a token attends only to those that share its place on it. So
        each channel of a recording is a sequence of its own, read by the same weights (PatchTST, arXiv:2211.14730).
    norm: whether a last norm follows the blocks; VideoMAE takes it away where it averages the tokens to classify them.
    """

    mixes = ties_streams = False

    def __init__(
        self,
        streams: Sequence[str],
        *,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        within: dict[str, int] | None = None,
        norm: bool = True,
    ):
        super().__init__(width, depth)
        self.within = dict(within or {})
        self.stacks = nn.ModuleDict({name: Stack(width, depth, heads, norm=norm) for name in streams})

    def forward(self, tokens: Mapping[str, Tokens]) -> dict[str, Tokens]:
        return {name: replace(t, x=self.stacks[name](t.x, t.valid, self.group(name, t))) for name, t in tokens.items()}

    def group(self, name: str, tokens: Tokens) -> Int[Tensor, "b k"] | None:
        """Tokens of equal number attend to each other; None means that all do."""
        return tokens.coords[..., self.within[name]] if name in self.within else None
