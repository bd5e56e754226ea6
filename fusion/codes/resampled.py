"""A fixed number of tokens in place of any number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from fusion.blocks import EPS, CrossBlock, attendable, learned_token
from fusion.codes.codes import Codes, Term
from fusion.masking import Noise
from modalities.records import Tokens
from modalities.shapes import Float, Tensor


class Resampled(Codes):
    """Learned queries of each stream attend to its tokens (the perceiver resampler of Flamingo, arXiv:2204.14198).

    A decoder then gets `tokens` tokens of each stream that a sample has, however many patches are visible. Their places
    are their own: they are numbered along the first axis, and their times are spread evenly over those of the tokens.

    Args:
        tokens: how many come out of each stream. depth: layers. heads: of each; they divide the width of the tokens.
    """

    def __init__(self, streams: Sequence[str], dim: int, *, tokens: int = 64, depth: int = 2, heads: int = 4):
        super().__init__()
        if tokens < 1 or depth < 1:
            raise ValueError(f"tokens and depth count from 1, got {tokens} and {depth}")
        self.tokens = tokens
        self.queries = nn.ParameterDict({name: learned_token(dim, tokens) for name in streams})
        self.blocks = nn.ModuleList(CrossBlock(dim, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=EPS)

    def forward(self, tokens: Mapping[str, Tokens], noise: Noise) -> tuple[dict[str, Tokens], dict[str, Term]]:
        return {name: self.resample(name, t) for name, t in tokens.items()}, {}

    def resample(self, name: str, tokens: Tokens) -> Tokens:
        """One stream's tokens at places of their own."""
        x, mask = self.queries[name].to(tokens.x.dtype).expand(len(tokens.x), -1, -1), attendable(tokens.valid)
        for block in self.blocks:
            x = block(x, tokens.x, mask)
        number = torch.arange(self.tokens, device=x.device)
        coords = torch.zeros(*x.shape[:2], len(tokens.grid), dtype=torch.long, device=x.device)
        coords[..., 0] = number
        valid = None if tokens.valid is None else tokens.present()[:, None].expand(x.shape[:2])
        grid = (self.tokens, *[1] * (len(tokens.grid) - 1))
        return Tokens(self.norm(x), coords, spread(tokens, self.tokens), valid, grid)


def spread(tokens: Tokens, count: int) -> Float[Tensor, "b count"]:
    """Times from the first to the last valid token's, at equal distances; zero where a sample has none."""
    if tokens.time.shape[1] == 0:
        return tokens.time.new_zeros(len(tokens.time), count)
    first = last = tokens.time
    if tokens.valid is not None:
        first, last = (tokens.time.masked_fill(~tokens.valid, end) for end in (torch.inf, -torch.inf))
    low, high = first.amin(1, keepdim=True), last.amax(1, keepdim=True)
    share = (torch.arange(count, device=low.device) + 0.5) / count
    return torch.where(tokens.present()[:, None], low + (high - low) * share, 0.0)
