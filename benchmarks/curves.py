"""How soon pretraining on video is worth something: ours beside transformers' VideoMAE, on the same clips, interleaved.

    python benchmarks/curves.py --data DIR [--recipes videomae,fast] [--steps 800] [--json FILE] [--plot FILE] [K=V]

Each step draws one batch and trains transformers' VideoMAEForPreTraining on it, then each recipe, in one process; only
forward, backward and AdamW are timed, in seconds of the processor (not what reads and crops clips). transformers begins
with the weights of the recipe videomae and follows the same learning rate. At some points all are frozen and a linear
probe is fitted on each (mmmae/probe), over windows in the middles of the recordings. The figure asked for is the share
of transformers' seconds from which on a recipe's accuracy is at least what transformers has in the end.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from transformers import VideoMAEForPreTraining

from fusion.masking import Noise
from mmmae import Recipe
from mmmae.api import MaskedAutoencoder
from mmmae.convert.write import write
from mmmae.data.loader import Loader
from mmmae.data.source import open_data
from mmmae.parallel.ranks import Ranks
from mmmae.probe.features import reading
from mmmae.probe.fitting import Probe
from mmmae.probe.results import EvalRequest
from mmmae.probe.splits import split
from mmmae.training.optim import adamw, clip, learning_rate, set_learning_rate
from modalities.records import Batch

TINY = [
    "size=tiny",
    "modalities.video.size=64",
    "modalities.video.patch=8",
    "optimizer.lr=1.2e-2",
    "optimizer.clip=1.0",
]
THEIRS = "transformers"


class Runner:
    """One model in training: a step, the seconds that its steps took, and itself as one of ours."""

    def __init__(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer, loss: Callable[[Batch], torch.Tensor]):
        self.model, self.optimizer, self.loss, self.seconds = model, optimizer, loss, 0.0

    def step(self, batch: Batch, rate: float) -> None:
        begin = time.process_time()
        self.model.train()
        set_learning_rate(self.optimizer, rate)
        self.loss(batch).backward()
        clip(self.optimizer, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.seconds += time.process_time() - begin

    def ours(self) -> MaskedAutoencoder:
        if isinstance(self.model, MaskedAutoencoder):
            return self.model.eval()
        with tempfile.TemporaryDirectory() as folder:
            self.model.save_pretrained(folder)
            return MaskedAutoencoder.from_pretrained(folder).eval()


def runner(recipe: Recipe, seed: int) -> Runner:
    """One of our recipes."""
    model = recipe.build(seed)
    return Runner(model, adamw(model, recipe.sections.optimizer), lambda batch: model(batch).total)


def theirs(recipe: Recipe, seed: int) -> Runner:
    """transformers' model with the weights with which ours begins, fused AdamW and the same two parameter groups."""
    ours = recipe.build(seed)
    with tempfile.TemporaryDirectory() as folder:
        write(ours, "transformers", Path(folder) / "theirs")
        model = VideoMAEForPreTraining.from_pretrained(Path(folder) / "theirs", attn_implementation="sdpa")
    settings = recipe.sections.optimizer
    sides = [[p for p in model.parameters() if (p.ndim > 1) == matrix] for matrix in (True, False)]
    groups = [
        {"params": side, "weight_decay": settings.weight_decay * (not n), "scale": 1.0, "side": 0}
        for n, side in enumerate(sides)
    ]
    optimizer = torch.optim.AdamW(groups, lr=0.0, betas=settings.betas, fused=True)

    def loss(batch: Batch) -> torch.Tensor:
        return model(batch.pixels, bool_masked_pos=batch.masked).loss

    return Runner(model, optimizer, loss)


class Given:
    """What transformers is given of a batch: standardised pixels, and the tubes that a plan of ours hides."""

    def __init__(self, batch: Batch, ours: MaskedAutoencoder):
        tokenizer, clip = ours.tokenizers["video"], batch["video"]
        mean, std = (x[: tokenizer.channels, None, None] for x in (tokenizer.mean, tokenizer.std))
        patches = tokenizer.cut(clip)
        hidden = ours.masking.plan({"video": patches}, Noise(batch.key))["video"].hidden
        self.pixels = (clip.values.float() / 255 - mean) / std
        self.masked = torch.zeros(patches.time.shape, dtype=torch.bool).scatter(1, hidden, True)


def probed(models: Mapping[str, MaskedAutoencoder], data: str, seeds: int, views: int) -> dict[str, list[float]]:
    """Accuracy of a linear probe on each model's frozen features, by seed."""
    first = next(iter(models.values()))
    manifest = open_data(data, bad=1.0)
    rows = split(manifest, 0.1)
    clips = reading(first, manifest, None, views)
    with Progress(disable=True) as progress:
        wish = EvalRequest(clips, [], progress, Ranks(), drop=False, batch_size=32, workers=1)
        results = Probe(models, ["video"], [rows], "linear", seeds).run(wish).results
    return {result.model: [seed["accuracy"] for seed in result.seeds] for result in results}


def reached(points: list[dict], name: str, goal: float) -> float | None:
    """Seconds of a model's own training from which on its mean accuracy is the goal or more, by lines between points.

    Random weights may be above the goal and training begin by falling below it: what counts is the last way up.
    """
    curve = [(float(np.mean(point[name]["accuracy"])), point[name]["seconds"]) for point in points]
    below = [number for number, (accuracy, _) in enumerate(curve) if accuracy < goal]
    if not below:
        return 0.0
    if below[-1] == len(curve) - 1:
        return None
    (low, begin), (high, end) = curve[below[-1]], curve[below[-1] + 1]
    return begin + (end - begin) * (goal - low) / (high - low)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--data", required=True)
    parser.add_argument("--recipes", default="videomae,fast")
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--points", type=int, default=8, help="probes on the way")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--views", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=3, help="of the probe")
    parser.add_argument("--seed", type=int, default=0, help="of weights, clips and masks")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--plot", type=Path, metavar="FILE")
    arguments = parser.parse_args()

    recipes = {name: Recipe.load(name, TINY + arguments.overrides, None) for name in arguments.recipes.split(",")}
    first = recipes["videomae"]
    train, _ = open_data(arguments.data).split(first.sections.data.holdout)
    loader = Loader(first.clips(train, seed=arguments.seed), arguments.batch_size, workers=1)
    augment, batches = first.augment().train(), iter(loader)
    runners = {THEIRS: theirs(first, arguments.seed)}
    runners |= {name: runner(recipe, arguments.seed) for name, recipe in recipes.items()}
    planner = first.build(arguments.seed)
    points, every = [], arguments.steps // arguments.points
    for step in range(arguments.steps + 1):
        if step % every == 0:
            found = probed(
                {name: one.ours() for name, one in runners.items()}, arguments.data, arguments.seeds, arguments.views
            )
            points.append({"clips": step * arguments.batch_size, **{
                name: {"seconds": one.seconds, "accuracy": found[name]} for name, one in runners.items()
            }})  # fmt: skip
            print(json.dumps(points[-1]), flush=True)
        if step == arguments.steps:
            break
        batch = augment(next(batches))
        rate = learning_rate(step, arguments.steps, first.sections.optimizer, arguments.batch_size)
        given = Given(batch, planner)
        for name, one in runners.items():
            one.step(given if name == THEIRS else batch, rate)
    conclude(points, list(runners), arguments)


def conclude(points: list[dict], names: list[str], arguments: argparse.Namespace) -> None:
    """Table, JSON and picture."""
    goal = float(np.mean(points[-1][THEIRS]["accuracy"]))
    said = {name: reached(points, name, goal) for name in names}
    table = Table("", "clips", "seconds", "accuracy at the end", f"seconds to {goal:.3f}", "share of transformers'")
    for name in names:
        last = points[-1][name]
        accuracy = f"{np.mean(last['accuracy']):.3f} ±{np.std(last['accuracy'], ddof=1):.3f}"
        share = f"{said[name] / said[THEIRS]:.2f}" if said[name] is not None and said[THEIRS] else ""
        when = "never" if said[name] is None else f"{said[name]:.0f}"
        table.add_row(name, str(points[-1]["clips"]), f"{last['seconds']:.0f}", accuracy, when, share)
    Console().print(table)
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"points": points, "goal": goal, "seconds": said}, indent=2), encoding="utf-8"
        )
    if arguments.plot:
        draw(points, names, arguments.plot)


def draw(points: list[dict], names: list[str], path: Path) -> None:
    """Accuracy beside clips seen, and beside seconds of training."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.4), sharey=True, layout="constrained")
    for name in names:
        mean = [np.mean(point[name]["accuracy"]) for point in points]
        error = [np.std(point[name]["accuracy"], ddof=1) for point in points]
        axes[0].errorbar([point["clips"] for point in points], mean, error, label=name)
        axes[1].errorbar([point[name]["seconds"] for point in points], mean, error, label=name)
    axes[0].set(xlabel="clips seen", ylabel="accuracy of a linear probe")
    axes[1].set(xlabel="seconds of training steps")
    axes[0].legend()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
