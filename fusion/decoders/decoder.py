"""Base classes of decoders, with the input and output layers that they share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from fusion.blocks import chosen, learned_token
from fusion.streams import StreamEmbedding
from modalities.positions import Kind, Positions
from modalities.records import Places, Tokens
from modalities.shapes import Float, Tensor

Contents = Mapping[str, Float[Tensor, "b _ width"]]
"""What is known beforehand of places that a decoder is asked for, by stream."""

States = list[dict[str, Tensor]]
"""The queries of every stream, (b, m, width), before the first layer and after each one, by stream."""


class Decoder(nn.Module, ABC):
    """Predicts the contents of target places from the visible tokens.

    Constructed with the streams that it may be shown, the width `dim` of their tokens, and how many numbers to predict
    for a patch of each stream that it may be asked for.

    width: of its queries. depth: how many layers they pass.
    mixes: whether what it says of one stream may depend on another.
    ties_streams: whether streams have anything in common in it, tokens or weights.
    """

    width: int
    depth: int
    mixes: bool = True
    ties_streams: bool = True

    @abstractmethod
    def forward(
        self,
        tokens: Mapping[str, Tokens],
        asked: Mapping[str, Places],
        contents: Contents | None = None,
        states: States | None = None,
    ) -> dict[str, Float[Tensor, "b m outputs"]]:
        """A prediction for every place of every stream asked for.

        contents: what their queries carry besides their places; nothing by default.
        states: gets the queries as they enter the first of `depth` layers, then as they leave each one, before any
            final norm. The result does not depend on whether it is given. A decoder may do without this argument; then
            its layers cannot be read.
        """

    def decode(
        self, tokens: Mapping[str, Tokens], asked: Mapping[str, Places], layers: Sequence[int]
    ) -> dict[int, dict[str, Float[Tensor, "b m width"]]]:
        """The queries after chosen layers, in one pass: 0 is what enters the first, `depth` what leaves the last.

        Raises:
            ValueError: there is no layer of that number.
        """
        states: States = []
        self(tokens, asked, None, states)
        return chosen(states, layers, self.depth)


class TransformerDecoder(Decoder):
    """A decoder made of transformer layers: the settings that all of these share."""

    def __init__(self, *, width: int = 384, depth: int = 4, heads: int = 6, positions: Kind = "grid"):
        super().__init__()
        self.width, self.depth, self.heads = width, depth, heads
        self.positions: Kind = positions


class Ends(nn.Module):
    """What comes before and after a decoder's layers: projection, mask token, positions, heads."""

    def __init__(self, streams: Sequence[str], dim: int, outputs: Mapping[str, int], *, width: int, positions: Kind):
        super().__init__()
        self.project = nn.Linear(dim, width, bias=False)
        self.mask = learned_token(width)
        self.positions = Positions(width, positions)
        self.embedding = StreamEmbedding(streams, width)
        self.heads = nn.ModuleDict({name: nn.Linear(width, count) for name, count in outputs.items()})

    def shown(self, name: str, tokens: Tokens) -> Tokens:
        """Visible tokens at the decoder's width, told their places again."""
        return Tokens.at(tokens, self.project(tokens.x) + self.positions(tokens) + self.embedding(name, tokens))

    def query(self, name: str, places: Places, contents: Contents | None = None) -> Tokens:
        """Mask tokens at the places asked for, carrying what is known of them."""
        query = self.mask + self.positions(places) + self.embedding(name, places)
        return Tokens.at(places, query if contents is None else query + contents[name])

    def answer(self, name: str, x: Float[Tensor, "b m d"]) -> Float[Tensor, "b m outputs"]:
        return self.heads[name](x)


class EndedDecoder(TransformerDecoder):
    """A transformer decoder whose layers stand between one pair of ends, which all of its streams share."""

    def __init__(self, streams: Sequence[str], dim: int, outputs: Mapping[str, int], **size: Any):
        super().__init__(**size)
        self.ends = Ends(streams, dim, outputs, width=self.width, positions=self.positions)


MakeDecoder = Callable[[Sequence[str], int, Mapping[str, int]], Decoder]
"""A decoder with its settings decided, waiting for streams, width of tokens and outputs."""
