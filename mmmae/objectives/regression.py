"""Regression of the numeric labels of a sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch

from mmmae.data.labels import LabelColumn
from mmmae.data.measurements import Numbers
from mmmae.objectives.labelled import Labelled
from modalities.shapes import Float, Tensor
from modalities.tokenizer import Tokenizer


class Regression(Labelled):
    """Error of one number or several, in units of their deviation; reports the mean absolute error in their own, `mae`.

    Args:
        means, deviations: of each number in the training rows, by which it is standardised; null leaves them to the
            data (one number, as it is, where there is none).
        loss: `mse`, or `smooth_l1`, which large errors pull less (Girshick, arXiv:1504.08083).
        detached, weight: see `Labelled`.
    """

    figure = "mae"
    target: Numbers
    deviations: Tensor

    def __init__(
        self,
        tokenizers: Mapping[str, Tokenizer],
        dim: int,
        *,
        means: list[float] | None = None,
        deviations: list[float] | None = None,
        loss: Literal["mse", "smooth_l1"] = "mse",
        detached: bool = False,
        weight: float = 1.0,
    ):
        target = self.target_of({"means": means, "deviations": deviations})
        super().__init__(dim, target, detached=detached, weight=weight)
        self.smooth = loss == "smooth_l1"
        self.register_buffer("deviations", torch.tensor(target.deviations), persistent=False)

    @classmethod
    def target_of(cls, settings: Mapping[str, Any]) -> Numbers:
        """The numbers; one, as it is, where nothing is said."""
        means, deviations = settings.get("means"), settings.get("deviations")
        means = [0.0] * len(deviations or [0.0]) if means is None else means
        deviations = [1.0] * len(means) if deviations is None else deviations
        if not means or len(means) != len(deviations) or not all(value > 0 for value in deviations):
            raise ValueError(f"means and deviations are as many, these above 0; got {means} and {deviations}")
        return Numbers(tuple(map(float, means)), tuple(map(float, deviations)))

    @classmethod
    def survey(cls, settings: Mapping[str, Any], labels: LabelColumn) -> dict[str, Any]:
        """Mean and deviation of each number, where they are left open.

        Raises:
            InputError: labels are no numbers, or not as many as the recipe says.
        """
        found = Numbers.of(labels)
        given = {key: settings[key] for key in ("means", "deviations") if settings.get(key) is not None}
        said = cls.target_of(found.settings() | given)
        return said.settings()

    def judge(
        self, outputs: Float[Tensor, "b outputs"], label: Float[Tensor, "b outputs"]
    ) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        """The loss of each sample, and its mean absolute error."""
        known = ~label.isnan()
        errors = torch.where(known, outputs - label, 0.0).abs() * self.deviations
        return self.target.loss(outputs, label, smooth=self.smooth), errors.sum(1) / known.sum(1).clamp_min(1)
