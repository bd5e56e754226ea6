"""`mmmae probe`: evaluate a checkpoint on labels: probes of frozen features, its own head, or fine-tuning."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmmae.launch import add_checkpoint_arguments, listed, require_counts
from modalities.errors import InputError

if TYPE_CHECKING:
    from mmmae.api import MaskedAutoencoder
    from mmmae.data.manifest import Manifest
    from mmmae.data.targets import Target
    from mmmae.parallel.ranks import Ranks
    from mmmae.probe.finetune import Finetuning
    from mmmae.probe.fitting import Probe
    from mmmae.probe.own_head import Head
    from mmmae.probe.splits import Split

KINDS = ("linear", "knn", "attentive", "finetune", "head")
POOLS = ("mean", "statistics")
TARGETS = ("class", "multilabel", "regression")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_checkpoint_arguments(parser, data="manifest with labels, or name of a corpus")
    add = parser.add_argument
    add("--target", choices=TARGETS, help="kind of labels (default: that of the run, else class)")
    add("--kind", default="linear", choices=KINDS, help="the classifier (default: linear)")
    add(
        "--pool",
        default="mean",
        choices=POOLS,
        help="pooling of tokens: mean, or mean and standard deviation (default: mean)",
    )
    add("--shots", metavar="K,K", help="also train with this number of labels per class, e.g. 1,5,10,50")
    add("--seeds", type=int, default=3, metavar="N", help="random seeds for validation set and shots (default: 3)")
    add(
        "--folds",
        type=int,
        metavar="N",
        help="cross-validation over groups instead of one test set; many: leave one group out",
    )
    add("--views", type=int, default=1, metavar="N", help="windows per recording to average over (default: 1)")
    add("--baseline", choices=["random"], help="also evaluate the same model with random weights")
    add("--drop", action="store_true", help="also test with each stream, and sensors of the IMU, withheld")
    add("--output", type=Path, default=Path("probed"), metavar="DIR", help="for results and pictures (default: probed)")
    add("--epochs", type=int, metavar="N", help="epochs of finetune (default: 30)")
    add("--lr", type=float, metavar="RATE", help="peak learning rate of finetune (default: by the model's width)")


def run(arguments: argparse.Namespace) -> int:
    """Print tables; write `DIR/results.json`, `confusion.png` (of numbers `scatter.png`) and, on request,
    `shots.png` and `drop.png`.

    Exit code 1 when some recordings could not be read; the results are those of the others.

    Raises:
        InputError: there is no such run or data, they do not fit each other, or the data has too few labels.
    """
    from mmmae.parallel.ranks import Ranks

    with Ranks() as ranks:
        return probe(arguments, ranks)


def probe(arguments: argparse.Namespace, ranks: Ranks) -> int:
    """What `run` does, as one of several processes."""
    from rich.console import Console
    from rich.progress import Progress

    from mmmae.api import MaskedAutoencoder
    from mmmae.data.notes import Notes
    from mmmae.data.source import open_for
    from mmmae.probe import pictures
    from mmmae.probe.features import reading
    from mmmae.probe.fitting import majority
    from mmmae.probe.results import WIDE, EvalRequest, table, written
    from mmmae.probe.splits import split
    from mmmae.storage.checkpoint import find

    shots = numbers(arguments.shots)
    require_counts(arguments, "seeds", "views", "batch_size")
    if arguments.folds is not None and (arguments.folds < 2 or arguments.kind in ("finetune", "head")):
        raise InputError(f"--folds {arguments.folds} --kind {arguments.kind}: expected 2 or more of a frozen kind")
    if arguments.pool != "mean" and arguments.kind not in ("linear", "knn"):
        raise InputError(f"--pool {arguments.pool} --kind {arguments.kind}: expected --kind linear or knn")
    tuning = tuned(arguments)
    models = {"pretrained": MaskedAutoencoder.from_pretrained(arguments.run)}
    recipe = models["pretrained"].recipe
    manifest = ranks.first(lambda: open_for(recipe, arguments.data, bad=1.0, outside=arguments.outside))
    target, notes = target_of(arguments, models["pretrained"], manifest)
    learned, tested = arguments.kind != "head", arguments.folds is None
    rows = split(manifest, recipe.sections.data.holdout, target, tested=tested, learned=learned)
    rows = replace(rows, notes=[*rows.notes, *notes])
    folds = [rows] if arguments.folds is None else rows.folds(arguments.folds)
    clips = reading(models["pretrained"], manifest, listed(arguments.modalities), arguments.views)
    if arguments.baseline == "random":
        models["random"] = recipe.build(recipe.sections.training.seed).eval()
    models = {name: model.to(ranks.device) for name, model in models.items()}

    console = Console()
    with Progress(console=console, transient=True, disable=not ranks.main) as progress:
        size, workers = arguments.batch_size, arguments.workers
        request = EvalRequest(clips, shots, progress, ranks, drop=arguments.drop, batch_size=size, workers=workers)
        outcome = study(arguments, models, list(clips.readers), folds, tuning).run(request)
    noted = Notes.lines(ranks.gathered(clips.notes))
    if not ranks.main:
        return 0
    notes = [*rows.notes, *manifest.notes, *noted]
    results, dropped, faults = outcome.results, outcome.dropped, outcome.faults

    output: Path = arguments.output
    output.mkdir(parents=True, exist_ok=True)
    full = [result for result in results if result.shots is None]
    mine = [result for result in full if result.model == "pretrained"]
    drawn = []
    if target.kind == "class":
        drawn.append(pictures.confusion(mine, rows.classes, output / "confusion.png"))
    elif target.kind == "regression":
        drawn.append(pictures.scatter(mine, output / "scatter.png"))
    wide = console.width >= WIDE
    known = [majority(folds)] if len(rows.train) else []
    console.print(
        table(
            [*known, *full],
            f"{arguments.kind}: {count(folds)}",
            wide=wide,
        )
    )
    if shots:
        console.print(table([result for result in results if result.shots], "with few labels of each class", wide=wide))
        drawn.append(pictures.curves(results, output / "shots.png"))
    if dropped:
        console.print(table([*mine, *dropped], "with streams or sensors withheld in the test", wide=wide))
        drawn.append(pictures.missing([*mine, *dropped], output / "drop.png"))
    report = {
        "checkpoint": str(find(arguments.run)), "data": str(manifest.path), "kind": arguments.kind,
        "target": target.kind, "pool": arguments.pool, "views": arguments.views, "seeds": arguments.seeds,
        "folds": len(folds), "classes": rows.classes, "notes": notes,
        "results": [result.tree() for result in [*known, *results, *dropped]],
        "bad": [fault.id for fault in faults],
    }  # fmt: skip
    (output / "results.json").write_text(written(report), encoding="utf-8")
    for line in [*(f"bad: {fault}" for fault in faults), *(f"note: {note}" for note in notes)]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for path in (output / "results.json", *drawn):
        console.print(str(path), markup=False, highlight=False, soft_wrap=True)
    return 1 if faults else 0


def target_of(arguments: argparse.Namespace, model: MaskedAutoencoder, manifest: Manifest) -> tuple[Target, list[str]]:
    """How labels are interpreted, and notes on it.

    Raises:
        InputError: labels are not of that kind; or the run's own classifier is of another; or shots are to be drawn of
            what has no classes.
    """
    from mmmae.build import build_target
    from mmmae.data.classes import Classes, LabelSet
    from mmmae.data.measurements import Numbers
    from mmmae.probe.own_head import head_of, matched_outputs

    own = head_of(model).target if arguments.kind == "head" else build_target(model.recipe)
    kind = arguments.target or ("class" if own is None else own.kind)
    if arguments.shots and kind != "class":
        raise InputError(f"--shots counts labels of each class, and --target is {kind}\n  leave it out")
    if arguments.kind != "head":
        targets = {target.kind: target for target in (Classes, LabelSet, Numbers)}
        return targets[kind].of(manifest), []
    assert own is not None  # or `head_of` has refused
    if own.kind != kind:
        raise InputError(f"--target {kind} --kind head: the run learned by {own.objective}\n  leave --target out")
    return matched_outputs(own, manifest)


def study(
    arguments: argparse.Namespace,
    models: Mapping[str, MaskedAutoencoder],
    streams: list[str],
    folds: list[Split],
    settings: Mapping[str, Any],
) -> Probe | Finetuning | Head:
    """The evaluation of a kind: probes of frozen features, fine-tuning, or the run's own head."""
    from mmmae.probe.finetune import Finetuning, Tuning
    from mmmae.probe.fitting import Probe
    from mmmae.probe.own_head import Head

    if arguments.kind == "finetune":
        return Finetuning(models, folds[0], arguments.seeds, Tuning(**settings), arguments.output)
    if arguments.kind == "head":
        return Head(models, folds[0])
    return Probe(models, streams, folds, arguments.kind, arguments.seeds, arguments.pool)


def count(folds: list[Split]) -> str:
    """How many rows learn and are tested, in words."""
    if len(folds) == 1:
        return f"{len(folds[0].train)} rows to train, {len(folds[0].test)} to test"
    return f"{sum(len(rows.test) for rows in folds)} rows, each tested once in {len(folds)} folds"


def tuned(arguments: argparse.Namespace) -> dict[str, Any]:
    """The hyperparameters of fine-tuning.

    Raises:
        InputError: one is out of range, or the kind is another.
    """
    given = {"epochs": arguments.epochs, "rate": arguments.lr}
    given = {name: value for name, value in given.items() if value is not None}
    if given and arguments.kind != "finetune":
        raise InputError(f"--epochs and --lr are of --kind finetune, not of {arguments.kind}")
    for name, value in given.items():
        if not (1 if name == "epochs" else 0) <= value < math.inf or not value:
            flag = {"epochs": "--epochs", "rate": "--lr"}[name]
            raise InputError(f"{flag} {value}: expected {'1 or more' if name == 'epochs' else 'a number above 0'}")
    return given


def numbers(listed: str | None) -> list[int]:
    """`1,5,10` as numbers, in order.

    Raises:
        InputError: one of them counts nothing.
    """
    words = [] if listed is None else [word.strip() for word in listed.split(",")]
    for word in words:
        if not word.isdecimal() or int(word) < 1:
            raise InputError(f"--shots {listed}: expected numbers from 1 up, e.g. --shots 1,5,10,50")
    return sorted({int(word) for word in words})
