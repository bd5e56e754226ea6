"""Decoder by cross-attention to the visible tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from torch import nn

from fusion.blocks import EPS, Attention, CrossBlock, attendable, by_layer, record
from fusion.decoders.decoder import Contents, EndedDecoder, States
from fusion.streams import join
from modalities.records import Places, Tokens
from modalities.shapes import Bool, Float, Tensor


class SelfAttention(nn.Module):
    """Attention of a sequence to a normalised copy of itself, added back."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.attention = Attention(width, heads)

    def forward(self, x: Float[Tensor, "b m d"], mask: Bool[Tensor, "b 1 1 m"] | None) -> Float[Tensor, "b m d"]:
        return x + self.attention(self.norm(x), mask)


class Cross(EndedDecoder):
    """Mask queries attend to the visible tokens of all streams, not to each other (CrossMAE, arXiv:2401.14391).

    So its cost falls with the number of places asked for, and what it says of one place does not depend on which others
    are asked for.

    together: the queries of a stream also attend to each other ("cross-self" in DiffMAE, arXiv:2304.03283): what noise
        has left of one hidden patch then helps with the next.
    """

    def __init__(
        self,
        streams: Sequence[str],
        dim: int,
        outputs: Mapping[str, int],
        *,
        together: bool = False,
        **size: Any,
    ):
        super().__init__(streams, dim, outputs, **size)
        width, depth, heads = self.width, self.depth, self.heads
        self.among = nn.ModuleList(SelfAttention(width, heads) for _ in range(depth if together else 0))
        self.blocks = nn.ModuleList(CrossBlock(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=EPS)

    def forward(
        self,
        tokens: Mapping[str, Tokens],
        asked: Mapping[str, Places],
        contents: Contents | None = None,
        states: States | None = None,
    ) -> dict[str, Float[Tensor, "b m outputs"]]:
        context, valid = join({name: self.ends.shown(name, t) for name, t in tokens.items()})
        mask = attendable(valid)
        answers: dict[str, Tensor] = {}
        kept: dict[str, list[Tensor]] = {}
        for name, places in asked.items():
            x = self.ends.query(name, places, contents).x
            others = attendable(places.valid)
            seen = None if states is None else kept.setdefault(name, [])
            record(seen, x)
            for among, block in zip_longest(self.among, self.blocks):
                x = x if among is None else among(x, others)
                x = block(x, context, mask)
                record(seen, x)
            answers[name] = self.ends.answer(name, self.norm(x))
        if states is not None:
            states.extend(by_layer(kept))
        return answers
