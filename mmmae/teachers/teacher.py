"""What every teacher is: an encoder without gradient, part of an objective."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from fusion.trunks import Trunk
from mmmae.objectives.objective import Encoded
from modalities.records import Patches, Tokens
from modalities.shapes import Tensor
from modalities.tokenizer import Tokenizers


class Teacher(nn.Module, ABC):
    """An encoder whose representations of unmasked clips are the targets of a student.

    Its parameters have no gradient, so that no optimizer holds them; they are in the checkpoint. It is in evaluation
    mode whatever the mode of the model around it.

    tokenizers, trunk: of the encoder. heads: those of its objective, where it has its own.
    width: of its tokens, None where it is the student's. streams: that it encodes, None while they are not known.
    """

    tokenizers: Tokenizers
    trunk: Trunk
    heads: nn.Module
    width: int | None = None
    streams: Sequence[str] | None = None

    def hold(self, tokenizers: nn.Module, trunk: nn.Module, heads: nn.Module | None = None) -> None:
        """Take modules as its own, without gradient."""
        self.add_module("tokenizers", tokenizers)
        self.add_module("trunk", trunk)
        if heads is not None:
            self.add_module("heads", heads)
        self.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> Teacher:
        return super().train(False)

    @abstractmethod
    def attach(self, model: nn.Module, heads: nn.Module | None = None) -> None:
        """Begin, when the model has been given its initial weights, and again when they are replaced by others.

        heads: of the objective, where the teacher needs its own of the same kind.
        """

    def after_step(
        self, model: nn.Module, progress: float, taken: bool | Tensor, heads: nn.Module | None = None
    ) -> None:
        """Follow the model; see `Objective.after_step`. Nothing by default."""

    def record(self) -> dict[str, Any]:
        """Settings that a checkpoint keeps so that the teacher can be built again; none by default."""
        return {}

    @torch.no_grad()
    def encode(self, encoded: Encoded, streams: Sequence[str] | None = None) -> dict[str, Tokens]:
        """Representations of every patch of the whole clip, with nothing hidden.

        streams: encoded together, and no other with them; by default all that batch and teacher have.
        """
        known = self.tokenizers if self.streams is None else self.streams
        names = [name for name in encoded.batch if name in known and (streams is None or name in streams)]
        return self.trunk({name: self.tokenizers[name].embed(self.patches(encoded, name)) for name in names})

    def patches(self, encoded: Encoded, name: str) -> Patches:
        """A stream of the batch as the teacher cuts it."""
        return self.tokenizers[name].cut(encoded.batch[name])


MakeTeacher = Callable[[], Teacher]
"""A teacher with its settings decided."""
