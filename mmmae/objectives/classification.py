"""Classification of samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from mmmae.data.classes import Classes
from mmmae.data.labels import LabelColumn, name, ordered
from mmmae.objectives.labelled import Labelled
from modalities.errors import InputError
from modalities.shapes import Float, Int, Tensor
from modalities.tokenizer import Tokenizer


class Classification(Labelled):
    """Cross-entropy of the one class that a sample has; reports the share of samples classified correctly, `accuracy`.

    Args:
        classes: their names, in the order of the outputs; None leaves them to the data (sorted; two where there is
            none). A number stands for the names 0, 1, ... where all labels are such; for as many names as the data has
            where they are not.
        smoothing: share of the probability that all classes get alike (Szegedy et al., arXiv:1512.00567).
        detached, weight: see `Labelled`.
    """

    figure = "accuracy"
    target: Classes

    def __init__(
        self,
        tokenizers: Mapping[str, Tokenizer],
        dim: int,
        *,
        classes: int | list[str | int] | None = None,
        smoothing: float = 0.0,
        detached: bool = False,
        weight: float = 1.0,
    ):
        if not 0 <= smoothing < 1:
            raise ValueError(f"smoothing is a share of the probability in [0, 1), got {smoothing}")
        super().__init__(dim, self.target_of({"classes": classes}), detached=detached, weight=weight)
        self.smoothing = smoothing

    @classmethod
    def target_of(cls, settings: Mapping[str, Any]) -> Classes:
        """The classes; those of a number are called by what they may be, and may have been called otherwise."""
        classes = settings.get("classes")
        classes = 2 if classes is None else classes
        names = tuple(map(str, range(classes))) if isinstance(classes, int) else tuple(map(name, classes))
        if len(names) < 2:
            raise ValueError(f"there are at least 2 classes to tell apart, got {len(names)}")
        if len(set(names)) < len(names):
            raise ValueError(f"classes: {next(n for n in names if names.count(n) > 1)!r} stands there twice")
        return Classes(names, certain=not isinstance(classes, int))

    @classmethod
    def survey(cls, settings: Mapping[str, Any], labels: LabelColumn) -> dict[str, Any]:
        """The names of the classes, where they are left open.

        Raises:
            InputError: the labels are no classes, are fewer than two, or others than the recipe says.
        """
        found, classes = Classes.of(labels), settings.get("classes")
        if len(found.names) < 2:
            raise InputError(f"{labels.path}: needs two labels or more to tell apart\n  fill the column 'label'")
        if classes is None:
            return found.settings()
        said = cls.target_of(settings)
        strange = [label for label in found.names if label not in said.places]
        if not strange:
            return said.settings()
        if said.certain:
            raise InputError(
                f"{labels.place(strange[0])} holds {strange[0]!r}, which is none of the recipe's classes "
                f"({', '.join(said.names[:10])})\n  add it to objectives.classification.classes, or correct the label"
            )
        if len(found.names) != classes:
            raise InputError(
                f"{labels.path}: has {len(found.names)} labels, the recipe says classes={classes}\n"
                f"  set objectives.classification.classes=null, or list the names of all"
            )
        return {"classes": list(ordered(found.names))}

    def missing(self, outputs: Float[Tensor, "b outputs"]) -> Int[Tensor, " b"]:
        return torch.full((len(outputs),), -1, device=outputs.device)

    def judge(
        self, outputs: Float[Tensor, "b outputs"], label: Int[Tensor, " b"]
    ) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        """The loss of each sample, and 1 where its class scores highest."""
        return self.target.loss(outputs, label, smoothing=self.smoothing), (outputs.argmax(1) == label).float()
