"""Base class of trunks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import nn

from modalities.records import Tokens


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
    def forward(self, tokens: Mapping[str, Tokens]) -> dict[str, Tokens]:
        """The same streams and places (in training perhaps not all of them), with new contents."""
