"""The training loop: data, model and optimizer made ready, then steps until the last one."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accelerate import Accelerator

    from mmmae.api import MaskedAutoencoder, Recipe
    from mmmae.data.clips import Clips
    from mmmae.data.loader import Loader
    from mmmae.data.manifest import Manifest
    from mmmae.parallel.signals import Interrupt
    from mmmae.parallel.watchdog import Watch
    from mmmae.training.means import Means
    from mmmae.training.result import Run
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
        from mmmae.build import build_target
        from mmmae.data.bad_samples import FILE, BadSamples
        from mmmae.data.mixture import Mixture
        from mmmae.data.notes import FILE as NOTES
        from mmmae.data.notes import RunNotes
        from mmmae.data.open_settings import fit
        from mmmae.data.source import open_data
        from mmmae.parallel.main_process import agreed
        from mmmae.storage import checkpoint
        from mmmae.training.batching import Sizes
        from mmmae.training.efficiency import compile_model, recompute, spread
        from mmmae.training.log import Clock, Report
        from mmmae.training.nonfinite import Guard
        from mmmae.training.optim import adamw
        from mmmae.training.resume import require_same, resumed
        from mmmae.training.validation import Evaluation
        from mmmae.training.warm_start import begin, same_files

        self.accelerator, self.output, self.watch = accelerator, output, watch
        start, damaged = agreed(lambda: resumed(output, resume))
        self.start = start
        with accelerator.main_process_first():
            rules = recipe.sections.data
            manifest = open_data(data, recipe.columns, bad=rules.bad, outside=rules.outside)
            train, test = manifest.split(recipe.sections.data.holdout)
            output.mkdir(parents=True, exist_ok=True)
            main = accelerator.is_main_process
            self.bad = BadSamples(
                output / FILE, recordings=len(manifest), share=rules.bad, fresh=main and start is None,
                say=(lambda line: self.report.say(line)) if main else None,
            )  # fmt: skip
            self.notes = RunNotes(output / NOTES, say=self.bad.say, fresh=main and start is None)
            recipe = fit(same_files(recipe), train, output)
        if start is not None:
            require_same(start, recipe)
        self.sizes = Sizes(recipe, given, start, accelerator.num_processes)
        recipe = self.sizes.batch(recipe, len(train), Mixture.of(train, rules))
        self.recipe, self.settings = recipe, recipe.sections.training

        self.augment = recipe.augment().to(accelerator.device)
        model = recipe.build(self.settings.seed)
        origin = self.settings.start if start is None else None
        began = None if origin is None else begin(model, Path(origin))
        model = model.to(accelerator.device)
        if self.settings.recompute:
            recompute(model)
        self.cut(model)
        self.loader, held = self.clips(train, test)
        self.steps = self.settings.steps or self.settings.epochs * self.loader.steps_per_epoch
        optimizer = adamw(model, recipe.sections.optimizer)
        sharded = accelerator.distributed_type.value == "FSDP"
        if self.settings.compile:
            compile_model(model, whole=accelerator.num_processes == 1)
        if sharded:
            spread(accelerator.state.fsdp_plugin, model)
        self.model, self.optimizer = accelerator.prepare(model, optimizer)
        if sharded:
            from torch.distributed.fsdp import register_fsdp_forward_method  # takes a second to import

            register_fsdp_forward_method(self.model, "reconstruct")
        state = checkpoint.State(0, {})
        if start is not None:
            state = checkpoint.load(start, self.model, self.optimizer.optimizer, accelerator.scaler)
        self.step = state.step
        self.clock, self.report = Clock(), Report(accelerator, output, self.steps, self.step)
        target = build_target(recipe)
        for note in [*manifest.notes, *([] if target is None else target.notes(train))]:
            self.report.say(f"note: {note}")
        for fault in damaged:
            self.report.say(f"warning: {fault}")
        if start is not None:
            self.report.say(f"resuming at step {self.step} from {start}")
        if began is not None:
            self.report.say(f"starting with the trunk and tokenizers of {began}")
        self.guard = Guard(
            accelerator, self.optimizer.optimizer, output, self.report, interrupt,
            policy=self.settings.nonfinite, row=state.extra.get("skipped", 0),
        )  # fmt: skip
        self.evaluation = Evaluation(
            accelerator, self.model, held, self.prepare, output,
            batch_size=self.share, workers=self.settings.workers, sharded=sharded, note=self.bad.note,
            remark=self.notes.note,
        )  # fmt: skip
        accelerator.init_trackers("log", config={})

    def cut(self, model: MaskedAutoencoder) -> None:
        """Find into how many pieces a step is cut, by trial of the model."""
        import torch

        from mmmae.training.footprint import Trial

        accelerator = self.accelerator

        def smallest(figure: int) -> int:
            everyone: Any = accelerator.gather(torch.tensor([figure], device=accelerator.device))
            return int(everyone.min())

        processes = int(os.environ.get("LOCAL_WORLD_SIZE") or accelerator.num_processes)
        trial = Trial(model, self.recipe, self.augment, accelerator.device, lambda: accelerator.autocast(), processes)
        self.recipe = self.sizes.pieces(self.recipe, trial, smallest)
        self.settings = self.recipe.sections.training

    @property
    def pieces(self) -> int:
        """How many forward and backward passes of each process make a step."""
        settings = self.settings
        piece = settings.batch_size if settings.piece == "auto" else settings.piece
        return settings.accumulate or max(1, settings.batch_size // piece)

    def result(self) -> Run:
        """What the run has left so far."""
        from mmmae.training.result import Run

        return Run.of(self.output, self.step, self.start)

    def clips(self, train: Manifest, test: Manifest) -> tuple[Loader, Clips | None]:
        """The endless training loader, and the held-out clips (None where there are none)."""
        from mmmae.data.loader import Loader, share
        from mmmae.data.mixture import Mixture

        data, settings, world = self.recipe.sections.data, self.settings, self.accelerator.num_processes
        self.share = share(settings.batch_size, world=world, pieces=self.pieces, repeats=data.repeats)
        mixture = Mixture.of(train, data)
        clips = self.recipe.clips(train, seed=settings.seed, repeats=data.repeats, repeat=data.repeat, mixture=mixture)
        loader = Loader(
            clips, self.share, workers=settings.workers, rank=self.accelerator.process_index, world=world,
            pieces=self.pieces, note=self.bad.note, remark=self.notes.note,
        )  # fmt: skip
        held = self.recipe.clips(test, seed=settings.seed, centre=True) if len(test) >= world else None
        return loader, held

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
        batches = iter(self.loader)
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
        if self.accelerator.unwrap_model(self.model).predicts():
            self.report.say(f"pictures     {self.output / 'panels'}")
        if self.notes.known:
            self.report.say(f"notes        {self.notes.path}")
        if self.bad.known:
            self.report.say(f"bad samples  {self.bad.path} ({len(self.bad.known)} of {self.bad.recordings} recordings)")
        self.report.say(f"checkpoint   {self.output / 'checkpoints' / f'step-{self.step}'}")

    def one_step(self, batches: Iterator[Batch]) -> tuple[Means, Tensor | None]:
        """Forward and backward for every piece of the batch, then one step; losses and norm stay on the device."""
        from mmmae.parallel.watchdog import COMPUTING
        from mmmae.training.means import Means
        from mmmae.training.optim import clip, learning_rate, set_learning_rate

        settings, optimizer = self.settings, self.recipe.sections.optimizer
        self.accelerator.unwrap_model(self.model).advance(self.step / self.steps)
        set_learning_rate(
            self.optimizer.optimizer, learning_rate(self.step, self.steps, optimizer, settings.batch_size)
        )
        self.model.train()
        means, pieces = Means(), self.pieces
        total: Any = 0
        ids: list[str] = []
        for piece in range(pieces):
            last = piece == pieces - 1
            self.watch.at(self.step, "waiting for data")
            with self.clock.wait():
                batch = next(batches)
            self.watch.at(self.step, COMPUTING)
            ids += batch.ids
            batch = self.prepare(batch, train=True)
            with nullcontext() if last else self.accelerator.no_sync(self.model):
                losses = self.model(batch)
                self.accelerator.backward(losses.total / pieces)
            means.add(losses)
            total = total + losses.total.detach() / pieces
        self.accelerator.unscale_gradients()
        norms = clip(self.optimizer.optimizer, optimizer.clip)
        self.guard.weigh(self.step + 1, total, norms, ids)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return means, None if optimizer.clip is None else norms[0]

    def prepare(self, batch: Batch, train: bool = False) -> Batch:
        """To the device; there framed, and in training repeated, augmented and mixed."""
        from mmmae.data.augment import prepared

        return prepared(batch, self.accelerator.device, self.augment, self.recipe.sections.data if train else None)

    def log(self, means: Means, norm: Tensor | None, evaluate: bool) -> None:
        """A line of the log: this step's losses over all processes, speed, and held-out losses where asked."""
        from mmmae.training.optim import learning_rate

        figures = means.over(self.accelerator)
        figures = {"loss": figures.pop("total"), **figures}
        if norm is not None:
            everyone: Any = self.accelerator.reduce(norm.float(), "mean")
            figures["gradient_norm"] = float(everyone)
        rate = learning_rate(self.step - 1, self.steps, self.recipe.sections.optimizer, self.settings.batch_size)
        speed = self.clock.figures()
        self.watch.at(self.step, "evaluating")
        held = self.evaluation.losses(self.step, self.guard.asked_to_stop) if evaluate else {}
        self.report.write(self.step, {**figures, "learning_rate": rate, **speed, **held})
        self.clock.reset()

    def save(self) -> None:
        from mmmae.storage import checkpoint

        self.watch.at(self.step, "saving")
        self.guard.settle()
        scaler = self.accelerator.scaler
        loss_scale = None if scaler is None else scaler.state_dict()
        extra = {"scaler": loss_scale, "skipped": self.guard.row, "asked": self.sizes.asked}
        state = checkpoint.State(self.step, extra)
        self.report.flush()  # no power cut leaves a checkpoint without the lines that led to it
        keep = self.settings.keep
        checkpoint.save(self.output, self.model, self.optimizer.optimizer, self.recipe, state, keep=keep)
