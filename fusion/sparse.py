"""A stack of layers that drops the least attended tokens between layers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import cast

from fusion.blocks import Block, Stack, attendable, record
from fusion.masking.masking import filled, rank, share
from modalities.records import Places, Tokens, take
from modalities.shapes import Bool, Int, Tensor


class SparseStack(Stack):
    """A Stack that in training goes on with those of its tokens that are attended to most.

    The choice follows the attention of the layer it comes after (EViT, arXiv:2202.07800, which asks its class token;
    here all tokens have a say) and is made over space and time at once (SMAUG, 2211.11446). No gradient passes through
    the choice, all of it through the survivors. In evaluation every token stays.

    keep: share of its tokens with which a sample goes on, at least one, each time; 1 drops nothing.
    drops: how often tokens are dropped: after so many layers at equal distances, the last of them included.
    """

    def __init__(self, width: int, depth: int, heads: int, *, keep: float = 1.0, drops: int = 3, norm: bool = True):
        super().__init__(width, depth, heads, norm=norm)
        if not 0 < keep <= 1:
            raise ValueError(f"keep is the share of the tokens that stay, in (0, 1], got {keep}")
        if drops < 1:
            raise ValueError(f"drops counts from 1, got {drops}; to drop nothing set keep=1")
        self.keep = keep
        self.after = {depth * (i + 1) // drops - 1 for i in range(drops)}  # layers, from 0; -1 is none

    def sift(self, tokens: Tokens, states: list[Tokens] | None = None) -> Tokens:
        """Encode: the tokens that are left, with their places, in the order they came in.

        states: gets what enters the first layer and what goes on after each one.
        """
        dropping = self.training and self.keep < 1
        record(states, tokens)
        for number, block in enumerate(cast("Iterable[Block]", self.blocks)):
            x = block(tokens.x, attendable(tokens.valid))
            if dropping and number in self.after:
                received = block.attention.received(block.norm1(tokens.x), tokens.valid)
                tokens = survivors(replace(tokens, x=x), *most(received, tokens.valid, self.keep))
            else:
                tokens = replace(tokens, x=x)
            record(states, tokens)
        return replace(tokens, x=self.norm(tokens.x))


def most(
    score: Tensor, valid: Bool[Tensor, "b k"] | None, keep: float
) -> tuple[Int[Tensor, "b s"], Bool[Tensor, "b s"] | None]:
    """Indices of the int(keep * k) best, ascending, and which slots are filled; counted for each sample if ragged."""
    slots = max(1, int(keep * score.shape[1]))
    if valid is None:
        return filled(rank(-score) < slots, slots)[0], None
    count = share(keep, valid.sum(1)).clamp_min(1)[:, None]
    return filled((rank(-score, valid) < count) & valid, slots)


def survivors(tokens: Tokens, index: Int[Tensor, "b s"], valid: Bool[Tensor, "b s"] | None) -> Tokens:
    """The tokens at `index` with their places."""
    places = Places(take(tokens.coords, index), take(tokens.time, index), valid, tokens.grid)
    return Tokens.at(places, take(tokens.x, index))
