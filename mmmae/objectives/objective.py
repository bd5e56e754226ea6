"""Base class of objectives, with the records that they get and return."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from fusion.codes import Codes, Term
from fusion.masking import Noise, Plan
from fusion.schedule import values
from fusion.trunks import Trunk
from mmmae.data.labels import LabelColumn
from modalities.records import Batch, Patches, Tokens, by_value
from modalities.shapes import Bool, Float, Int, Shaped, Tensor
from modalities.tokenizer import Tokenizer

if TYPE_CHECKING:
    from mmmae.data.targets import Target
    from mmmae.data.window_targets import WindowTarget


@dataclass(frozen=True)
class Picture:
    """One stream as it was, and with its hidden patches replaced by predictions.

    original, predicted: as the tokenizer restores them (frames, log-mel spectrogram, readings, ids).
    hidden: which patches were predicted.
    """

    original: Tensor
    predicted: Tensor
    hidden: Bool[Tensor, "b n"]


@dataclass(frozen=True)
class Predicted:
    """What a decoder predicts for the patches at `index` of one stream, and the target.

    valid: which slots are filled; None when all are.
    error: of each patch, once its objective has measured it.
    observed: which channels of each patch exist (`Patches.observed`); None when all do.
    """

    values: Float[Tensor, "b m outputs"]
    index: Int[Tensor, "b m"]
    valid: Bool[Tensor, "b m"] | None
    target: Shaped[Tensor, "b m ..."]
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
class Encoded:
    """A batch with its visible patches encoded: the input of every objective.

    embedded: the visible tokens as they enter the trunk; tokens: as they leave it.
    predictions: by stream, those of earlier objectives, for later ones (see `Objective.needs_predictions`).
    passes: further passes of the trunk, over some of the streams only, by the names of these.
    coded: the tokens that decoders are given in place of `tokens`, and the losses of that, by their codes.
    """

    batch: Batch
    patches: Mapping[str, Patches]
    plans: Mapping[str, Plan]
    embedded: Mapping[str, Tokens]
    tokens: Mapping[str, Tokens]
    tokenizers: Mapping[str, Tokenizer]
    trunk: Trunk
    noise: Noise
    predictions: dict[str, Predicted] = field(default_factory=dict, init=False)
    coded: dict[Codes, tuple[Mapping[str, Tokens], Mapping[str, Term]]] = field(default_factory=dict, init=False)
    passes: dict[tuple[str, ...], dict[str, Tokens]] = field(default_factory=dict, init=False)

    def codes(self, codes: Codes | None) -> tuple[Mapping[str, Tokens], Mapping[str, Term]]:
        """The tokens that a decoder is given, with the losses of codes; coded once, whoever else is given them."""
        if codes is None:
            return self.tokens, {}
        if codes not in self.coded:
            self.coded[codes] = codes(self.tokens, self.noise)
        return self.coded[codes]

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
    """A pretext task or a task: computes losses, and owns the parameters that only these losses need.

    weight: of the sum of its parts in the total loss; weights: of each part in that sum, 1 unless named.
    schedulable: settings that may follow a schedule (fusion/schedule.py) as `weight` does; each is an attribute of the
        same name, a number or a scalar tensor.
    provides: the streams that it leaves predictions of in `Encoded.predictions`. needs_predictions: those whose
        predictions it reads, so that an objective which provides them must stand before it.
    trains_masking: whether a masking learns from it.
    ties_streams: whether its loss on one stream changes how another is trained, even where the trunk has separate
        weights for each.
    detached: whether it learns on frozen representations, so that the model trains as if it were absent.
    supports_mixup: whether it handles mixed samples (`Batch.mixed`).
    compares: whether the samples of a batch are each other's negatives, so that smaller batches make the task easier.
    """

    schedulable: tuple[str, ...] = ("weight",)
    provides: Sequence[str] = ()
    needs_predictions: Sequence[str] = ()
    trains_masking: bool = False
    ties_streams: bool = True
    detached: bool = False
    supports_mixup: bool = False
    compares: bool = False

    def __init__(self, weight: float, weights: Mapping[str, float] | None = None):
        super().__init__()
        if weight < 0:
            raise ValueError(f"an objective's weight is at least 0, got {weight}")
        self.weight, self.weights = weight, dict(weights or {})

    def weigh(self, parts: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """The objective's share of the total loss."""
        return self.weight * torch.stack([self.weight_of(name) * part for name, part in parts.items()]).sum()

    def weight_of(self, part: str) -> float:
        """The weight of one of its parts among them."""
        return self.weights.get(part, 1.0)

    @classmethod
    def survey(cls, settings: Mapping[str, Any], labels: LabelColumn) -> dict[str, Any]:
        """Settings that the training rows decide and the recipe left at null (which labels there are)."""
        return {}

    @classmethod
    def target_of(cls, settings: Mapping[str, Any]) -> Target | None:
        """How it reads a sample's label, by its settings; by default labels come as the manifest counts them."""
        return None

    @classmethod
    def targets(cls, settings: Mapping[str, Any]) -> Mapping[str, WindowTarget]:
        """What else it learns of each window, by the key in `Batch.targets`: columns of the manifest over time.

        A batch may lack them (a caller's own): then nothing is known.
        """
        return {}

    @classmethod
    def applicable(cls, tokenizers: Mapping[str, Tokenizer]) -> bool:
        """Whether it can be computed on these streams; a recipe narrowed by --modalities leaves out what cannot."""
        return True

    def attach(self, model: nn.Module) -> None:
        """Take what it needs of the model's initial weights; called once they are drawn, and again when others replace
        them (`training.start`). Nothing by default."""

    @abstractmethod
    def forward(self, encoded: Encoded) -> dict[str, Float[Tensor, ""]]:
        """Scalar losses by part, in float32; where nothing is valid exactly 0, still reaching every parameter.

        Returned as `Parts`, each weighs in the means that are reported by its count; in a plain dictionary all alike.
        """

    def pictures(self, encoded: Encoded) -> dict[str, Picture]:
        """What it predicts of the batch, put back into each stream, for people to look at; nothing by default."""
        return {}

    def after_step(self, model: nn.Module, progress: float, taken: bool | Tensor) -> None:
        """Update state that no gradient moves; called once after every optimizer step. Nothing by default.

        progress: how far training is, from 0 to 1. taken: whether the step was made, or skipped as not finite; as a
            tensor, the device knows and the host must not wait for it.
        """

    def record(self) -> dict[str, Any]:
        """Settings that a checkpoint keeps so that the objective can be built again from it alone; none by default."""
        return {}


def check(objectives: Mapping[str, Objective], learns: bool, separate: Sequence[str] = ()) -> None:
    """Whether objectives can be trained together, in their order.

    learns: whether a masking does. separate: the streams that share neither tokens nor weights in the trunk.

    Raises:
        ValueError: one needs predictions that none before it provides; or a masking learns and no objective trains it,
            or the reverse; or nothing ties the streams together; or all are detached.
    """
    if objectives and all(objective.detached for objective in objectives.values()):
        raise ValueError(
            f"{', '.join(objectives)} is detached, and nothing else trains the model; "
            "set detached=false, or add an objective"
        )
    provided: set[str] = set()
    for name, objective in objectives.items():
        if missing := [stream for stream in objective.needs_predictions if stream not in provided]:
            raise ValueError(
                f"{name} needs predictions of {', '.join(missing)}, which no objective before it makes; "
                "put one that predicts them before it, or name its `streams`"
            )
        provided.update(objective.provides)
    trainers = [name for name, objective in objectives.items() if objective.trains_masking]
    if learns and not trainers:
        raise ValueError(
            "a masking learns, but no objective trains it; add the one that it names (`mask_policy`, `mask_guidance`)"
        )
    if trainers and not learns:
        raise ValueError(f"{trainers[0]} trains a masking, but none learns; leave it out, or use one that does")
    if len(separate) > 1 and not any(
        objective.ties_streams and max(values(objective, "weight")) > 0 for objective in objectives.values()
    ):
        raise ValueError(
            f"nothing ties {', '.join(separate)} together: trunk, decoders and losses are separate; use a joint or "
            "shared trunk or decoder, add `contrastive` or `matching`, or train them one by one with --modalities"
        )
