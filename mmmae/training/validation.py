"""Validation: held-out losses, on the same windows and masks every time, and reconstructions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from mmmae.data.clips import Clips
from mmmae.data.loader import Note, Remark, evaluation
from mmmae.panels import draw, part, predicted
from mmmae.training.means import Means
from modalities.records import Batch

if TYPE_CHECKING:
    from accelerate import Accelerator


PICTURED = 3  # samples of a panel


class Evaluation:
    """Held-out losses over all processes, and on the way a panel of the first batch.

    Args:
        model: prepared by the accelerator; sharded: whether each process holds a piece of its weights only.
        clips: held out; None where there are none.
        prepare: to the device and framed as for training.
        output: the run's folder.
        note: is told of bad recordings. remark: gets the notes of readers.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        model: nn.Module,
        clips: Clips | None,
        prepare: Callable[[Batch], Batch],
        output: Path,
        *,
        batch_size: int,
        workers: int,
        sharded: bool,
        note: Note,
        remark: Remark,
    ):
        self.accelerator, self.model, self.clips, self.prepare, self.output = accelerator, model, clips, prepare, output
        self.batch_size, self.workers, self.sharded = batch_size, workers, sharded
        self.note, self.remark = note, remark

    @torch.no_grad()
    def losses(self, step: int, stop: Callable[[], bool]) -> dict[str, float]:
        """Mean losses by `evaluation/NAME`; none when `stop`, asked before each batch, ends it early."""
        if self.clips is None:
            return {}
        self.model.eval()
        means = Means()
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        batches = evaluation(
            self.clips, self.batch_size, workers=self.workers, rank=rank, world=world, even=True, note=self.note,
            remark=self.remark,
        )  # fmt: skip
        for number, batch in enumerate(batches):
            if stop():
                return {}
            batch = self.prepare(batch)
            means.add(self.model(batch), samples=len(batch.key))
            if number == 0:
                self.picture(batch, step)
        figures = means.over(self.accelerator)
        return {f"evaluation/{'loss' if name == 'total' else name}": value for name, value in figures.items()}

    def picture(self, batch: Batch, step: int) -> None:
        """What the model reconstructs of the first samples of a batch, as a PNG in the run's folder; if it does any."""
        main = self.accelerator.is_main_process
        if not (main or self.sharded):  # if sharded, every process holds a piece of the weights and must take part
            return
        model = self.accelerator.unwrap_model(self.model)
        batch = part(batch, slice(PICTURED))
        pictures = predicted(model, batch)
        if main and pictures:
            path = self.output / "panels" / f"step-{step:06}.png"
            draw(model, batch, path, title=f"step {step}", samples=PICTURED, pictures=pictures)
