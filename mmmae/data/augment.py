"""Batch processing on the device, after the uint8 transfer: repetition, augmentation of each modality, mixup."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import nn

from mmmae.data.targets import unlabelled
from mmmae.recipes.lookup import RecipeError
from mmmae.recipes.streams import Change
from modalities.augmentation import Augmentation
from modalities.noise import fold_in, mix, mix_tensor, signed, uniform
from modalities.records import Batch, Mixed, Signal
from modalities.shapes import Float, Int, Tensor

if TYPE_CHECKING:
    from mmmae.objectives import Objective
    from mmmae.recipes.sections import Data
    from modalities.tokenizer import Tokenizer


def prepared(batch: Batch, device: torch.device, augment: Augment, rules: Data | None = None) -> Batch:
    """A batch of the loader as the model gets it; where `rules` of training are given, repeated, augmented and mixed.

    What is drawn for mixing is drawn on the host, before the batch leaves it.
    """
    times = rules.repeats if rules is not None and rules.repeat == "crops" else 1
    weight = None if rules is None or not rules.mixup else weights(repeat_keys(batch.key, times), rules.mixup)
    batch = augment.train(rules is not None)(repeat(batch.to(device, non_blocking=True), times))
    return batch if weight is None else mixup(batch, weight.to(device, non_blocking=True))


def repeat_key(key: int, number: int) -> int:
    """The key of a sample's repetition; the first keeps its own."""
    return key if number == 0 else signed(mix(key + number))


def repeat_keys(key: Int[Tensor, " b"], times: int) -> Int[Tensor, " repeated"]:
    """The keys of every sample's repetitions, as `repeat_key` gives them."""
    number = torch.arange(times, device=key.device)
    keys = key[:, None] + number
    return torch.where(number == 0, keys, mix_tensor(keys)).flatten()


def repeat(batch: Batch, times: int) -> Batch:
    """Every sample `times` times in a row under keys of their own: crops and masks differ (arXiv:1901.09335)."""
    if times == 1:
        return batch
    repeated = batch.map(lambda x: x.repeat_interleave(times, dim=0))
    ids = [name for name in batch.ids for _ in range(times)]
    return replace(repeated, key=repeat_keys(batch.key, times), ids=ids)


def weights(key: Int[Tensor, " b"], alpha: float) -> Float[Tensor, " b"]:
    """Each sample's own share when it is mixed: drawn from Beta(alpha, alpha) by its key, on the host."""
    from scipy.special import betaincinv

    return torch.from_numpy(betaincinv(alpha, alpha, uniform(key, "mixup", 1)[:, 0].double().numpy())).float()


@torch.no_grad()
def mixup(batch: Batch, weight: Float[Tensor, " b"]) -> Batch:
    """Every sample mixed with the one at the mirrored place of the batch (mixup, arXiv:1710.09412).

    Both labels are needed: where one is missing a sample stays as it is, with weight 1.
    """
    if batch.label is None:
        return batch
    other = batch.label.flip(0)
    weight = torch.where(unlabelled(batch.label) | unlabelled(other), 1.0, weight)
    signals = {name: blended(signal, weight) for name, signal in batch.signals.items()}
    return replace(batch, signals=signals, mixed=Mixed(other, weight))


def require_mixable(
    tokenizers: Mapping[str, Tokenizer], objectives: Mapping[str, Objective], targets: Iterable[str], where: str
) -> None:
    """Refuse to mix what cannot be, or labels that nobody learns. targets: names of what is learned over time.

    Raises:
        RecipeError: names the stream, or the objective that is missing.
    """
    if words := [name for name, tokenizer in tokenizers.items() if tokenizer.words is not None]:
        raise RecipeError(
            f"{where}: {words[0]} is made of words, between which there is nothing\n"
            "  set data.mixup=0, or leave the stream out with --modalities"
        )
    if over_time := ", ".join(targets):
        raise RecipeError(
            f"{where}: {over_time} are learned over time, and not mixed\n  set data.mixup=0, or leave the objective out"
        )
    if not any(objective.supports_mixup for objective in objectives.values()):
        raise RecipeError(
            f"{where}: mixes labels, which none of {', '.join(objectives)} asks for\n"
            "  set data.mixup=0, or add the objective `classification`, `multilabel` or `regression`"
        )


def blended(signal: Signal, weight: Float[Tensor, " b"]) -> Signal:
    """weight * signal + (1 - weight) * its mirror image along the batch; what a sample lacks is zero.

    A step or a reading is there where either has it, and so is an edge. A hint is that of the heavier one.
    """
    signal = cleared(signal)
    other, alone = signal.map(lambda x: x.flip(0)), weight == 1

    def either(mine: Tensor | None, theirs: Tensor | None, join: Callable[[Tensor, Tensor], Tensor]) -> Tensor | None:
        return None if mine is None or theirs is None else torch.where(along(alone, mine), mine, join(mine, theirs))

    share = along(weight, signal.values)
    values = share * signal.values.float() + (1 - share) * other.values.float()
    if not signal.values.is_floating_point():
        values = values.round()
    heavier = along(weight >= 0.5, signal.values if signal.hint is None else signal.hint)
    return replace(
        signal,
        values=values.to(signal.values.dtype),
        length=either(signal.length, other.length, torch.maximum),
        observed=either(signal.observed, other.observed, torch.logical_or),
        edges=either(signal.edges, other.edges, torch.maximum),
        hint=None if signal.hint is None or other.hint is None else torch.where(heavier, signal.hint, other.hint),
    )


def cleared(signal: Signal) -> Signal:
    """The signal with nothing observed in its padding, and zeros wherever nothing is."""
    signal = signal.silenced()
    if signal.observed is None:
        return signal
    observed = signal.observed
    if signal.length is not None:
        inside = torch.arange(observed.shape[1], device=observed.device) < signal.length[:, None]
        observed = observed & inside[..., None, None]
    return replace(signal, observed=observed, values=torch.where(observed, signal.values, 0))


def along(x: Tensor, of: Tensor) -> Tensor:
    """x (b,) beside tensors of more axes."""
    return x.reshape(-1, *[1] * (of.ndim - 1))


class Augment(nn.Module):
    """Augments the streams that have an augmentation, in their order, and leaves the others alone.

    changes: what else is said of each. Outside of training (`eval()`) only those that say `always` are augmented.
    """

    def __init__(self, augmentations: Mapping[str, Augmentation], changes: Mapping[str, Change] | None = None):
        super().__init__()
        self.augmentations = nn.ModuleDict(augmentations)
        self.changes = {name: (changes or {}).get(name, Change()) for name in augmentations}

    def forward(self, batch: Batch) -> Batch:
        signals = dict(batch.signals)
        for name, augment in self.augmentations.items():
            change = self.changes[name]
            if name in signals and (self.training or change.always):
                signal = signals.get(change.after or name, signals[name])
                signals[name] = augment(signal, batch.key if change.draw is None else fold_in(batch.key, change.draw))
        return replace(batch, signals=signals)
