"""One class of several, or any of several labels at once: targets whose outputs have names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from mmmae.data.labels import NO_LABEL, LabelColumn, measured, ordered, parsed
from mmmae.data.targets import INSTEAD, Target
from modalities.errors import InputError
from modalities.shapes import Tensor

JOINS = ";|,"  # between labels in one cell, as some write them


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
    def of(cls, labels: LabelColumn) -> Classes:
        texts = [text for text in labels.texts() if text not in (None, NO_LABEL)]
        for text in labels.labels:
            if isinstance(parsed(text), list):
                raise InputError(
                    f"{labels.place(text)} holds the list {text}, where one class is asked for\n"
                    f"  for several labels of a row take {INSTEAD['multilabel']};\n"
                    f"  for numbers {INSTEAD['regression']}"
                )
        if measured(texts):
            some = ", ".join(sorted(set(texts))[:3])
            raise InputError(
                f"{labels.path}: column 'label' holds numbers ({some}, ...), {len(set(texts))} different ones in "
                f"{len(texts)} rows, where classes are asked for\n  to predict numbers take {INSTEAD['regression']}"
            )
        return cls.plain(labels.labels)

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

    def notes(self, labels: LabelColumn) -> list[str]:
        notes = super().notes(labels)
        texts = [text for text in labels.texts() if text is not None and self.truth(text) is not None]
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
    def of(cls, labels: LabelColumn) -> LabelSet:
        sets = {text: found for text in labels.labels if (found := several(text)) is not None}
        alone = {text for text in sets if not isinstance(parsed(text), list)}
        if len(alone) == len(sets) and (joint := sorted(t for t in alone if any(join in t for join in JOINS))):
            raise InputError(
                f"{labels.place(joint[0])} holds the name {joint[0]!r}, where a list of labels is asked for\n"
                '  write lists, also in a CSV: ["dog", "cat"]'
            )
        if measured([name for text in labels.texts() if text in sets for name in sets[text]]):
            raise InputError(
                f"{labels.path}: column 'label' holds numbers, where labels are asked for\n"
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


def several(text: str) -> list[str] | None:
    """The names in a label; None where it says that there is none."""
    found = parsed(text)
    if isinstance(found, list):
        return [name for name in found if name is not None]
    return None if text == NO_LABEL else [text]
