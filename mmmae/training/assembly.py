"""From a recipe to model and optimizer, ready to train: begun, cut into pieces, divided among processes, restored."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from mmmae.storage import checkpoint
from mmmae.storage.checkpoint import State
from mmmae.training.efficiency import compile_model, recompute, spread
from mmmae.training.footprint import Trial
from mmmae.training.optim import adamw
from mmmae.training.stages import staged
from mmmae.training.warm_start import begin

if TYPE_CHECKING:
    from accelerate import Accelerator
    from accelerate.optimizer import AcceleratedOptimizer

    from mmmae.api import MaskedAutoencoder, Recipe
    from mmmae.data.augment import Augment
    from mmmae.recipes.sections import Training
    from mmmae.training.batching import Sizes


def begun(recipe: Recipe, device: torch.device, *, fresh: bool) -> tuple[MaskedAutoencoder, list[str]]:
    """The model on its device, and lines on what it begins with.

    fresh: whether it begins with the runs that the recipe names, rather than goes on from a checkpoint of its own.
    """
    settings, lines = recipe.sections.training, list[str]()
    model = recipe.build(settings.seed)
    if fresh and settings.start is not None:
        lines += begin(model, recipe, settings.start)
    staged(model, settings)
    model.attach()  # teachers begin as what their student begins with
    model = model.to(device)
    if settings.recompute:
        recompute(model)
    return model, lines


def cut(model: MaskedAutoencoder, recipe: Recipe, augment: Augment, sizes: Sizes, accelerator: Accelerator) -> Recipe:
    """The recipe with the pieces into which a step is cut, found by trial of the model."""

    def smallest(figure: int) -> int:
        everyone: Any = accelerator.gather(torch.tensor([figure], device=accelerator.device))
        return int(everyone.min())

    processes = int(os.environ.get("LOCAL_WORLD_SIZE") or accelerator.num_processes)
    trial = Trial(model, recipe, augment, accelerator.device, lambda: accelerator.autocast(), processes)
    return sizes.pieces(recipe, trial, smallest)


def pieces_of(settings: Training) -> int:
    """How many forward and backward passes of each process make a step."""
    piece = settings.batch_size if settings.piece == "auto" else settings.piece
    return settings.accumulate or max(1, settings.batch_size // piece)


def sharded(accelerator: Accelerator) -> bool:
    """Whether each process holds a piece of the weights only."""
    return accelerator.distributed_type.value == "FSDP"


def divided(
    model: MaskedAutoencoder, recipe: Recipe, accelerator: Accelerator
) -> tuple[nn.Module, AcceleratedOptimizer]:
    """Model and optimizer, compiled and divided among the processes as the run is launched."""
    optimizer = adamw(model, recipe.sections.optimizer)
    if recipe.sections.training.compile:
        compile_model(model, whole=accelerator.num_processes == 1)
    if sharded(accelerator):
        spread(accelerator.state.fsdp_plugin, model)
    prepared: Any = accelerator.prepare(model, optimizer)
    if sharded(accelerator):
        from torch.distributed.fsdp import register_fsdp_forward_method  # takes a second to import

        register_fsdp_forward_method(prepared[0], "reconstruct")
    return prepared


def restored(start: Path | None, model: nn.Module, optimizer: AcceleratedOptimizer, accelerator: Accelerator) -> State:
    """Where a run stands: at its checkpoint, which model and optimizer are given, or at its beginning."""
    if start is None:
        return State(0, {})
    return checkpoint.load(start, model, optimizer.optimizer, accelerator.scaler)
