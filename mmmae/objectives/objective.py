"""What an objective is given and what it returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from fusion.masking import Noise, Plan
from fusion.trunks import Trunk
from modalities.records import Batch, Patches, Tokens
from modalities.shapes import Bool, Float, Int, Shaped, Tensor
from modalities.tokenizer import Tokenizer

if TYPE_CHECKING:
    from mmmae.data.manifest import Manifest
    from mmmae.data.targets import Target


@dataclass(frozen=True)
class Answer:
    """What a decoder said of patches `pick` of one stream.

    asked: which slots are filled; None when all are. wanted: what it should have said.
    error: how wrong it was about each patch, once its objective has measured it.
    """

    predicted: Float[Tensor, "b m outputs"]
    pick: Int[Tensor, "b m"]
    asked: Bool[Tensor, "b m"] | None
    wanted: Shaped[Tensor, "b m ..."]
    error: Float[Tensor, "b m"] | None = None


@dataclass(frozen=True)
class Step:
    """One batch on its way through the model.

    embedded: the visible tokens as they enter the trunk; tokens: as they leave it.
    answers: by stream, what the decoders of earlier objectives said, for later ones to judge (see `Objective.judges`).
    """

    batch: Batch
    patches: Mapping[str, Patches]
    plans: Mapping[str, Plan]
    embedded: Mapping[str, Tokens]
    tokens: Mapping[str, Tokens]
    tokenizers: Mapping[str, Tokenizer]
    trunk: Trunk
    noise: Noise
    answers: dict[str, Answer] = field(default_factory=dict, init=False)

    def alone(self, name: str) -> Tokens:
        """What the trunk says of a stream's visible tokens when it sees no other stream."""
        if not self.trunk.mixes or len(self.tokens) == 1:
            return self.tokens[name]
        return self.trunk({name: self.embedded[name]})[name]

    def without(self, name: str) -> dict[str, Tokens]:
        """What the trunk says of all other streams when it does not see this one."""
        others = [other for other in self.tokens if other != name]
        if not self.trunk.mixes:
            return {other: self.tokens[other] for other in others}
        return self.trunk({other: self.embedded[other] for other in others}) if others else {}


class Losses(dict[str, "Tensor"]):
    """Scalar losses by part, and their weighted sum under "total"."""

    @property
    def total(self) -> Float[Tensor, ""]:
        return self["total"]

    @property
    def parts(self) -> dict[str, Float[Tensor, ""]]:
        """Every part as it is, before its weight."""
        return {name: value for name, value in self.items() if name != "total"}


class Objective(nn.Module, ABC):
    """Asks something of the model and owns whatever parameters only that question needs.

    weight: of the sum of its parts in the total loss; weights: of each part in that sum, 1 unless named.
    answers: the streams that it leaves an answer for in the step. judges: those whose answers it looks at, so that an
        objective which gives them must stand before it. teaches: whether a masking learns from it. couples: whether
        what it asks of one stream changes how another is trained, even where the trunk has nothing in common.
    detached: whether it learns beside the model, which is not to differ by its presence. takes_mixed: whether it knows
        what to make of mixed samples (`Batch.mixed`).
    """

    answers: Sequence[str] = ()
    judges: Sequence[str] = ()
    teaches: bool = False
    couples: bool = True
    detached: bool = False
    takes_mixed: bool = False

    def __init__(self, weight: float, weights: Mapping[str, float] | None = None):
        super().__init__()
        if weight < 0:
            raise ValueError(f"an objective's weight is at least 0, got {weight}")
        self.weight, self.weights = weight, dict(weights or {})

    def weigh(self, parts: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """The objective's share of the total loss."""
        return self.weight * torch.stack([self.weights.get(name, 1.0) * part for name, part in parts.items()]).sum()

    @classmethod
    def survey(cls, settings: Mapping[str, Any], manifest: Manifest) -> dict[str, Any]:
        """Settings that the training rows decide and the recipe left at null (which labels there are)."""
        return {}

    @classmethod
    def target_of(cls, settings: Mapping[str, Any]) -> Target | None:
        """What it asks of a sample's label, by its settings; by default labels come as the manifest counts them."""
        return None

    @classmethod
    def answerable(cls, tokenizers: Mapping[str, Tokenizer]) -> bool:
        """Whether these streams are enough to ask; a recipe narrowed by --modalities leaves out what is not."""
        return True

    @abstractmethod
    def forward(self, step: Step) -> dict[str, Float[Tensor, ""]]:
        """Scalar losses by part, in float32; where nothing is valid exactly 0, still reaching every parameter."""


def check(objectives: Mapping[str, Objective], learns: bool, apart: Sequence[str] = ()) -> None:
    """Whether objectives can be asked together, in their order.

    learns: whether a masking does. apart: the streams that have nothing in common before objectives are asked.

    Raises:
        ValueError: one judges answers that none before it gives; or a masking has no teacher, or a teacher no masking;
            or nothing brings the streams together; or all learn beside the model.
    """
    if objectives and all(objective.detached for objective in objectives.values()):
        raise ValueError(
            f"{', '.join(objectives)} learns beside the model, which nothing else teaches; "
            "set detached=false, or add an objective"
        )
    answered: set[str] = set()
    for name, objective in objectives.items():
        if missing := [stream for stream in objective.judges if stream not in answered]:
            raise ValueError(
                f"{name} judges predictions of {', '.join(missing)}, which no objective before it makes; "
                "put one that predicts them before it, or name its `streams`"
            )
        answered.update(objective.answers)
    teachers = [name for name, objective in objectives.items() if objective.teaches]
    if learns and not teachers:
        raise ValueError(
            "a masking learns, but no objective teaches it; add the one that it names (`sampling`, `guidance`)"
        )
    if teachers and not learns:
        raise ValueError(f"{teachers[0]} teaches a masking, but none learns; leave it out, or use one that does")
    if len(apart) > 1 and not any(objective.couples and objective.weight > 0 for objective in objectives.values()):
        raise ValueError(
            f"nothing couples {', '.join(apart)}: trunk, decoders and losses are all their own; use a joint or shared "
            "trunk or decoder, add `contrastive` or `matching`, or train them one by one with --modalities"
        )
