"""Adversarial loss: a discriminator between predicted and real patches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import nn
from torch.func import functional_call

from mmmae.objectives.objective import Encoded, Objective, Parts
from mmmae.objectives.reconstruction import numeric
from mmmae.parallel.reduce import count, mean
from mmmae.recipes.sections import AdamW
from modalities.shapes import Float, Tensor
from modalities.tokenizer import Tokenizer


class Discriminator(nn.Sequential):
    """A score for each patch, higher where it looks real; a parameter-free copy of it can be deceived.

    optimizer: its own settings, which make it a side of its own (see mmmae.training.optim.parameter_groups).
    """

    def __init__(self, outputs: int, width: int, optimizer: AdamW):
        # No bias at the end: the loss is a difference of two scores, in which it would cancel.
        super().__init__(nn.Linear(outputs, width), nn.LeakyReLU(), nn.Linear(width, 1, bias=False))
        self.optimizer = optimizer

    def frozen(self, patches: Float[Tensor, "b m p"]) -> Float[Tensor, "b m 1"]:
        """The same scores, through which gradients reach the patches only."""
        return functional_call(self, {name: p.detach() for name, p in self.named_parameters()}, (patches,))


class Adversarial(Objective):
    """A critic D of single patches (MARLIN, arXiv:2211.06627; the losses of WGAN, 1701.07875, without its constraint).

    Predictions learn from weight * -E D(predicted) with D frozen, D from E D(predicted) - E D(real) with predictions
    detached: one forward and one backward, in which each side is moved by its own loss alone.

    Args:
        streams: whose predictions are judged; all that are numbers by default. An objective before this one makes them.
        width: of the discriminator's hidden layer; twice the trunk's by default, which at size=base is as many as a
            patch of 2 x 16 x 16 pixels has numbers.
        optimizer: the discriminator's own AdamW; its gradients are clipped apart from the model's.
        weight: of what predictions learn; the discriminator's own loss always counts 1.
    """

    ties_streams = False

    def __init__(
        self,
        tokenizers: Mapping[str, Tokenizer],
        dim: int,
        *,
        streams: list[str] | None = None,
        width: int | None = None,
        optimizer: AdamW | None = None,
        weight: float = 0.01,
    ):
        super().__init__(weight)
        outputs = numeric(tokenizers)
        self.needs_predictions: Sequence[str] = tuple(outputs if streams is None else streams)
        if unknown := set(self.needs_predictions) - set(outputs):
            raise ValueError(f"streams name {sorted(unknown)}, but predictions of numbers are those of {list(outputs)}")
        if width is not None and width < 1:
            raise ValueError(f"a discriminator's width is at least 1, got {width}")
        own = optimizer or AdamW()
        critics = {name: Discriminator(outputs[name], width or 2 * dim, own) for name in self.needs_predictions}
        self.discriminators = cast("Mapping[str, Discriminator]", nn.ModuleDict(critics))

    @classmethod
    def applicable(cls, tokenizers: Mapping[str, Tokenizer]) -> bool:
        return bool(numeric(tokenizers))

    def forward(self, encoded: Encoded) -> dict[str, Float[Tensor, ""]]:
        parts = Parts()
        for name, discriminator in self.discriminators.items():
            if name not in encoded.predictions:
                continue  # a batch without this stream
            answer = encoded.predictions[name]
            predicted = answer.existing(answer.values)  # as in real patches, a missing channel is zero
            deceived = discriminator.frozen(predicted)[..., 0]
            fake = discriminator(predicted.detach())[..., 0]
            real = discriminator(answer.target.to(fake.dtype))[..., 0]
            judged = count(deceived, answer.valid)
            parts.put(f"{name}_generator", -mean(deceived, answer.valid), judged)
            parts.put(f"{name}_discriminator", mean(fake.float() - real.float(), answer.valid), judged)
        return parts

    def weigh(self, parts: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """The discriminators' losses in full: they reach nothing but discriminators."""
        shares = [part if name.endswith("_discriminator") else self.weight * part for name, part in parts.items()]
        return torch.stack(shares).sum()
