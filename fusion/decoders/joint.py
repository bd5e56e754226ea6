"""Decoder of all streams in one sequence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fusion.blocks import Stack
from fusion.decoders.decoder import Contents, Decoder, Ends
from fusion.streams import join, part
from modalities.positions import Kind
from modalities.records import Places, Tokens
from modalities.shapes import Float, Tensor


class Joint(Decoder):
    """Self-attention over visible and mask tokens of all streams (VideoMAE, arXiv:2203.12602)."""

    def __init__(
        self,
        streams: Sequence[str],
        dim: int,
        outputs: Mapping[str, int],
        *,
        width: int = 384,
        depth: int = 4,
        heads: int = 6,
        positions: Kind = "grid",
    ):
        super().__init__()
        self.width = width
        self.ends = Ends(streams, dim, outputs, width=width, positions=positions)
        self.stack = Stack(width, depth, heads)

    def forward(
        self, tokens: Mapping[str, Tokens], asked: Mapping[str, Places], contents: Contents | None = None
    ) -> dict[str, Float[Tensor, "b m outputs"]]:
        shown = {("shown", name): self.ends.shown(name, t) for name, t in tokens.items()}
        queries = {("asked", name): self.ends.query(name, places, contents) for name, places in asked.items()}
        everything = shown | queries
        x, valid = join(everything)
        answers = part(self.stack(x, valid), everything)
        return {name: self.ends.answer(name, answers["asked", name].x) for name in asked}
