"""A trunk of its own for every stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from fusion.blocks import Stack
from fusion.trunks.trunk import States, TransformerTrunk, stacked
from modalities.records import Tokens
from modalities.shapes import Int, Tensor


class Separate(TransformerTrunk):
    """Encode every stream with its own weights; with one stream this is VideoMAE's encoder (arXiv:2203.12602).

    within: for some streams, an axis of their coordinates: a token attends only to those that share its place on it. So
        each channel of a recording is a sequence of its own, read by the same weights (PatchTST, arXiv:2211.14730).
    norm: whether a last norm follows the blocks; VideoMAE takes it away where it averages the tokens to classify them.
    """

    mixes = ties_streams = False

    def __init__(self, streams: Sequence[str], *, within: dict[str, int] | None = None, norm: bool = True, **size: int):
        super().__init__(**size)
        self.within = dict(within or {})
        self.stacks = nn.ModuleDict({name: Stack(self.width, self.depth, self.heads, norm=norm) for name in streams})

    def forward(self, tokens: Mapping[str, Tokens], states: States | None = None) -> dict[str, Tokens]:
        return stacked(lambda name, t, kept: self.stacks[name](t.x, t.valid, self.group(name, t), kept), tokens, states)

    def group(self, name: str, tokens: Tokens) -> Int[Tensor, "b k"] | None:
        """Tokens of equal number attend to each other; None means that all do."""
        return tokens.coords[..., self.within[name]] if name in self.within else None
