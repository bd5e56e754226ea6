"""Base class of decoders, with the input and output layers that they share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

from torch import nn

from fusion.blocks import learned_token
from fusion.streams import StreamEmbedding
from modalities.positions import Kind, Positions
from modalities.records import Places, Tokens
from modalities.shapes import Float, Tensor

Contents = Mapping[str, Float[Tensor, "b _ width"]]
"""What is known beforehand of places that a decoder is asked for, by stream."""


class Decoder(nn.Module, ABC):
    """Predicts the contents of target places from the visible tokens.

    Constructed with the streams that it may be shown, the width `dim` of their tokens, and how many numbers to predict
    for a patch of each stream that it may be asked for.

    width: of its queries.
    mixes: whether what it says of one stream may depend on another.
    ties_streams: whether streams have anything in common in it, tokens or weights.
    """

    width: int
    mixes: bool = True
    ties_streams: bool = True

    @abstractmethod
    def forward(
        self, tokens: Mapping[str, Tokens], asked: Mapping[str, Places], contents: Contents | None = None
    ) -> dict[str, Float[Tensor, "b m outputs"]]:
        """A prediction for every place of every stream asked for.

        contents: what their queries carry besides their places; nothing by default.
        """


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


MakeDecoder = Callable[[Sequence[str], int, Mapping[str, int]], Decoder]
"""A decoder with its settings decided, waiting for streams, width of tokens and outputs."""
