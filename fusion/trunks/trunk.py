"""Base classes of trunks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from torch import nn

from fusion.blocks import Stack, by_layer, chosen
from fusion.streams import StreamEmbedding
from modalities.records import Tokens
from modalities.shapes import Tensor

States = list[dict[str, Tokens]]
"""The tokens of every stream before the first layer and after each one, by stream."""


class Trunk(nn.Module, ABC):
    """Turns the visible tokens of any subset of its streams into representations at the same places.

    In training a trunk may leave tokens out; those that stay carry their places, and no sample loses a stream it has.

    width: of the tokens it takes and returns.
    mixes: whether what it says of one stream may depend on another.
    ties_streams: whether streams have anything in common in it, tokens or weights.
    """

    mixes: bool = True
    ties_streams: bool = True

    def __init__(self, width: int, depth: int):
        super().__init__()
        if width < 1 or depth < 1:
            raise ValueError(f"a trunk has a width and a depth of at least 1, got width={width}, depth={depth}")
        self.width, self.depth = width, depth

    @abstractmethod
    def forward(self, tokens: Mapping[str, Tokens], states: States | None = None) -> dict[str, Tokens]:
        """The same streams and places (in training perhaps not all of them), with new contents.

        states: gets what enters the first of `depth` layers, then what leaves each one, before any final norm. The
            result does not depend on whether it is given. A trunk may take tokens alone; its layers are then not read.
        """

    def encode(self, tokens: Mapping[str, Tokens], layers: Sequence[int]) -> dict[int, dict[str, Tokens]]:
        """The tokens after chosen layers, in one pass: 0 is what enters the first, `depth` what leaves the last.

        Layers are read before the final norm, as a trunk cut off there without one would return them.

        Raises:
            ValueError: there is no layer of that number.
        """
        states: States = []
        self(tokens, states)
        return chosen(states, layers, self.depth)


class TransformerTrunk(Trunk):
    """A trunk made of transformer blocks: the settings that all of these share."""

    def __init__(self, *, width: int = 768, depth: int = 12, heads: int = 12):
        super().__init__(width, depth)
        self.heads = heads


class StackTrunk(TransformerTrunk):
    """A trunk with one stack of blocks, in which the tokens of every stream carry what tells its modality and time."""

    def __init__(self, streams: Sequence[str], **size: int):
        super().__init__(**size)
        self.embedding = StreamEmbedding(streams, self.width)
        self.stack = Stack(self.width, self.depth, self.heads)


Run = Callable[[str, Tokens, list[Tensor] | None], Tensor]
"""The layers of a stream over its tokens; the list gets the contents after each."""


def stacked(run: Run, tokens: Mapping[str, Tokens], states: States | None) -> dict[str, Tokens]:
    """Every stream's tokens after its own pass through layers, and those of each layer in `states` if it is given."""
    kept: dict[str, list[Tensor]] = {name: [] for name in tokens}
    result = {name: replace(t, x=run(name, t, None if states is None else kept[name])) for name, t in tokens.items()}
    if states is not None:
        states.extend({name: replace(tokens[name], x=x) for name, x in layer.items()} for layer in by_layer(kept))
    return result
