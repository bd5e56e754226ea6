"""What objectives learn of a window beside its label: a column of the manifest as a tensor over the window's time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import torch

from modalities.manifest.columns import Cell
from modalities.reader import Reader, Reading
from modalities.records import Signal
from modalities.shapes import Bool, Float, Tensor
from modalities.tokenizer import Tokenizer


class WindowTarget(ABC):
    """A column of the manifest, and what it is within a window: a tensor (t, ...) at the times of a stream's tokens.

    Subclasses are dataclasses: two objectives may share one that is equal.

    column: of the manifest. cell: how its cells are checked and stored; None for a column that every manifest may have.
    stream: whose token times it follows; None means the first of the recipe.
    """

    column: ClassVar[str]
    cell: ClassVar[Cell | None] = None
    stream: str | None

    @abstractmethod
    def within(self, cell: Any | None, moments: Float[Tensor, " t"], inside: Bool[Tensor, " t"]) -> Tensor:
        """What is learned of a window, (t, ...), of one shape and type whatever the cell.

        cell: of the recording, as `cell` checks it; None where it is empty, so that nothing is known.
        moments: the middle of each token in seconds of the recording, float64. inside: which are part of it; of the
            others (padding) nothing is known.
        """

    @abstractmethod
    def example(self, batch: int, steps: int, generator: torch.Generator) -> Tensor:
        """Something plausible for a synthetic batch, (b, t, ...)."""

    @abstractmethod
    def unknown(self, x: Tensor) -> Tensor:
        """The same shape with nothing known."""


@dataclass(frozen=True)
class Placed:
    """A target, the stream that it follows, and where in its span the middles of its tokens lie, as shares of it."""

    target: WindowTarget
    stream: str
    shares: tuple[float, ...]

    def of(self, cell: Any | None, start: float, span: float, reading: Reading) -> Tensor:
        """What is learned where the stream is read from second `start` on for `span` seconds."""
        shares = torch.tensor(self.shares, dtype=torch.float64)
        moments = start + span * shares
        inside = shares < reading.length / max(len(reading.values), 1)
        return self.target.within(cell, moments, inside)


def placed(target: WindowTarget, stream: str, tokenizer: Tokenizer, reader: Reader, span: float) -> Placed:
    """The target at the middles of a tokenizer's tokens.

    Raises:
        ValueError: the stream is made of words, whose times nobody knows.
    """
    if tokenizer.words is not None:
        raise ValueError(f"{stream} is made of words, which have no times of their own; name another `stream`")
    with torch.no_grad():
        patches = tokenizer.cut(Signal(reader.blank(span).values[None], duration=torch.ones(1)))
    shares = {int(place): float(time) for place, time in zip(patches.coords[:, 0], patches.time[0], strict=True)}
    exact = (Fraction(shares[place]).limit_denominator(4096) for place in range(patches.grid[0]))
    return Placed(target, stream, tuple(float(share) for share in exact))  # float32 would move an edge by microseconds


def stacked(targets: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The targets of a batch."""
    return {name: torch.stack([one[name] for one in targets]) for name in targets[0]}
