"""Plans, and the two kinds of masking that make them: of one modality, and of all modalities together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import nn

from modalities.noise import normal, numbered, uniform
from modalities.records import Patches
from modalities.shapes import Bool, Float, Int, Tensor

Ratio = float | tuple[float, float]
STAGES = 20  # a ratio that moves does so in this many steps: each new count is a new shape to compile for


@dataclass(frozen=True)
class Plan:
    """Which patches of one modality are visible and which are hidden and predicted.

    visible, hidden: indices of patches, ascending; `hidden` need not be the rest.
    visible_valid, hidden_valid: which slots of `visible` and `hidden` are filled; None when all are. A slot is empty
        where a sample has fewer valid patches than others; its index points anywhere.
    log_prob: the log-probability with which a masking that learns would have shown each patch first; None from others.
    stream_vector: a unit vector of the whole stream, from a masking that learns to compare streams; None from others.
    """

    visible: Int[Tensor, "b k"]
    hidden: Int[Tensor, "b m"]
    visible_valid: Bool[Tensor, "b k"] | None = None
    hidden_valid: Bool[Tensor, "b m"] | None = None
    log_prob: Float[Tensor, "b n"] | None = None
    stream_vector: Float[Tensor, "b w"] | None = None

    @classmethod
    def of(cls, hide: Bool[Tensor, "b n"], visible: int, hidden: int, valid: Bool[Tensor, "b n"] | None = None) -> Plan:
        """A plan from a mask over patches.

        visible, hidden: how many slots to keep for each: without `valid`, exactly as many as the mask says; with it, at
            least as many as any sample fills.
        """
        if valid is None:
            order = hide.byte().argsort(dim=1, stable=True)
            none = (
                order[:, :0].bool() if visible == 0 else None
            )  # so that a stream of which nothing is visible is absent
            return cls(order[:, :visible], order[:, visible:], none)
        shown, asked = filled(~hide & valid, visible), filled(hide & valid, hidden)
        return cls(shown[0], asked[0], shown[1], asked[1])

    def complete(self, patches: Patches) -> Plan:
        """The same view, asked for everything that it does not show, also what training leaves out."""
        seen = torch.zeros(patches.time.shape, dtype=torch.long, device=self.visible.device)
        shown = torch.ones_like(self.visible, dtype=torch.bool) if self.visible_valid is None else self.visible_valid
        hide = seen.scatter_add(1, self.visible, shown.long()) == 0
        valid = patches.valid
        if self.visible_valid is not None and valid is None:
            valid = torch.ones_like(hide)
        n, k = hide.shape[1], self.visible.shape[1]
        rest = Plan.of(hide, k, n - k if valid is None else n, valid)
        return replace(self, hidden=rest.hidden, hidden_valid=rest.hidden_valid)

    def map(self, function: Callable[[Tensor], Tensor]) -> Plan:
        """The plan with `function` applied to each of its tensors."""
        changed: Any = {f.name: None if (x := getattr(self, f.name)) is None else function(x) for f in fields(self)}
        return Plan(**changed)


def filled(chosen: Bool[Tensor, "b n"], slots: int) -> tuple[Int[Tensor, "b slots"], Bool[Tensor, "b slots"]]:
    """Indices of the chosen patches in the first slots of each row, and which slots those are."""
    index = (~chosen).byte().argsort(dim=1, stable=True)[:, :slots]
    return index, chosen.gather(1, index)


def rank(noise: Float[Tensor, "b n"], valid: Bool[Tensor, "b n"] | None = None) -> Int[Tensor, "b n"]:
    """The place of every element when its row is sorted; invalid elements come last."""
    if valid is not None:
        noise = torch.where(valid, noise, torch.inf)
    return noise.argsort(dim=1, stable=True).argsort(1)


def share(ratio: float, count: Int[Tensor, " b"]) -> Int[Tensor, " b"]:
    """int(ratio * count) of each sample, rounded as Python rounds it."""
    return (ratio * count.double()).long()


def further(noise: Float[Tensor, "b n"], purpose: str, count: int) -> Float[Tensor, "b count"]:
    """More uniform numbers for each sample, hashed from its first draw so that the number of patches has no say."""
    return uniform((noise[:, 0] * 2**24).long(), purpose, count)


class Noise:
    """Uniform numbers that belong to samples: a function of each sample's key and of a purpose."""

    def __init__(self, key: Int[Tensor, " b"]):
        self.key = key

    def __call__(self, purpose: str, count: int) -> Float[Tensor, "b count"]:
        return uniform(self.key, purpose, count)

    def at(self, purpose: str, index: Int[Tensor, "b count"]) -> Float[Tensor, "b count"]:
        """Those that stand at `index`: what a patch is given depends on no other."""
        return numbered(self.key, purpose, index)

    def normal(self, purpose: str, index: Int[Tensor, "b count"]) -> Float[Tensor, "b count"]:
        """Standard normal numbers, those that stand at `index`."""
        return normal(self.at(purpose, index))


class Scheduled(nn.Module):
    """Something with a ratio that may move while training progresses.

    ratio: a number in [0, 1], or a pair: from the first at the start linearly to the second at the end.
    """

    def __init__(self, ratio: Ratio):
        super().__init__()
        ends = tuple(ratio) if isinstance(ratio, (tuple, list)) else (ratio, ratio)
        if len(ends) != 2 or not all(0 <= end <= 1 for end in ends):
            raise ValueError(f"the ratio to hide is a number in [0, 1] or a pair of them, got {ratio}")
        self.ends = ends
        self.advance(0.0)

    def advance(self, progress: float) -> None:
        """Move the ratio to where it belongs; how far training is, from 0 to 1, is told by the trainer."""
        start, end = self.ends
        self.ratio = start + (end - start) * int(progress * STAGES) / STAGES


class Masking(Scheduled, ABC):
    """Decides what of one modality is hidden.

    learns: whether its plans carry a `log_prob` that an objective must teach it by.
    follows: the hint that it is made for and cannot do without (fusion/masking/guide.py).
    target_only: whether it hides everything at all times.
    """

    learns: bool = False
    follows: str | None = None

    @property
    def target_only(self) -> bool:
        return min(self.ends) == 1

    @abstractmethod
    def plan(self, patches: Patches, noise: Float[Tensor, "b n"]) -> Plan:
        """The same noise gives the same plan; invalid patches are neither visible nor hidden."""


class JointMasking(nn.Module, ABC):
    """Decides what is hidden in all modalities together.

    learns: whether its plans carry something that an objective must teach it by.
    target_only: the streams that it hides completely at all times, so that they are predicted and never shown.
    """

    learns: bool = False

    @property
    def target_only(self) -> frozenset[str]:
        return frozenset()

    @abstractmethod
    def plan(self, streams: Mapping[str, Patches], noise: Noise) -> dict[str, Plan]:
        """A plan for every stream."""


def hide_slices(
    patches: Patches, noise: Float[Tensor, "b n"], ratio: float, axes: tuple[int, ...], run: int = 1
) -> Plan:
    """Hide whole slices: all patches that share coordinates along `axes`.

    Hides int(ratio * slices) of the slices in which a sample has anything valid. run: neighbouring slices that are
    hidden and shown together; the last run may be cut short to keep the count.
    """
    sizes = [patches.grid[axis] for axis in axes]
    slices = 1
    number = torch.zeros_like(patches.coords[:, 0])
    for axis, size in zip(axes, sizes, strict=True):
        number, slices = number * size + patches.coords[:, axis], slices * size
    place = torch.arange(slices, device=noise.device)
    score = noise[:, :slices]
    if run > 1:  # runs start at a random offset, and a run is as likely hidden as its own draw says
        offset = (further(noise, "offset", 1) * run).long()
        score = rank(score).gather(1, (place + offset) // run) + place / slices
    valid = patches.valid
    present = None if valid is None else torch.zeros_like(score).index_add(1, number, valid.float()) > 0
    hidden = int(ratio * slices)
    count = hidden if present is None else share(ratio, present.sum(1))[:, None]
    hide = (rank(score, present) < count)[:, number]
    each = patches.coords.shape[0] // slices
    return Plan.of(hide, (slices - hidden) * each, hidden * each, valid)
