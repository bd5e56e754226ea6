"""Several streams in one sequence: stream embeddings, concatenation and splitting."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import torch
from torch import nn

from fusion.blocks import learned_token
from modalities.records import Places, Tokens
from modalities.shapes import Bool, Float, Tensor

Key = TypeVar("Key", bound=Hashable)
TICKS = 64  # columns of the clock that all modalities share
RATES = torch.logspace(-1, 1, TICKS // 2)  # cycles per second: from ten seconds down to a tenth


class StreamEmbedding(nn.Module):
    """Embeddings of a token's stream and of its time on the clock that all streams share, added to the token.

    With one stream there is nothing to tell apart: nothing is added and there are no parameters.
    """

    rates: Tensor

    def __init__(self, streams: Sequence[str], width: int):
        super().__init__()
        many = len(streams) > 1
        self.kinds = nn.ParameterDict({name: learned_token(width) for name in streams} if many else {})
        self.clock = learned_token(width, TICKS) if many else None  # begins small: first of all a token is its contents
        self.register_buffer("rates", RATES.clone(), persistent=False)

    def forward(self, name: str, places: Places | Tokens) -> Float[Tensor, "b k d"] | float:
        if self.clock is None:
            return 0.0
        angle = 2 * torch.pi * places.time[..., None] * self.rates
        return self.kinds[name] + torch.cat([angle.sin(), angle.cos()], -1) @ self.clock


def join_valid(parts: Sequence[Places | Tokens]) -> Bool[Tensor, "b k"] | None:
    """Validity of streams laid end to end; None when everything in all of them is valid."""
    if all(part.valid is None for part in parts):
        return None
    filled = [torch.ones_like(p.time, dtype=torch.bool) if p.valid is None else p.valid for p in parts]
    return torch.cat(filled, 1)


def join(tokens: Mapping[Key, Tokens]) -> tuple[Float[Tensor, "b k d"], Bool[Tensor, "b k"] | None]:
    """All streams end to end, in the mapping's order."""
    parts = list(tokens.values())
    return torch.cat([part.x for part in parts], 1), join_valid(parts)


def part(x: Float[Tensor, "b k d"], tokens: Mapping[Key, Tokens]) -> dict[Key, Tokens]:
    """The inverse of `join`: the same tokens with new contents."""
    pieces = x.split([t.x.shape[1] for t in tokens.values()], dim=1)
    return {name: replace(t, x=piece) for (name, t), piece in zip(tokens.items(), pieces, strict=True)}
