"""Fine-tuning: training the whole model on labels, from a checkpoint's weights or, as a baseline, from random ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmmae.api import Recipe
from mmmae.build import build_tokenizers
from mmmae.data.augment import prepared
from mmmae.data.bad_samples import Fault
from mmmae.data.loader import Loader
from mmmae.parallel.reduce import alone
from mmmae.parallel.signals import Interrupt
from mmmae.probe.classifiers import selection
from mmmae.probe.own_head import class_scores, merged, refuse_drop, tested
from mmmae.probe.results import ClassScores, EvalRequest, Outcome, Result
from mmmae.recipes.sections import Optimizer
from mmmae.training.core import Core
from mmmae.training.nonfinite import Guard
from mmmae.training.optim import adamw
from mmmae.training.warm_start import inherit

if TYPE_CHECKING:
    from mmmae.api import MaskedAutoencoder
    from mmmae.data.clips import Clips
    from mmmae.data.targets import Target
    from mmmae.parallel.ranks import Ranks
    from mmmae.probe.splits import Split

UNSCALED = 256  # the batch size at which the learning rate is not scaled (mmmae.training.optim.learning_rate)


@dataclass(frozen=True)
class Tuning:
    """How the whole model is trained: as VideoMAE is fine-tuned (ViT-B, arXiv:2203.12602), in fewer epochs.

    epochs: passes over the training rows; steps: no fewer than these, however few rows there are.
    rate: the highest learning rate, whatever the batch; None is 1e-3 at width 128 and less in proportion to the width.
    layer_decay: of a checkpoint's weights; random ones all learn at the full rate, having nothing to keep.
    rounds: how often, evenly spaced, the validation part is looked at.
    """

    epochs: int = 30
    steps: int = 200
    rate: float | None = None
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.05
    layer_decay: float = 0.75
    warmup: float = 0.1
    clip: float = 1.0
    smoothing: float = 0.1
    mixup: float = 0.8
    rounds: int = 10

    def length(self, rows: int, batch_size: int) -> int:
        """Steps on so many rows."""
        return max(self.steps, self.epochs * math.ceil(rows / batch_size))

    def optimizer(self, model: MaskedAutoencoder, keeps: bool) -> Optimizer:
        rate = self.rate or 1e-3 * 128 / model.trunk.width
        decay = self.layer_decay if keeps else 1.0
        return Optimizer(
            lr=rate, betas=self.betas, weight_decay=self.weight_decay, warmup=self.warmup, final=0.0, layer_decay=decay,
            clip=self.clip,
        )  # fmt: skip

    def recipe(self, recipe: Recipe, streams: Sequence[str], target: Target) -> Recipe:
        """The recipe of a run with nothing hidden and only the label as objective; its augmentation stays."""
        recipe = recipe.narrow(streams)
        smoothing = {"smoothing": self.smoothing} if target.kind == "class" else {}
        changed = {
            "masking": {name: {"use": "random", "ratio": 0.0} for name in recipe.streams},
            "objectives": {target.objective: target.settings() | smoothing},
            "data": {"mixup": 0.0},
        }
        plain = Recipe(recipe.tree | changed, recipe.name, recipe.narrowed)
        words = [tokenizer.words for tokenizer in build_tokenizers(plain).values()]
        mixup = 0.0 if any(count is not None for count in words) else self.mixup
        return plain.changed({"data": {"mixup": mixup}})


@dataclass(frozen=True)
class Fit:
    """One training: which result it adds to, with which seed, on which rows, selected on which."""

    result: Result
    seed: int
    train: np.ndarray
    validation: np.ndarray


@dataclass
class Finetuning:
    """Models fine-tuned with all labels and few, on all streams together.

    models: `pretrained`, whose weights are begun with, and `random` if that is compared: weights that each seed draws.
    rows: who learns, selects and is tested. seeds: how many draws. output: where steps that were left out are listed.
    """

    models: Mapping[str, MaskedAutoencoder]
    rows: Split
    seeds: int
    tuning: Tuning = Tuning()
    output: Path = Path("probed")
    faults: dict[str, Fault] = field(default_factory=dict, init=False)
    say: Callable[[str], object] = field(default=print, init=False)

    def run(self, request: EvalRequest) -> Outcome:
        """A result for each model, with all labels first, then with so many of each class.

        Each process trains some of the models; the outcome is in the main one.

        clips: the windows of validation and test.

        Raises:
            InputError: streams are to be withheld; or training diverges.
        """
        clips, ranks, batch_size = request.clips, request.ranks, request.batch_size
        refuse_drop(request.drop, "finetune")
        fits = self.fits("+".join(clips.readers), request.shots)
        bar = request.progress.add_task("fine-tuning", total=sum(self.recordings(fit, batch_size) for fit in fits))
        tick = lambda count: request.progress.advance(bar, ranks.counted(count))  # noqa: E731
        settings = {**request.reading, "tick": tick}
        self.say = lambda line: request.progress.console.print(line, markup=False, highlight=False)
        done: dict[int, tuple[ClassScores, int]] = {}
        for number in range(ranks.number, len(fits), ranks.world):
            with alone():
                model, step = self.tuned(fits[number], clips, **settings, ranks=ranks)
            done[number] = merged([class_scores(model, clips, self.rows.test.tolist(), **settings)], clips), step
            self.note(done[number][0].faults)
        for own in ranks.gathered(list(self.faults.values())):
            self.note(own)
        found = {number: made for own in ranks.gathered(done) for number, made in own.items()}
        for number, (said, step) in sorted(found.items()):
            fit = fits[number]
            tested(fit.result, said, self.rows)
            fit.result.train = len(fit.train) + (len(fit.validation) if fit.result.shots is None else 0)
            fit.result.chosen.append({"step": step})
        results = list({id(fit.result): fit.result for fit in fits}.values()) if ranks.main else []
        return Outcome(results, [], sorted(self.faults.values(), key=lambda fault: fault.id))

    def fits(self, features: str, shots: Sequence[int]) -> list[Fit]:
        """What is to be trained, in order."""
        found = []
        for k in (None, *shots):
            for name in self.models:
                result = Result(features, name, k)
                for seed in range(self.seeds):
                    train, validation = self.rows.parts(seed)
                    if k is not None:
                        train, validation = (self.rows.shots(rows, k, seed) for rows in (train, validation))
                    found.append(Fit(result, seed, train, validation))
        return found

    def recordings(self, fit: Fit, batch_size: int) -> int:
        """How many are read for it, over and over."""
        batch_size = min(batch_size, len(fit.train))
        learned = batch_size * self.tuning.length(len(fit.train), batch_size)
        return learned + self.tuning.rounds * len(fit.validation) + len(self.rows.test)

    def note(self, faults: Sequence[Fault]) -> None:
        self.faults |= {fault.id: fault for fault in faults}

    def tuned(
        self,
        fit: Fit,
        clips: Clips,
        *,
        batch_size: int,
        workers: int,
        tick: Callable[[int], object],
        ranks: Ranks,
    ) -> tuple[MaskedAutoencoder, int]:
        """The model after that step, of some evenly spaced ones, at which it does best on the validation part.

        Best is the balanced accuracy, or what `selection` has for other targets; of equal ones the last.
        """
        source, manifest = self.models["pretrained"], clips.manifest
        recipe = self.tuning.recipe(source.recipe, list(clips.readers), self.rows.target)
        model, keeps = recipe.build(fit.seed), fit.result.model == "pretrained"
        if keeps:
            inherit(model, source.state_dict(), source.recipe, "the checkpoint")
        accelerator, settings = ranks.accelerator(), self.tuning.optimizer(model, keeps)
        model = model.to(accelerator.device)
        batch_size = min(batch_size, len(fit.train))
        steps = self.tuning.length(len(fit.train), batch_size)
        augment, rules = recipe.augment().to(accelerator.device), recipe.sections.data
        optimizer: Any = accelerator.prepare_optimizer(adamw(model, settings))
        guard = Guard(
            accelerator, optimizer.optimizer, self.output, self.say, Interrupt(), policy="skip", remedy="lower --lr"
        )
        core = Core(
            accelerator, accelerator.prepare_model(model, evaluation_mode=True), optimizer, guard,
            lambda batch: prepared(batch, accelerator.device, augment, rules), settings, steps=steps,
            batch_size=UNSCALED,
        )  # fmt: skip
        own = recipe.clips(manifest.select(fit.train.tolist()), seed=fit.seed)
        batches = iter(Loader(own, batch_size, workers=workers, note=self.note, remark=clips.notes.note))
        best, kept, chosen = -math.inf, {}, 0
        for step in range(1, steps + 1):
            core.step(step - 1, batches)
            guard.settle(but=1)
            tick(batch_size)
            if step * self.tuning.rounds % steps >= self.tuning.rounds:  # not the first step of a tenth, or the last
                continue
            part = fit.validation.tolist()
            found = merged([class_scores(model, clips, part, batch_size=batch_size, workers=workers, tick=tick)], clips)
            score = selection(self.rows.target, self.rows.labels[found.indices], found.probabilities)
            if score >= best:
                best, chosen = score, step
                kept = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        guard.settle()
        accelerator.unwrap_model(core.model, keep_fp32_wrapper=False)  # what follows computes as every evaluation does
        model.load_state_dict(kept)
        return model, chosen
