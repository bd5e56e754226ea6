"""Multilabel classification of samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmmae.data.classes import LabelSet
from mmmae.data.labels import LabelColumn, name
from mmmae.objectives.labelled import Labelled
from modalities.errors import InputError
from modalities.shapes import Float, Tensor
from modalities.tokenizer import Tokenizer


class Multilabel(Labelled):
    """Binary cross-entropy of each label, averaged; reports the share of correct labels, present or not, `accuracy`.

    Args:
        labels: their names, in the order of the outputs; None leaves them to the data (sorted; 0 and 1 where there is
            none).
        detached, weight: see `Labelled`.
    """

    figure = "accuracy"

    def __init__(
        self,
        tokenizers: Mapping[str, Tokenizer],
        dim: int,
        *,
        labels: list[str | int] | None = None,
        detached: bool = False,
        weight: float = 1.0,
    ):
        super().__init__(dim, self.target_of({"labels": labels}), detached=detached, weight=weight)

    @classmethod
    def target_of(cls, settings: Mapping[str, Any]) -> LabelSet:
        """The labels; 0 and 1 where none are named."""
        labels = settings.get("labels")
        names = ("0", "1") if labels is None else tuple(map(name, labels))
        if not names or len(set(names)) < len(names):
            raise ValueError(f"labels are one name or more, each once, got {list(names)}")
        return LabelSet(names)

    @classmethod
    def survey(cls, settings: Mapping[str, Any], labels: LabelColumn) -> dict[str, Any]:
        """The names of the labels, where they are left open.

        Raises:
            InputError: the rows have none, or others than the recipe names.
        """
        found = LabelSet.of(labels)
        if not found.names:
            raise InputError(f"{labels.path}: no row has a label\n  fill the column 'label' with lists of names")
        if settings.get("labels") is None:
            return found.settings()
        said = cls.target_of(settings)
        if strange := [label for label in found.names if label not in said.places]:
            raise InputError(
                f"{labels.path}: column 'label' has {strange[0]!r}, which is none of objectives.multilabel.labels "
                f"({', '.join(said.names[:10])})\n  add it there, or correct the label"
            )
        return said.settings()

    def judge(
        self, outputs: Float[Tensor, "b outputs"], label: Float[Tensor, "b outputs"]
    ) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        """The loss of each sample, and the share of the labels that it is right about."""
        return self.target.loss(outputs, label), ((outputs > 0) == (label > 0)).float().mean(1)
