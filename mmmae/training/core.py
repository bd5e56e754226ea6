"""One optimizer step, the same for pretraining and fine-tuning: precision, pieces, clipping, guard and schedules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from torch import nn

from mmmae.training.means import Means
from mmmae.training.optim import clip, learning_rate, set_learning_rate
from modalities.records import Batch
from modalities.shapes import Tensor

if TYPE_CHECKING:
    from accelerate import Accelerator
    from accelerate.optimizer import AcceleratedOptimizer

    from mmmae.recipes.sections import Optimizer
    from mmmae.training.nonfinite import Guard


class Core:
    """Takes the optimizer steps of one model; the batches may come from anywhere.

    Args:
        model, optimizer: prepared by the accelerator.
        guard: leaves out steps that are not finite.
        prepare: a batch of the loader as the model gets it.
        settings: of the optimizer. steps: of the run, which all schedules end with.
        batch_size: samples of a step over all processes, by which the learning rate scales.
        pieces: forward and backward passes of each process that make a step. epoch: steps of one, if it has a length.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        model: nn.Module,
        optimizer: AcceleratedOptimizer,
        guard: Guard,
        prepare: Callable[[Batch], Batch],
        settings: Optimizer,
        *,
        steps: int,
        batch_size: int,
        pieces: int = 1,
        epoch: int | None = None,
    ):
        self.accelerator, self.model, self.optimizer, self.guard = accelerator, model, optimizer, guard
        self.prepare, self.settings, self.steps = prepare, settings, steps
        self.batch_size, self.pieces, self.epoch = batch_size, pieces, epoch

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        return learning_rate(step, self.steps, self.settings, self.batch_size)

    def step(self, step: int, batches: Iterator[Batch]) -> tuple[Means, Tensor | None]:
        """Forward and backward passes for every piece of a batch, then one step, counted from 0.

        The losses, and the gradient's norm where gradients are clipped, stay on the device.
        """
        model: Any = self.accelerator.unwrap_model(self.model)
        progress = step / self.steps
        model.advance(progress)
        set_learning_rate(self.optimizer.optimizer, self.rate(step))
        self.model.train()
        means = Means()
        total: Any = 0
        ids: list[str] = []
        for piece in range(self.pieces):
            batch = next(batches)
            ids += batch.ids
            batch = self.prepare(batch)
            with nullcontext() if piece == self.pieces - 1 else self.accelerator.no_sync(self.model):
                losses = self.model(batch)
                self.accelerator.backward(losses.total / self.pieces)
            means.add(losses)
            total = total + losses.total.detach() / self.pieces
        self.accelerator.unscale_gradients()
        norms = clip(self.optimizer.optimizer, self.settings.clip)
        finite = self.guard.weigh(step + 1, total, norms, ids)
        self.optimizer.step()
        self.optimizer.zero_grad()
        taken = finite if self.accelerator.scaler is None else not self.optimizer.step_was_skipped
        model.after_step(progress, taken, epoch_ends=self.epoch is not None and (step + 1) % self.epoch == 0)
        return means, None if self.settings.clip is None else norms[0]
