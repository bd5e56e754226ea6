"""Targets from a sample's label: one class, several labels, or numbers, with conversions to tensors and back.

The recipe's objective decides (`classification`, `multilabel`, `regression`), or `mmmae probe --target`. A target knows
the names of its outputs, which are kept with a run, so that outputs are always matched by name. Classes and label sets
are in mmmae/data/classes.py, numbers in mmmae/data/measurements.py.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch

from mmmae.data.labels import NO_LABEL, LabelColumn
from modalities.shapes import Bool, Float, Shaped, Tensor

Encoded = int | tuple[float, ...]
INSTEAD = {
    "class": "`classification` in the recipe, or `mmmae probe --target class`",
    "multilabel": "`multilabel` in the recipe, or `mmmae probe --target multilabel`",
    "regression": "`regression` in the recipe, or `mmmae probe --target regression`",
}


class Target(ABC):
    """kind: as `--target` names it; objective: that learns it. names: of the outputs, in their order."""

    kind: ClassVar[str]
    objective: ClassVar[str]
    names: tuple[str, ...]

    @classmethod
    @abstractmethod
    def of(cls, labels: LabelColumn) -> Target:
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

    def notes(self, labels: LabelColumn) -> list[str]:
        """What a person should know of the labels of some rows."""
        texts = labels.texts()
        without = sum(text is None or self.truth(text) is None for text in texts)
        called = " (-1 counts as none)" if NO_LABEL in texts and self.kind != "regression" else ""
        return [f"{without} of {len(texts)} rows have no label{called}"] if without else []


def batched(labels: Sequence[Encoded | None]) -> Shaped[Tensor, "b ..."] | None:
    """The labels of a batch: classes (b,), -1 where one is missing, or numbers (b, outputs), NaN where one is.

    None if all are missing.
    """
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
