"""Decode by asking the visible tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from fusion.blocks import EPS, CrossBlock, attendable
from fusion.decoders.decoder import Decoder, Ends
from fusion.streams import join
from modalities.positions import Kind
from modalities.records import Places, Tokens
from modalities.shapes import Float, Tensor


class Cross(Decoder):
    """Mask queries attend to the visible tokens of all streams and never to each other (CrossMAE, arXiv:2401.14391).

    So its cost falls with the number of places asked for, and what it says of one place does not depend on which others
    are asked for.
    """

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
        self.ends = Ends(streams, dim, outputs, width=width, positions=positions)
        self.blocks = nn.ModuleList(CrossBlock(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=EPS)

    def forward(
        self, tokens: Mapping[str, Tokens], asked: Mapping[str, Places]
    ) -> dict[str, Float[Tensor, "b m outputs"]]:
        context, valid = join({name: self.ends.shown(name, t) for name, t in tokens.items()})
        mask = attendable(valid)
        answers = {}
        for name, places in asked.items():
            x = self.ends.query(name, places).x
            for block in self.blocks:
                x = block(x, context, mask)
            answers[name] = self.ends.answer(name, self.norm(x))
        return answers
