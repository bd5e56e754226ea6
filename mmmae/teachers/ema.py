"""A teacher that follows its student."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import nn

from mmmae.objectives.objective import Encoded
from mmmae.teachers.teacher import Teacher
from modalities.records import Patches
from modalities.shapes import Tensor


class Ema(Teacher):
    """Exponential moving average of the student's weights (Mean Teacher, arXiv:1703.01780; MoCo, 1911.05722).

    It equals its student at the start. After each optimizer step, weight = m * weight + (1 - m) * student's; buffers
    become the student's. A skipped step changes nothing.

    Args:
        momentum: m, in [0, 1]; BYOL (arXiv:2006.07733) lets it follow a schedule, half a cosine to 1.
        each: follow after every `step`, or after the last one of every `epoch`.
    """

    schedulable = ("momentum",)
    plain = True  # no compiled code reads it

    def __init__(self, *, momentum: float = 0.996, each: Literal["step", "epoch"] = "step"):
        super().__init__()
        if not 0 <= momentum <= 1:
            raise ValueError(f"momentum is in [0, 1], got {momentum}")
        if each not in ("step", "epoch"):
            raise ValueError(f"each is 'step' or 'epoch', got {each!r}")
        self.momentum, self.each = momentum, each

    def attach(self, model: nn.Module, heads: nn.Module | None = None) -> None:
        student: Any = model
        self.streams = [name for name in student.tokenizers if name not in student.masking.target_only]
        self.hold(*copy.deepcopy((student.tokenizers, student.trunk, heads)))

    def patches(self, encoded: Encoded, name: str) -> Patches:
        return encoded.patches[name]  # cutting involves no parameter: the student's are the teacher's

    @torch.no_grad()
    def after_step(
        self, model: nn.Module, progress: float, taken: bool | Tensor, heads: nn.Module | None = None
    ) -> None:
        if taken is False or (self.each == "epoch" and not model.epoch_ends):
            return
        m = self.momentum
        for mine, its in self.pairs(model, heads):
            for weight, student in zip(mine.parameters(), its.parameters(), strict=True):
                weight, student = local(weight), local(student)
                replace(weight, m * weight + (1 - m) * student, taken)
            for buffer, student in zip(mine.buffers(), its.buffers(), strict=True):
                replace(buffer, student, taken)

    def pairs(self, model: Any, heads: nn.Module | None) -> Iterator[tuple[nn.Module, nn.Module]]:
        """Its modules and those of the student that they follow."""
        yield self.tokenizers, model.tokenizers
        yield self.trunk, model.trunk
        if heads is not None:
            yield self.heads, heads


def local(tensor: Any) -> Tensor:
    """This process's part of a tensor that FSDP has spread; teacher and student are spread alike."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def replace(old: Tensor, new: Tensor, taken: bool | Tensor) -> None:
    """Write a tensor anew if the step was taken, which only the device may know yet."""
    old.copy_(torch.where(taken, new, old) if isinstance(taken, Tensor) else new)
