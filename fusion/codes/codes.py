"""What every kind of codes promises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from fusion.masking import Noise
from modalities.positions import ravel
from modalities.records import Tokens
from modalities.shapes import Bool, Float, Int, Tensor

Gather = Callable[[Tensor], Tensor]
"""The rows of a tensor of all processes, in rank order."""


@dataclass(frozen=True)
class Term:
    """A loss of codes, or a figure that is only reported: a number per token, of which an objective takes the mean.

    valid: which tokens count; None when all do.
    """

    values: Float[Tensor, "b k"]
    valid: Bool[Tensor, "b k"] | None


class Codes(nn.Module, ABC):
    """A latent code between encoder and decoder: what decoders are given in place of the trunk's tokens.

    Constructed with the names of the streams and the width `dim` of their tokens, which the codes have as well. A
    stream of which a sample has no tokens has no codes in that sample.
    """

    @abstractmethod
    def forward(self, tokens: Mapping[str, Tokens], noise: Noise) -> tuple[dict[str, Tokens], dict[str, Term]]:
        """Codes of every stream, with places of their own, and the losses by name.

        noise: of the samples; what is random about a code is drawn from it. The call changes no state that a later one
        depends on; see `after_step`.
        """

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each loss in its objective; 0 where it is only reported."""
        return {}

    def after_step(self, taken: bool | Tensor, gather: Gather) -> None:
        """Update state that no gradient moves, from what forward saw since the last step of the optimizer.

        taken: whether that step was made, which only the device may know yet; a skipped one leaves no trace.
        gather: the same rows of all processes.
        """


MakeCodes = Callable[[Sequence[str], int], Codes]
"""Codes with their settings decided, waiting for streams and width of tokens."""


def place(tokens: Tokens) -> Int[Tensor, "b k"]:
    """The number of each token's place, by which it draws its own noise whichever others there are."""
    return ravel(tokens.coords, tokens.grid)
