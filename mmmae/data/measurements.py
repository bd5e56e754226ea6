"""One number or several to be predicted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.functional import smooth_l1_loss

from mmmae.data.labels import LabelColumn, number, parsed
from mmmae.data.targets import INSTEAD, Target
from modalities.errors import InputError
from modalities.shapes import Tensor


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
    def of(cls, labels: LabelColumn) -> Numbers:
        widths: dict[int, str] = {}
        for text in labels.labels:
            try:
                widths.setdefault(len(numbers(text)), text)
            except ValueError:
                raise InputError(
                    f"{labels.place(text)} holds {text!r}, where a number or a list of numbers is asked for\n"
                    f"  write 36.6 or [36.6, 1.2]; for names take {INSTEAD['class']},\n"
                    f"  for several {INSTEAD['multilabel']}"
                ) from None
        if len(widths) > 1:
            few, many = min(widths), max(widths)
            raise InputError(
                f"{labels.place(widths[many])} holds {many} numbers, other rows {few}\n"
                "  give every row as many, null where one is not known"
            )
        rows = [numbers(text) for text in labels.texts() if text is not None]
        return cls.about(np.array(rows, dtype=float).reshape(len(rows), next(iter(widths), 1)), str(labels.path))

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


def numbers(text: str) -> list[float]:
    """The numbers in a label, NaN where one is missing.

    Raises:
        ValueError: it holds something else.
    """
    found = parsed(text)
    return [number(one) for one in found] if isinstance(found, list) else [number(text)]
