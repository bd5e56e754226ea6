"""Tokenizers: they cut a signal into patches, embed the visible ones, and compute the targets of a decoder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, cast

import torch
from torch import nn

from modalities.accept import companions, layout, numbers
from modalities.positions import Kind, Positions
from modalities.records import Patches, Places, Signal, Tokens, take
from modalities.shapes import Float, Int, Shaped, Tensor


class Tokenizer(nn.Module, ABC):
    """Base class of tokenizers: one modality's input layer and targets; usable on its own.

    axes: what the coordinates of a patch count, time first.
    sizes: the number of patches along each axis if the settings determine it; None if the recording does.
    nodes: whether the last axis counts the nodes of a graph (`Patches.edges`).
    outputs: how many numbers a decoder predicts for one patch.
    channels: values of a patch are laid out (..., channel); normalisation by channel needs to know how many.
    words: size of the vocabulary where targets are ids, None where they are numbers.
    full_scale: the divisor that brings physical units to about one (255 for uint8 levels).
    layout: a letter for each axis of the values that it takes, batch first; empty leaves them to `patchify`.
    """

    axes: tuple[str, ...]
    nodes: bool = False
    outputs: int
    channels: int = 1
    words: int | None = None
    full_scale: float = 1.0
    layout: tuple[str, ...] = ()

    def __init__(self, dim: int, *, positions: Kind = "grid", grid: tuple[int, ...] | None = None):
        super().__init__()
        self.dim = dim
        self.positions = Positions(dim, positions, grid)

    @property
    def sizes(self) -> tuple[int | None, ...]:
        return (None,) * len(self.axes)

    @property
    def fixed(self) -> dict[str, int]:
        """Sizes of the axes of `layout` that the settings determine."""
        return {}

    @property
    def expected(self) -> str:
        """The values that it takes, in words."""
        return "numbers in float32 (b, t, ...)"

    def accept(self, signal: Any) -> Signal:
        """A signal, or plain values of one, in the type and layout that `patchify` cuts; see modalities/accept.py.

        Raises:
            ValueError: it does not match what was expected; the message has both and the remedy.
        """
        if isinstance(signal, Signal) and signal.accepted:
            return signal
        signal = Signal.of(signal)
        if self.layout:
            layout(signal.values, self.layout, self.fixed, self.expected)
        return replace(self.convert(companions(signal)), accepted=True)

    def convert(self, signal: Signal) -> Signal:
        """The signal with its values in the type and units that the tokenizer works with.

        Raises:
            ValueError: they are of another kind, or out of range.
        """
        return numbers(signal, self.expected)

    @abstractmethod
    def patchify(self, signal: Any) -> Patches:
        """Cut the signal, accepted first, into patches in physical units; no parameter is involved."""

    @abstractmethod
    def embed_values(self, values: Shaped[Tensor, "b k p"], places: Places) -> Float[Tensor, "b k d"]:
        """Embed patches already gathered: a hidden patch never gets here, so it costs nothing and cannot leak."""

    @abstractmethod
    def unpatchify(self, values: Shaped[Tensor, "b n p"], grid: tuple[int, ...]) -> Tensor:
        """Assemble patches in physical units to a signal: the inverse of `patchify`."""

    def standardise(self, values: Shaped[Tensor, "b k p"]) -> Float[Tensor, "b k p"]:
        """Physical units to the network's (standardised) units."""
        return values.float()

    def unstandardise(self, x: Float[Tensor, "b k p"]) -> Float[Tensor, "b k p"]:
        """Standardised to physical units: the inverse of `standardise`."""
        return x

    def cut(self, signal: Any) -> Patches:
        """`patchify`, timed by the clock of the sample: a signal that begins later has later patches.

        Raises:
            ValueError: the signal is not accepted.
        """
        signal = self.accept(signal)
        patches = self.patchify(signal)
        return patches if signal.lag is None else replace(patches, time=patches.time + signal.lag[:, None])

    def embed(self, patches: Patches, keep: Int[Tensor, "b k"] | None = None, valid: Tensor | None = None) -> Tokens:
        """Tokens of the patches at `keep` (all by default); `valid` (b, k) marks the filled slots of `keep`."""
        values = patches.values if keep is None else take(patches.values, keep)
        places = patches.places(keep, valid)
        return Tokens.at(places, self.embed_values(values, places) + self.positions(places))

    def target(self, patches: Patches, pick: Int[Tensor, "b m"]) -> Shaped[Tensor, "b m p"]:
        """The target of a decoder for the patches at `pick`, in the network's (standardised) units."""
        return self.standardise(self.contents(patches, pick))

    def contents(self, patches: Patches, pick: Int[Tensor, "b m"]) -> Shaped[Tensor, "b m p"]:
        """The target in physical units."""
        return take(patches.values, pick)

    def restore(self, patches: Patches, predicted: Float[Tensor, "b m p"], pick: Int[Tensor, "b m"]) -> Tensor:
        """The signal with predictions (in the network's units) in place of the patches at `pick`."""
        values = patches.values.to(predicted.dtype)
        index = pick[..., None].expand_as(predicted)
        return self.unpatchify(values.scatter(1, index, self.unstandardise(predicted)), patches.grid)


class Tokenizers(nn.Module, Mapping[str, Tokenizer]):
    """A tokenizer for every stream; one that several streams share is held and saved once, by its first name."""

    def __init__(self, tokenizers: Mapping[str, Tokenizer]):
        super().__init__()
        self.owners: dict[str, str] = {}
        for name, tokenizer in tokenizers.items():
            owner = next((other for other in self.owners if tokenizers[other] is tokenizer), name)
            self.owners[name] = owner
            if owner == name:
                self.add_module(name, tokenizer)

    def __getitem__(self, name: str) -> Tokenizer:
        return cast(Tokenizer, self._modules[self.owners[name]])

    def __iter__(self) -> Iterator[str]:
        return iter(self.owners)

    def __len__(self) -> int:
        return len(self.owners)

    def __eq__(self, other: object) -> bool:  # a mapping equals another of the same contents, a module only itself
        return self is other

    def __hash__(self) -> int:
        return id(self)


def fractions(steps: int, device: torch.device) -> Float[Tensor, " steps"]:
    """The middles of `steps` equal parts of the window, as fractions of it."""
    return (torch.arange(steps, device=device) + 0.5) / steps
