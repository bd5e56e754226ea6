"""Pretrain: the one place where the training loop meets Accelerate.

accelerate launch mmmae/train.py --modalities video,text --data DIR
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __name__ == "__main__" and not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)  # a script's own folder must not come before the house

from mmmae.launch import check_processes, guarded, listed, overrides_of, training_parser

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor

    from mmmae.data.dataset import Clips
    from mmmae.data.loader import Loader
    from mmmae.data.manifest import Manifest
    from mmmae.recipe import Recipe
    from modalities.records import Batch


def run(arguments: argparse.Namespace) -> int:
    """One training run, from arguments to the last checkpoint."""
    from mmmae.recipe import Recipe

    recipe = Recipe.load(arguments.recipe, overrides_of(arguments), listed(arguments.modalities))
    output = arguments.output or Path("runs") / "-".join([Path(recipe.name).stem, *recipe.streams])

    import torch
    from accelerate import Accelerator

    settings = recipe.sections.training
    accelerator = Accelerator(
        mixed_precision=precision(settings.precision), log_with=list(settings.trackers) or None, project_dir=output
    )
    trainer = Trainer(accelerator, recipe, arguments.data, output, arguments.resume)
    if warning := check_processes(accelerator.num_processes, f"mmmae/train.py {' '.join(sys.argv[1:])}"):
        trainer.report.say(f"warning: {warning}")
    torch.set_float32_matmul_precision("high")
    try:
        trainer.train()
    finally:
        accelerator.end_training()
    return 0


class Trainer:
    """A run: data, model and optimizer made ready, then steps until the last one."""

    def __init__(self, accelerator: Accelerator, recipe: Recipe, data: str | None, output: Path, resume: str):
        from accelerate import DistributedType
        from torch.distributed.fsdp import register_fsdp_forward_method

        from fusion.blocks import Block, CrossBlock
        from mmmae import checkpoint
        from mmmae.data.faults import FILE, BadSamples
        from mmmae.data.fit import fit
        from mmmae.data.source import open_data
        from mmmae.optim import adamw
        from mmmae.report import Clock, Report
        from mmmae.start import begin, same_files

        self.accelerator, self.output = accelerator, output
        start = checkpoint.resumed(output, resume)
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
            recipe = fit(same_files(recipe), train, output)
        self.recipe, self.settings = recipe, recipe.sections.training
        if start is not None:
            checkpoint.require_same(start, recipe)

        self.loader, self.test = self.clips(train, test)
        per_epoch = max(1, self.loader.steps_per_epoch // self.settings.accumulate)
        self.steps = self.settings.steps or self.settings.epochs * per_epoch
        self.augment = recipe.augment().to(accelerator.device)
        model = recipe.build(self.settings.seed)
        origin = self.settings.start if start is None else None
        began = None if origin is None else begin(model, Path(origin))
        model = model.to(accelerator.device)
        optimizer = adamw(model, recipe.sections.optimizer)
        if self.settings.compile:
            for block in model.modules():
                if isinstance(block, Block | CrossBlock):  # where the time goes; what lies around them never recompiles
                    block.compile()
        self.model, self.optimizer = accelerator.prepare(model, optimizer)
        self.sharded = accelerator.distributed_type == DistributedType.FSDP
        if self.sharded:
            register_fsdp_forward_method(self.model, "reconstruct")
        self.step = 0
        if start is not None:
            self.step = checkpoint.load(start, self.model, self.optimizer.optimizer, accelerator.scaler).step
        self.clock, self.report = Clock(), Report(accelerator, output, self.steps, self.step)
        if start is not None:
            self.report.say(f"resuming at step {self.step} from {start}")
        if began is not None:
            self.report.say(f"starting with the trunk and tokenizers of {began}")
        accelerator.init_trackers("log", config={})

    def clips(self, train: Manifest, test: Manifest) -> tuple[Loader, Clips | None]:
        """The endless training loader, and the held-out clips (None where there are none)."""
        from mmmae.data.loader import Loader
        from modalities.errors import InputError

        data, settings, world = self.recipe.sections.data, self.settings, self.accelerator.num_processes
        pieces = world * settings.accumulate * data.repeats
        if settings.batch_size % pieces:
            raise InputError(
                f"a batch of {settings.batch_size} cannot be cut for {world} processes x {settings.accumulate} pieces "
                f"x {data.repeats} repeats\n  choose --batch-size as a multiple of {pieces}"
            )
        clips = self.recipe.clips(train, seed=settings.seed, repeats=data.repeats, repeat=data.repeat)
        self.share = settings.batch_size // pieces  # recordings of one process and piece
        loader = Loader(
            clips, self.share, workers=settings.workers, rank=self.accelerator.process_index, world=world,
            note=self.bad.note,
        )  # fmt: skip
        held = self.recipe.clips(test, seed=settings.seed, centre=True) if len(test) >= world else None
        return loader, held

    def train(self) -> None:
        """Steps until the last one, with lines, evaluations, pictures and checkpoints on the way."""
        settings = self.settings
        evaluate_every = settings.evaluate_every or max(1, self.steps // 10)
        save_every = settings.save_every or max(1, self.steps // 10)
        self.describe()
        if self.step >= self.steps:
            self.report.say(f"nothing to do: step {self.step} of {self.steps} is reached; ask for more --steps")
            return
        self.loader.start_step = self.step * settings.accumulate
        batches = iter(self.loader)
        with self.report.progress:
            while self.step < self.steps:
                with self.clock.step(settings.batch_size):
                    losses = self.one_step(batches)
                self.step += 1
                self.report.advance()
                last = self.step == self.steps
                evaluate = last or self.step % evaluate_every == 0
                if evaluate or self.step % settings.log_every == 0 or self.step == 1:
                    self.log(losses, evaluate)
                if last or self.step % save_every == 0:
                    self.save()
        self.report.say(f"log          {self.output / 'log.jsonl'}")
        if self.accelerator.unwrap_model(self.model).predicts():
            self.report.say(f"pictures     {self.output / 'panels'}")
        if self.bad.known:
            self.report.say(f"bad samples  {self.bad.path} ({len(self.bad.known)} of {self.bad.recordings} recordings)")
        self.report.say(f"checkpoint   {self.output / 'checkpoints' / f'step-{self.step}'}")

    def one_step(self, batches: Iterator[Batch]) -> dict:
        """Forward and backward for every piece of the batch, then one step; losses stay on the device."""
        from mmmae.optim import learning_rate, set_learning_rate

        settings, optimizer = self.settings, self.recipe.sections.optimizer
        self.accelerator.unwrap_model(self.model).advance(self.step / self.steps)
        set_learning_rate(
            self.optimizer.optimizer, learning_rate(self.step, self.steps, optimizer, settings.batch_size)
        )
        self.model.train()
        self.augment.train()
        sums: dict = {}
        for piece in range(settings.accumulate):
            last = piece == settings.accumulate - 1
            with self.clock.wait():
                batch = next(batches)
            batch = self.prepare(batch)
            with nullcontext() if last else self.accelerator.no_sync(self.model):
                losses = self.model(batch)
                self.accelerator.backward(losses.total / settings.accumulate)
            for name, loss in losses.items():
                sums[name] = sums.get(name, 0) + loss.detach() / settings.accumulate
        if optimizer.clip is not None:
            sums["gradient_norm"] = self.clip(optimizer.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return sums

    def clip(self, largest: float) -> Tensor:
        """Clip the gradients of each side on its own, so that neither sways the other; the model's norm before."""
        from torch.nn.utils import clip_grad_norm_

        from mmmae.optim import sides

        self.accelerator.unscale_gradients()
        norms = [clip_grad_norm_(side, largest) for side in sides(self.optimizer.optimizer)]
        return norms[0]

    def prepare(self, batch: Batch) -> Batch:
        """To the device, repeated and augmented there."""
        from mmmae.data.augment import repeat

        data = self.recipe.sections.data
        batch = batch.to(self.accelerator.device, non_blocking=True)
        return self.augment(repeat(batch, data.repeats if data.repeat == "crops" else 1))

    def log(self, losses: dict, evaluate: bool) -> None:
        """A line of the log: this step's losses over all processes, speed, and held-out losses where asked."""
        from mmmae.optim import learning_rate

        figures = {"loss": losses["total"], **{name: loss for name, loss in losses.items() if name != "total"}}
        means = {name: self.mean(value.float()) for name, value in figures.items()}
        rate = learning_rate(self.step - 1, self.steps, self.recipe.sections.optimizer, self.settings.batch_size)
        speed = self.clock.figures()
        held = self.evaluate() if evaluate else {}
        self.report.write(self.step, {**means, "learning_rate": rate, **speed, **held})
        self.clock.reset()

    def evaluate(self) -> dict[str, float]:
        """Mean held-out losses; the same windows and masks every time. Draws the panel on the way."""
        import torch

        from mmmae.data.loader import evaluation

        if self.test is None:
            return {}
        self.model.eval()
        self.augment.eval()
        sums: dict = {}
        count = 0
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        batches = evaluation(
            self.test, self.share, workers=self.settings.workers, rank=rank, world=world, even=True, note=self.bad.note
        )
        with torch.no_grad():
            for number, batch in enumerate(batches):
                batch = self.augment(batch.to(self.accelerator.device))
                for name, loss in self.model(batch).items():
                    sums[name] = sums.get(name, 0) + loss * len(batch.key)
                count += len(batch.key)
                if number == 0:
                    self.draw(batch)
        means = {name: self.mean(value / count) for name, value in sums.items()}
        return {f"evaluation/{'loss' if name == 'total' else name}": value for name, value in means.items()}

    def mean(self, value: Tensor) -> float:
        """A scalar's mean over all processes."""
        reduced: Any = self.accelerator.reduce(value, "mean")
        return reduced.item()

    def draw(self, batch: Batch) -> None:
        """A picture of what the model reconstructs now."""
        from mmmae.panels import draw

        model = self.accelerator.unwrap_model(self.model)
        if not model.predicts():
            return
        if not self.accelerator.is_main_process:
            if self.sharded:
                model.reconstruct(batch)  # every process holds a piece of the weights and must take part
            return
        draw(model, batch, self.output / "panels" / f"step-{self.step:06}.png", title=f"step {self.step}")

    def save(self) -> None:
        from mmmae import checkpoint

        scaler = self.accelerator.scaler
        state = checkpoint.State(self.step, {"scaler": None if scaler is None else scaler.state_dict()})
        checkpoint.save(
            self.output, self.model, self.optimizer.optimizer, self.recipe, state,
            main=self.accelerator.is_main_process, keep=self.settings.keep,
        )  # fmt: skip
        self.accelerator.wait_for_everyone()

    def describe(self) -> None:
        """What is about to happen, in three lines."""
        model = self.accelerator.unwrap_model(self.model)
        millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
        held = 0 if self.test is None else len(self.test)
        self.report.say(
            f"mmmae: {self.recipe.name} on {', '.join(self.recipe.streams)}; {millions:.1f} M parameters; "
            f"{len(self.loader.clips)} recordings to train on, {held} held out\n"
            f"       {self.steps} steps of {self.settings.batch_size} samples on {self.accelerator.num_processes} x "
            f"{self.accelerator.device.type} ({self.accelerator.mixed_precision}); everything goes to {self.output}"
        )


def precision(setting: str) -> str | None:
    """Accelerate's mixed precision: bf16 where the device has it; None lets `accelerate launch` decide."""
    import os

    import torch

    if setting != "auto":
        return setting
    if os.environ.get("ACCELERATE_MIXED_PRECISION", "no") != "no":
        return None
    return "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "no"


def main(argv: list[str] | None = None) -> int:
    return guarded(run, training_parser().parse_intermixed_args(argv))


if __name__ == "__main__":
    sys.exit(main())
