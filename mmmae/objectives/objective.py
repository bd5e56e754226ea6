"""What an objective is given and what it returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from fusion.masking import Noise, Plan
from fusion.trunks import Trunk
from mmmae.data.labels import LabelColumn
from modalities.records import Batch, Patches, Tokens, by_value
from modalities.shapes import Bool, Float, Int, Shaped, Tensor
from modalities.tokenizer import Tokenizer

if TYPE_CHECKING:
    from mmmae.data.targets import Target


@dataclass(frozen=True)
class Answer:
    """What a decoder said of patches `pick` of one stream.

    asked: which slots are filled; None when all are. wanted: what it should have said.
    error: how wrong it was about each patch, once its objective has measured it.
    observed: which channels of each patch exist (`Patches.observed`); None when all do.
    """

    predicted: Float[Tensor, "b m outputs"]
    pick: Int[Tensor, "b m"]
    asked: Bool[Tensor, "b m"] | None
    wanted: Shaped[Tensor, "b m ..."]
    error: Float[Tensor, "b m"] | None = None
    observed: Bool[Tensor, "b m c"] | None = None

    def existing(self, x: Float[Tensor, "b m p"]) -> Float[Tensor, "b m p"]:
        """x with zeros in place of the values of missing channels, through which then no gradient flows."""
        if self.observed is None:
            return x
        return torch.where(by_value(self.observed, x.shape[-1]), x, torch.zeros_like(x))

    def average(self, errors: Float[Tensor, "b m p"]) -> Float[Tensor, "b m"]:
        """Mean over the values of each patch that exist; zero where none does."""
        p = errors.shape[-1]
        mean = self.existing(errors).sum(-1) / p  # the gradient of `mean` would be written out for every value
        if self.observed is None:
            return mean
        channels = self.observed.shape[-1]
        return mean * (channels / self.observed.sum(-1).clamp_min(1))  # times 1 where all exist: the same bits


@dataclass(frozen=True)
class Step:
    """One batch on its way through the model.

    embedded: the visible tokens as they enter the trunk; tokens: as they leave it.
    answers: by stream, what the decoders of earlier objectives said, for later ones to judge (see `Objective.judges`).
    passes: further passes of the trunk, over some of the streams only, by the names of these.
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
    passes: dict[tuple[str, ...], dict[str, Tokens]] = field(default_factory=dict, init=False)

    def alone(self, name: str) -> Tokens:
        """A stream's visible tokens as the trunk encodes them when it sees no other stream."""
        return self.encode((name,))[name]

    def without(self, name: str) -> dict[str, Tokens]:
        """All other streams' visible tokens as the trunk encodes them when it does not see this one."""
        return self.encode(tuple(other for other in self.tokens if other != name))

    def encode(self, names: tuple[str, ...]) -> dict[str, Tokens]:
        """Some streams' visible tokens as the trunk encodes them together; each set is encoded once a step."""
        if not names:
            return {}
        if not self.trunk.mixes or len(names) == len(self.tokens):
            return {name: self.tokens[name] for name in names}
        if names not in self.passes:
            self.passes[names] = self.trunk({name: self.embedded[name] for name in names})
        return self.passes[names]


class Parts(dict[str, "Tensor"]):
    """Scalar losses of an objective by part, with the number of values that each is the mean of.

    counts: on this process; 0 where the batch has nothing to ask, so that the 0 of its loss says nothing.
    """

    def __init__(self):
        super().__init__()
        self.counts: dict[str, Tensor] = {}

    def put(self, name: str, loss: Float[Tensor, ""], count: Float[Tensor, ""]) -> None:
        self[name], self.counts[name] = loss, count


def counted(losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The counts of an objective's parts; 1 each where it gives none."""
    known = losses.counts if isinstance(losses, Parts) else {}
    return {name: known[name] if name in known else torch.ones_like(loss) for name, loss in losses.items()}


@dataclass(frozen=True)
class Losses:
    """Scalar losses of a batch: looked up by part as "OBJECTIVE/PART", their weighted sum as "total".

    It is no Mapping, of which Accelerate would build another one from the items alone.

    parts: every part as it is, before its weight. counts: see Parts.
    """

    total: Float[Tensor, ""]
    parts: dict[str, Float[Tensor, ""]]
    counts: dict[str, Float[Tensor, ""]]

    def __getitem__(self, name: str) -> Float[Tensor, ""]:
        return self.total if name == "total" else self.parts[name]

    def __contains__(self, name: object) -> bool:
        return name in self.keys()

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.parts) + 1

    def keys(self) -> list[str]:
        return [*self.parts, "total"]

    def values(self) -> list[Float[Tensor, ""]]:
        return [self[name] for name in self.keys()]

    def items(self) -> list[tuple[str, Float[Tensor, ""]]]:
        return [(name, self[name]) for name in self.keys()]


class Objective(nn.Module, ABC):
    """Asks something of the model and owns whatever parameters only that question needs.

    weight: of the sum of its parts in the total loss; weights: of each part in that sum, 1 unless named.
    answers: the streams that it leaves an answer for in the step. judges: those whose answers it looks at, so that an
        objective which gives them must stand before it. teaches: whether a masking learns from it. couples: whether
        what it asks of one stream changes how another is trained, even where the trunk has nothing in common.
    detached: whether it learns beside the model, which is not to differ by its presence. takes_mixed: whether it knows
        what to make of mixed samples (`Batch.mixed`). compares: whether the samples of a batch are each other's
        negatives, so that fewer of them ask for less.
    """

    answers: Sequence[str] = ()
    judges: Sequence[str] = ()
    teaches: bool = False
    couples: bool = True
    detached: bool = False
    takes_mixed: bool = False
    compares: bool = False

    def __init__(self, weight: float, weights: Mapping[str, float] | None = None):
        super().__init__()
        if weight < 0:
            raise ValueError(f"an objective's weight is at least 0, got {weight}")
        self.weight, self.weights = weight, dict(weights or {})

    def weigh(self, parts: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """The objective's share of the total loss."""
        return self.weight * torch.stack([self.weights.get(name, 1.0) * part for name, part in parts.items()]).sum()

    @classmethod
    def survey(cls, settings: Mapping[str, Any], labels: LabelColumn) -> dict[str, Any]:
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
        """Scalar losses by part, in float32; where nothing is valid exactly 0, still reaching every parameter.

        Returned as `Parts`, each weighs in the means that are reported by its count; in a plain dictionary all alike.
        """


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
