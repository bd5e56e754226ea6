"""Decoder of one stream by cross-attention to the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from fusion.blocks import EPS, MLP, Attention, CrossAttention, Layer, attendable, by_layer, record
from fusion.decoders.decoder import Contents, EndedDecoder, States
from fusion.streams import join
from modalities.records import Places, Tokens
from modalities.shapes import Bool, Float, Tensor


class CrossSelfBlock(Layer):
    """Attention to a context, MLP, then attention to each other; normalised after each (post-norm)."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.cross = CrossAttention(width, heads)
        self.norm1 = nn.LayerNorm(width, eps=EPS)
        self.mlp = MLP(width, ratio=8)  # 2048 at the papers' width of 256
        self.norm2 = nn.LayerNorm(width, eps=EPS)
        self.attention = Attention(width, heads)
        self.norm3 = nn.LayerNorm(width, eps=EPS)

    def forward(
        self,
        x: Float[Tensor, "b n d"],
        context: Float[Tensor, "b k d"],
        mask: Bool[Tensor, "b 1 1 n"] | None,
        context_mask: Bool[Tensor, "b 1 1 k"] | None,
        there: Float[Tensor, "b 1 1"],
    ) -> Float[Tensor, "b n d"]:
        x = self.norm1(x + there * self.cross(x, context, context_mask))
        x = self.norm2(x + self.mlp(x))
        return self.norm3(x + self.attention(x, mask))


class CrossSelf(EndedDecoder):
    """A stream's visible tokens and mask tokens attend to all other streams, then to each other.

    What is known of the past is thus carried into the future (SiamMAE, arXiv:2305.14344, its decoder "cross-self"), or
    from the whole picture into a part of it (CropMAE, 2403.17823). A sample without any other stream is predicted from
    its own visible tokens alone.
    """

    def __init__(
        self,
        streams: Sequence[str],
        dim: int,
        outputs: Mapping[str, int],
        *,
        width: int = 256,
        heads: int = 8,
        **size: Any,
    ):
        super().__init__(streams, dim, outputs, width=width, heads=heads, **size)
        self.blocks = nn.ModuleList(CrossSelfBlock(width, heads) for _ in range(self.depth))

    def forward(
        self,
        tokens: Mapping[str, Tokens],
        asked: Mapping[str, Places],
        contents: Contents | None = None,
        states: States | None = None,
    ) -> dict[str, Float[Tensor, "b m outputs"]]:
        shown = {name: self.ends.shown(name, t) for name, t in tokens.items()}
        answers: dict[str, Tensor] = {}
        kept: dict[str, list[Tensor]] = {}
        for name, places in asked.items():
            query = self.ends.query(name, places, contents)
            x, valid = join({"shown": shown[name], "asked": query} if name in shown else {"asked": query})
            context, seen = others(shown, name, query.x)
            there = torch.ones_like(x[:, :1, :1]) if seen is None else seen.any(1)[:, None, None].to(x.dtype)
            masks = attendable(valid), attendable(seen)
            first = x.shape[1] - query.x.shape[1]
            layers = None if states is None else kept.setdefault(name, [])
            record(layers, x[:, first:])
            for block in self.blocks:
                x = block(x, context, *masks, there)
                record(layers, x[:, first:])
            answers[name] = self.ends.answer(name, x[:, first:])
        if states is not None:
            states.extend(by_layer(kept))
        return answers


def others(
    shown: Mapping[str, Tokens], name: str, query: Float[Tensor, "b m d"]
) -> tuple[Float[Tensor, "b k d"], Bool[Tensor, "b k"] | None]:
    """The tokens of all streams but one, and which are real; where there is no other stream, one that is not."""
    rest = {other: tokens for other, tokens in shown.items() if other != name}
    if rest:
        return join(rest)
    b, _, d = query.shape
    return query.new_zeros(b, 1, d), torch.zeros(b, 1, dtype=torch.bool, device=query.device)
