"""Objectives that have a teacher."""

from __future__ import annotations

from abc import ABC
from typing import Any

from torch import nn

from mmmae.objectives.objective import Objective
from mmmae.teachers import Teacher
from modalities.shapes import Tensor


class Taught(Objective, ABC):
    """An objective whose targets come from a teacher: it begins with the model's weights and follows them.

    teacher: None where there is none.
    """

    teacher: Any

    def __init__(self, weight: float, teacher: Teacher | None):
        super().__init__(weight)
        self.teacher = teacher

    def taught_heads(self) -> nn.Module | None:
        """Heads of the objective that the teacher needs its own of; none by default."""
        return None

    def attach(self, model: nn.Module) -> None:
        if self.teacher is not None:
            self.teacher.attach(model, self.taught_heads())

    def after_step(self, model: nn.Module, progress: float, taken: bool | Tensor) -> None:
        if self.teacher is not None:
            self.teacher.after_step(model, progress, taken, self.taught_heads())

    def record(self) -> dict[str, Any]:
        record = {} if self.teacher is None else self.teacher.record()
        return {"teacher": record} if record else {}
