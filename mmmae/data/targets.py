"""What is asked of a sample's label: one class, any of several labels, or numbers; how each becomes a tensor and back.

The recipe's objective decides (`classification`, `multilabel`, `regression`), or `mmmae probe --target`. A target knows
the names of its outputs, which are kept with a run, so that outputs are always matched by name.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, smooth_l1_loss

from mmmae.data.labels import NO_LABEL, measured, number, ordered, parsed
from modalities.errors import InputError
from modalities.shapes import Bool, Float, Shaped, Tensor

if TYPE_CHECKING:
    from mmmae.data.manifest import Manifest

Encoded = int | tuple[float, ...]
INSTEAD = {
    "class": "`classification` in the recipe, or `mmmae probe --target class`",
    "multilabel": "`multilabel` in the recipe, or `mmmae probe --target multilabel`",
    "regression": "`regression` in the recipe, or `mmmae probe --target regression`",
}
JOINS = ";|,"  # between labels in one cell, as some write them


class Target(ABC):
    """kind: as `--target` names it; objective: that learns it. names: of the outputs, in their order."""

    kind: ClassVar[str]
    objective: ClassVar[str]
    names: tuple[str, ...]

    @classmethod
    @abstractmethod
    def of(cls, manifest: Manifest) -> Target:
        """The target that the labels of a manifest make up.

        Names are those of the whole file, also where the manifest holds some of its rows; statistics are of the rows.

        Raises:
            InputError: the labels are not of this kind, or there are none; names the row and the remedy.
        """

    @abstractmethod
    def truth(self, text: str) -> Encoded | None:
        """What is true of a sample with this label, as figures are computed from it; None where it has none."""

    def encode(self, text: str) -> Encoded | None:
        """What an objective learns from a label: a class by its number, else a number for each output."""
        return self.truth(text)

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """The settings of its objective."""

    @abstractmethod
    def loss(self, outputs: Float[Tensor, "b outputs"], label: Shaped[Tensor, "b ..."]) -> Float[Tensor, " b"]:
        """The loss of each sample; of a missing label it means nothing but is finite."""

    @abstractmethod
    def activated(self, outputs: Float[Tensor, "b outputs"]) -> Float[Tensor, "b outputs"]:
        """Outputs as what may be averaged over windows: probabilities, or numbers."""

    def restore(self, values: np.ndarray) -> np.ndarray:
        """Averages of what is activated (n, outputs) in the units of the labels."""
        return values

    @abstractmethod
    def answer(self, values: np.ndarray) -> dict[str, Any]:
        """What is predicted of one sample, `label`, `score` and `scores` by name, from restored values (outputs,)."""

    def notes(self, manifest: Manifest) -> list[str]:
        """What a person should know of the labels of some rows."""
        texts = manifest.texts()
        without = sum(text is None or self.truth(text) is None for text in texts)
        called = " (-1 counts as none)" if NO_LABEL in texts and self.kind != "regression" else ""
        return [f"{without} of {len(texts)} rows have no label{called}"] if without else []


@dataclass(frozen=True)
class Classes(Target):
    """One class of several.

    certain: whether outputs are known to be called so; not for runs that were saved with the number of classes only.
    """

    names: tuple[str, ...]
    certain: bool = True
    kind = "class"
    objective = "classification"

    @classmethod
    def of(cls, manifest: Manifest) -> Classes:
        texts = [text for text in manifest.texts() if text not in (None, NO_LABEL)]
        for text in manifest.labels:
            if isinstance(parsed(text), list):
                raise InputError(
                    f"{manifest.place(text)} holds the list {text}, where one class is asked for\n"
                    f"  for several labels of a row take {INSTEAD['multilabel']};\n"
                    f"  for numbers {INSTEAD['regression']}"
                )
        if measured(texts):
            some = ", ".join(sorted(set(texts))[:3])
            raise InputError(
                f"{manifest.path}: column 'label' holds numbers ({some}, ...), {len(set(texts))} different ones in "
                f"{len(texts)} rows, where classes are asked for\n  to predict numbers take {INSTEAD['regression']}"
            )
        return cls.plain(manifest.labels)

    @classmethod
    def plain(cls, labels: Sequence[str]) -> Classes:
        """The names among labels, whatever else there is."""
        return cls(ordered(text for text in labels if text != NO_LABEL and not isinstance(parsed(text), list)))

    @cached_property
    def places(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.names)}

    def truth(self, text: str) -> int | None:
        return self.places.get(text)

    def settings(self) -> dict[str, Any]:
        return {"classes": list(self.names)}

    def loss(self, outputs: Tensor, label: Tensor, smoothing: float = 0.0) -> Tensor:
        return cross_entropy(outputs, label.clamp_min(0), reduction="none", label_smoothing=smoothing)

    def activated(self, outputs: Tensor) -> Tensor:
        return outputs.softmax(1)

    def answer(self, values: np.ndarray) -> dict[str, Any]:
        scores = dict(zip(self.names, values.tolist(), strict=True))
        best = self.names[int(values.argmax())]
        return {"label": best, "score": scores[best], "scores": scores}

    def notes(self, manifest: Manifest) -> list[str]:
        notes = super().notes(manifest)
        texts = [text for text in manifest.texts() if text is not None and self.truth(text) is not None]
        different = len(set(texts))
        if different > 10 and different > 0.8 * len(texts):
            notes.append(
                f"{different} different labels in {len(texts)} rows: nearly every one has a class of its own; "
                f"to predict numbers take {INSTEAD['regression']}"
            )
        return notes


@dataclass(frozen=True)
class LabelSet(Target):
    """Any number of several labels at once; an empty list says that none applies."""

    names: tuple[str, ...]
    kind = "multilabel"
    objective = "multilabel"

    @classmethod
    def of(cls, manifest: Manifest) -> LabelSet:
        sets = {text: found for text in manifest.labels if (found := several(text)) is not None}
        alone = {text for text in sets if not isinstance(parsed(text), list)}
        if len(alone) == len(sets) and (joint := sorted(t for t in alone if any(join in t for join in JOINS))):
            raise InputError(
                f"{manifest.place(joint[0])} holds the name {joint[0]!r}, where a list of labels is asked for\n"
                '  write lists, also in a CSV: ["dog", "cat"]'
            )
        if measured([name for text in manifest.texts() if text in sets for name in sets[text]]):
            raise InputError(
                f"{manifest.path}: column 'label' holds numbers, where labels are asked for\n"
                f"  to predict numbers take {INSTEAD['regression']}"
            )
        return cls(ordered(name for found in sets.values() for name in found))

    @cached_property
    def places(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.names)}

    def truth(self, text: str) -> tuple[float, ...] | None:
        found = several(text)
        if found is None:
            return None
        there = [0.0] * len(self.names)
        for name in found:
            if name in self.places:
                there[self.places[name]] = 1.0
        return tuple(there)

    def settings(self) -> dict[str, Any]:
        return {"labels": list(self.names)}

    def loss(self, outputs: Tensor, label: Tensor) -> Tensor:
        return binary_cross_entropy_with_logits(outputs, label.nan_to_num(), reduction="none").mean(1)

    def activated(self, outputs: Tensor) -> Tensor:
        return outputs.sigmoid()

    def answer(self, values: np.ndarray) -> dict[str, Any]:
        scores = dict(zip(self.names, values.tolist(), strict=True))
        found = sorted((name for name in self.names if scores[name] >= 0.5), key=lambda name: -scores[name])
        return {"label": found, "score": [scores[name] for name in found], "scores": scores}


@dataclass(frozen=True)
class Numbers(Target):
    """One number or several. Outputs are in units of the deviation of the training rows about their mean."""

    means: tuple[float, ...]
    deviations: tuple[float, ...]
    kind = "regression"
    objective = "regression"

    @property
    def names(self) -> tuple[str, ...]:
        return ("label",) if len(self.means) == 1 else tuple(f"label {n}" for n in range(len(self.means)))

    @classmethod
    def of(cls, manifest: Manifest) -> Numbers:
        widths: dict[int, str] = {}
        for text in manifest.labels:
            try:
                widths.setdefault(len(numbers(text)), text)
            except ValueError:
                raise InputError(
                    f"{manifest.place(text)} holds {text!r}, where a number or a list of numbers is asked for\n"
                    f"  write 36.6 or [36.6, 1.2]; for names take {INSTEAD['class']}"
                ) from None
        if len(widths) > 1:
            few, many = min(widths), max(widths)
            raise InputError(
                f"{manifest.place(widths[many])} holds {many} numbers, other rows {few}\n"
                "  give every row as many, null where one is not known"
            )
        rows = [numbers(text) for text in manifest.texts() if text is not None]
        return cls.about(np.array(rows, dtype=float).reshape(len(rows), -1), str(manifest.path))

    @classmethod
    def about(cls, values: np.ndarray, where: str) -> Numbers:
        """The target standardised by the labels of some rows (n, outputs), NaN where one is missing.

        Raises:
            InputError: there are none, or one never varies; `where` they come from.
        """
        if not values.size or np.isnan(values).all():
            raise InputError(f"{where}: no row to learn from has a label\n  fill the column 'label'")
        for place, column in enumerate(values.T):
            known = column[~np.isnan(column)]
            if not len(known) or np.ptp(known) == 0:
                which = f"number {place} of the labels" if values.shape[1] > 1 else "the label"
                raise InputError(
                    f"{where}: {which} is {'never there' if not len(known) else f'always {known[0]:g}'} in the "
                    "rows to learn from\n  there is nothing to predict: drop it, or add rows with other values"
                )
        return cls(tuple(np.nanmean(values, 0).tolist()), tuple(np.nanstd(values, 0).tolist()))

    def truth(self, text: str) -> tuple[float, ...] | None:
        try:
            values = numbers(text)
        except ValueError:
            return None
        return tuple(values) if len(values) == len(self.means) and not all(map(math.isnan, values)) else None

    def encode(self, text: str) -> tuple[float, ...] | None:
        values = self.truth(text)
        if values is None:
            return None
        return tuple((v - m) / d for v, m, d in zip(values, self.means, self.deviations, strict=True))

    def settings(self) -> dict[str, Any]:
        return {"means": list(self.means), "deviations": list(self.deviations)}

    def loss(self, outputs: Tensor, label: Tensor, smooth: bool = False) -> Tensor:
        known = ~label.isnan()
        wanted = torch.where(known, label, outputs.detach())
        errors = smooth_l1_loss(outputs, wanted, reduction="none") if smooth else (outputs - wanted) ** 2
        return (errors * known).sum(1) / known.sum(1).clamp_min(1)

    def activated(self, outputs: Tensor) -> Tensor:
        return outputs

    def restore(self, values: np.ndarray) -> np.ndarray:
        return np.array(self.means) + np.array(self.deviations) * values

    def answer(self, values: np.ndarray) -> dict[str, Any]:
        return {"label": values.tolist() if len(values) > 1 else float(values[0]), "score": None, "scores": None}


TARGETS: dict[str, type[Target]] = {target.kind: target for target in (Classes, LabelSet, Numbers)}


def several(text: str) -> list[str] | None:
    """The names in a label; None where it says that there is none."""
    found = parsed(text)
    if isinstance(found, list):
        return [name for name in found if name is not None]
    return None if text == NO_LABEL else [text]


def numbers(text: str) -> list[float]:
    """The numbers in a label, NaN where one is missing.

    Raises:
        ValueError: it holds something else.
    """
    found = parsed(text)
    return [number(one) for one in found] if isinstance(found, list) else [number(text)]


def batched(labels: Sequence[Encoded | None]) -> Shaped[Tensor, "b ..."] | None:
    """The labels of a batch: classes (b,) with -1, or numbers (b, outputs) with NaN, where one is missing; None if all."""
    known = [label for label in labels if label is not None]
    if not known:
        return None
    if isinstance(first := known[0], tuple):
        absent = (math.nan,) * len(first)
        return torch.tensor([absent if label is None else label for label in labels], dtype=torch.float32)
    return torch.tensor([-1 if label is None else label for label in labels])


def unlabelled(label: Shaped[Tensor, "b ..."]) -> Bool[Tensor, " b"]:
    """Which samples of a batch have no label."""
    return label < 0 if label.ndim == 1 else label.isnan().all(1)
