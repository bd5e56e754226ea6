"""A teacher that was trained before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from mmmae.build import build_masking, build_tokenizers, build_trunk
from mmmae.convert.read import read
from mmmae.recipes.recipe import RecipeSpec
from mmmae.teachers.teacher import Teacher
from modalities.shapes import Tensor
from modalities.tokenizer import Tokenizers


class Frozen(Teacher):
    """The encoder of a finished run, as it is.

    A checkpoint of the student holds the teacher's weights and its recipe, so that it stands alone: the teacher's run
    is read once, when training starts, and may be gone after that.

    Args:
        run: its folder, or that of a checkpoint which `mmmae convert` reads.
        recipe: the teacher's, as a checkpoint keeps it; the weights then come with the checkpoint, and nothing is read.
    """

    def __init__(self, *, run: str | None = None, recipe: dict[str, Any] | None = None):
        super().__init__()
        self.loaded = recipe is None
        if recipe is not None:
            spec = RecipeSpec(recipe, "the teacher's recipe")
            trunk = build_trunk(spec)
            tokenizers: Any = Tokenizers(build_tokenizers(spec, trunk.width))
            for parameter in (*trunk.parameters(), *tokenizers.parameters()):
                nn.init.constant_(parameter, torch.nan)  # until a checkpoint gives them
        elif run is not None:
            found = read(Path(run))
            spec, trunk, tokenizers = found.recipe, found.model.trunk, found.model.tokenizers
        else:
            raise ValueError("a frozen teacher was trained by a run; set run to its folder")
        unseen = build_masking(spec, tokenizers).target_only
        self.streams = [name for name in spec.streams if name not in unseen]
        self.tree, self.width = spec.tree, trunk.width
        self.hold(tokenizers, trunk)
        self.register_load_state_dict_post_hook(arrived)

    def attach(self, model: nn.Module, heads: nn.Module | None = None) -> None:
        if heads is not None:
            raise ValueError("a frozen teacher has no heads of this objective; use: ema")

    def record(self) -> dict[str, Any]:
        return {"recipe": self.tree}

    def after_step(
        self, model: nn.Module, progress: float, taken: bool | Tensor, heads: nn.Module | None = None
    ) -> None:
        if not self.loaded and taken is not False:
            raise ValueError(
                "the frozen teacher has no weights: they come with a checkpoint, and none was loaded; "
                "leave out teacher.recipe to read them from teacher.run"
            )


def arrived(teacher: nn.Module, keys: Any) -> None:
    """Note that a teacher's weights were loaded, unless some are missing."""
    assert isinstance(teacher, Frozen)
    teacher.loaded = teacher.loaded or not keys.missing_keys
