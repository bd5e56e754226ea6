"""The training loop: data, model and optimizer made ready, then steps until the last one."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmmae.data.augment import prepared
from mmmae.data.loader import Loader, share
from mmmae.data.mixture import Mixture
from mmmae.parallel.main_process import agreed
from mmmae.parallel.watchdog import COMPUTING
from mmmae.storage import checkpoint
from mmmae.training import assembly
from mmmae.training.batching import Sizes
from mmmae.training.core import Core
from mmmae.training.log import Clock, Report
from mmmae.training.nonfinite import Guard
from mmmae.training.result import Run
from mmmae.training.resume import require_same, resumed, with_record
from mmmae.training.run_data import RunData
from mmmae.training.validation import Evaluation

if TYPE_CHECKING:
    from accelerate import Accelerator

    from mmmae.api import Recipe
    from mmmae.data.clips import Clips
    from mmmae.parallel.signals import Interrupt
    from mmmae.parallel.watchdog import Watch
    from mmmae.training.means import Means
    from modalities.records import Batch
    from modalities.shapes import Tensor


class Trainer:
    """A run: data, model and optimizer made ready, then steps until the last one."""

    def __init__(
        self,
        accelerator: Accelerator,
        recipe: Recipe,
        data: Any,
        output: Path,
        resume: str,
        interrupt: Interrupt,
        watch: Watch,
        given: Collection[str] = (),
    ):
        self.accelerator, self.output, self.watch = accelerator, output, watch
        self.clock, self.report = Clock(), Report(accelerator, output)
        self.start, damaged = agreed(lambda: resumed(output, resume))

        # data
        self.data = RunData.open(data, recipe, output, accelerator, self.report.say, fresh=self.start is None)
        if self.start is not None:
            require_same(self.start, self.data.recipe)
        recipe = self.data.recipe if self.start is None else with_record(self.start, self.data.recipe)
        self.sizes = Sizes(recipe, given, self.start, accelerator.num_processes)
        recipe = self.sizes.batch(recipe, len(self.data.train), Mixture.of(self.data.train, recipe.sections.data))

        # model
        self.augment = recipe.augment().to(accelerator.device)
        model, origins = assembly.begun(recipe, accelerator.device, fresh=self.start is None)
        self.recipe = assembly.cut(model, model.recipe, self.augment, self.sizes, accelerator)
        self.settings = self.recipe.sections.training
        self.pieces = assembly.pieces_of(self.settings)
        self.loader, held = self.clips()
        self.steps = self.settings.steps or self.settings.epochs * self.loader.steps_per_epoch

        # optimizer, and where the run stands
        self.model, self.optimizer = assembly.divided(model, self.recipe, accelerator)
        state = assembly.restored(self.start, self.model, self.optimizer, accelerator)
        self.step = state.step

        # observers
        self.report.begin(self.steps, self.step)
        self.opening(damaged, origins)
        self.guard = Guard(
            accelerator, self.optimizer.optimizer, output, self.report.say, interrupt,
            policy=self.settings.nonfinite, row=state.extra.get("skipped", 0),
        )  # fmt: skip
        self.evaluation = Evaluation(
            accelerator, self.model, held, self.prepare, output,
            batch_size=self.loader.schedule.batch_size, workers=self.settings.workers,
            sharded=assembly.sharded(accelerator), note=self.data.bad.note, remark=self.data.remarks.note,
        )  # fmt: skip
        self.core = Core(
            accelerator, self.model, self.optimizer, self.guard, lambda batch: self.prepare(batch, train=True),
            self.recipe.sections.optimizer, steps=self.steps, batch_size=self.settings.batch_size, pieces=self.pieces,
            epoch=self.loader.steps_per_epoch,
        )  # fmt: skip
        accelerator.init_trackers("log", config={})

    def clips(self) -> tuple[Loader, Clips | None]:
        """The endless training loader, and the held-out clips (None where there are none)."""
        data, settings, world = self.recipe.sections.data, self.settings, self.accelerator.num_processes
        part = share(settings.batch_size, world=world, pieces=self.pieces, repeats=data.repeats)
        clips = self.recipe.clips(
            self.data.train, seed=settings.seed, repeats=data.repeats, repeat=data.repeat,
            mixture=Mixture.of(self.data.train, data),
        )  # fmt: skip
        loader = Loader(
            clips, part, workers=settings.workers, rank=self.accelerator.process_index, world=world,
            pieces=self.pieces, note=self.data.bad.note, remark=self.data.remarks.note,
        )  # fmt: skip
        test = self.data.test
        return loader, self.recipe.clips(test, seed=settings.seed, centre=True) if len(test) >= world else None

    def opening(self, damaged: list[str], origins: list[str]) -> None:
        """Lines on the data and on where the run begins."""
        for note in self.data.notes:
            self.report.say(f"note: {note}")
        for fault in damaged:
            self.report.say(f"warning: {fault}")
        if self.start is not None:
            self.report.say(f"resuming at step {self.step} from {self.start}")
        for line in origins:
            self.report.say(line)

    def result(self) -> Run:
        """What the run has left so far."""
        return Run.of(self.output, self.step, self.start)

    def train(self) -> None:
        """Steps until the last one, with lines, evaluations, pictures and checkpoints on the way."""
        settings = self.settings
        held = 0 if self.evaluation.clips is None else len(self.evaluation.clips)
        save_every = settings.save_every or max(1, self.steps // 10)
        evaluate_every = settings.evaluate_every or max(1, self.steps // 10, math.ceil(held / settings.batch_size))
        model = self.accelerator.unwrap_model(self.model)
        self.report.introduce(self.recipe, model, len(self.loader.clips), held)
        for note in self.sizes.notes:
            self.report.say(note)
        if self.step >= self.steps:
            self.report.say(f"nothing to do: step {self.step} of {self.steps} is reached; ask for more --steps")
            return
        self.loader.start_step = self.step
        batches = self.arriving(iter(self.loader))
        with self.report.progress:
            while self.step < self.steps:
                with self.clock.step(settings.batch_size):
                    means, norm = self.one_step(batches)
                self.step += 1
                self.report.advance()
                self.guard.settle(but=1)
                last = self.step == self.steps
                evaluate = last or (self.step % evaluate_every == 0 and not self.guard.stop)
                if evaluate or self.step % settings.log_every == 0 or self.step == 1:
                    self.log(means, norm, evaluate)
                if last or self.guard.stop or self.step % save_every == 0:
                    self.save()
                if self.guard.stop and not last:
                    self.report.say(f"stopped at step {self.step} of {self.steps} as asked; launch again to go on")
                    return
        self.report.say(f"log          {self.output / 'log.jsonl'}")
        if (self.output / "panels").exists():
            self.report.say(f"pictures     {self.output / 'panels'}")
        if self.data.remarks.known:
            self.report.say(f"notes        {self.data.remarks.path}")
        if self.data.bad.known:
            bad = self.data.bad
            self.report.say(f"bad samples  {bad.path} ({len(bad.known)} of {bad.recordings} recordings)")
        self.report.say(f"checkpoint   {self.output / 'checkpoints' / f'step-{self.step}'}")

    def one_step(self, batches: Iterator[Batch]) -> tuple[Means, Tensor | None]:
        """The next step; its losses and the gradient's norm stay on the device."""
        return self.core.step(self.step, batches)

    def arriving(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The batches, with the time that passes waiting for them."""
        while True:
            self.watch.at(self.step, "waiting for data")
            with self.clock.wait():
                batch = next(batches)
            self.watch.at(self.step, COMPUTING)
            yield batch

    def prepare(self, batch: Batch, train: bool = False) -> Batch:
        """To the device; there framed, and in training repeated, augmented and mixed."""
        return prepared(batch, self.accelerator.device, self.augment, self.recipe.sections.data if train else None)

    def log(self, means: Means, norm: Tensor | None, evaluate: bool) -> None:
        """A line of the log: this step's losses over all processes, speed, and held-out losses where asked."""
        figures = means.over(self.accelerator)
        figures = {"loss": figures.pop("total"), **figures}
        if norm is not None:
            everyone: Any = self.accelerator.reduce(norm.float(), "mean")
            figures["gradient_norm"] = float(everyone)
        speed = self.clock.figures()
        self.watch.at(self.step, "evaluating")
        held = self.evaluation.losses(self.step, self.guard.asked_to_stop) if evaluate else {}
        self.report.write(self.step, {**figures, "learning_rate": self.core.rate(self.step - 1), **speed, **held})
        self.clock.reset()

    def save(self) -> None:
        self.watch.at(self.step, "saving")
        self.guard.settle()
        scaler = self.accelerator.scaler
        loss_scale = None if scaler is None else scaler.state_dict()
        extra = {"scaler": loss_scale, "skipped": self.guard.row, "asked": self.sizes.asked}
        state = checkpoint.State(self.step, extra)
        self.report.flush()  # no power cut leaves a checkpoint without the lines that led to it
        keep = self.settings.keep
        checkpoint.save(self.output, self.model, self.optimizer.optimizer, self.recipe, state, keep=keep)
