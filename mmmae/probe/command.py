"""`mmmae probe`: what can be read off the frozen features of a checkpoint, of each stream and of all together."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mmmae.launch import add_checkpoint_arguments, listed, require_counts
from modalities.errors import InputError

if TYPE_CHECKING:
    from mmmae.ranks import Ranks

KINDS = ("linear", "knn", "attentive")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_checkpoint_arguments(parser, data="manifest with labels, or name of a corpus")
    add = parser.add_argument
    add("--kind", default="linear", choices=KINDS, help="classifier on the frozen features (default: linear)")
    add("--shots", metavar="K,K", help="also with so many labels of each class, e.g. 1,5,10,50")
    add("--seeds", type=int, default=3, metavar="N", help="draws of validation part and shots (default: 3)")
    add("--views", type=int, default=1, metavar="N", help="windows of each recording to average (default: 1)")
    add("--baseline", choices=["random"], help="beside the checkpoint: the same model with random weights")
    add("--drop", action="store_true", help="also test with each stream, and sensors of the IMU, withheld")
    add("--output", type=Path, default=Path("probed"), metavar="DIR", help="for results and pictures (default: probed)")


def run(arguments: argparse.Namespace) -> int:
    """Print tables; write `DIR/results.json`, `confusion.png` and, where they are asked for, `shots.png`, `drop.png`.

    Exit code 1 when some recordings could not be read; the results are those of the others.

    Raises:
        InputError: there is no such run or data, they do not fit each other, or the data has too few labels.
    """
    from mmmae.ranks import Ranks

    with Ranks() as ranks:
        return probe(arguments, ranks)


def probe(arguments: argparse.Namespace, ranks: Ranks) -> int:
    """What `run` does, as one of several processes."""
    from rich.console import Console
    from rich.progress import Progress

    from mmmae.checkpoint import find
    from mmmae.data.source import open_data
    from mmmae.features import frozen, reading
    from mmmae.model import MaskedAutoencoder
    from mmmae.probe import pictures
    from mmmae.probe.fitting import Probe, cases
    from mmmae.probe.results import WIDE, table, written
    from mmmae.splits import split

    shots = numbers(arguments.shots)
    require_counts(arguments, "seeds", "views", "batch_size")
    models = {"pretrained": MaskedAutoencoder.from_pretrained(arguments.run)}
    recipe = models["pretrained"].recipe
    assert recipe is not None  # a checkpoint always has one
    manifest = ranks.first(lambda: open_data(arguments.data, bad=1.0, outside=arguments.outside))
    rows = split(manifest, recipe.sections.data.holdout)
    clips = reading(models["pretrained"], manifest, listed(arguments.modalities), arguments.views)
    if arguments.baseline == "random":
        models["random"] = recipe.build(recipe.sections.training.seed).eval()
    models = {name: model.to(ranks.device) for name, model in models.items()}
    probe = Probe(models, list(clips.readers), rows, arguments.kind, arguments.seeds)
    sweep = cases(clips, probe.kinds, arguments.seeds) if arguments.drop else {}

    console = Console()
    settings = {
        "batch_size": arguments.batch_size,
        "workers": arguments.workers,
        "tokens": probe.sequences,
        "ranks": ranks,
    }
    with Progress(console=console, transient=True, disable=not ranks.main) as progress:
        labelled = sorted({*rows.train.tolist(), *rows.test.tolist()})
        bar = progress.add_task("encoding", total=len(labelled) + len(rows.test) * bool(sweep))
        tick = lambda count: progress.advance(bar, count)  # noqa: E731
        found, faults = frozen(clips, labelled, probe.asked(), tick=tick, **settings)
        asked = {key: (models["pretrained"], given) for key, given in sweep.items()}
        less, _ = frozen(clips, rows.test.tolist(), asked, tick=tick, **settings) if asked else ({}, [])
        if not ranks.main:
            return 0
        bar = progress.add_task("fitting", total=probe.fits(len(shots)))
        results = probe.results(found, shots, lambda: progress.advance(bar))
        dropped = probe.dropped(less)

    output: Path = arguments.output
    output.mkdir(parents=True, exist_ok=True)
    full = [result for result in results if result.shots is None]
    mine = [result for result in full if result.model == "pretrained"]
    drawn = [pictures.confusion(mine, rows.classes, output / "confusion.png")]
    wide = console.width >= WIDE
    console.print(
        table(
            [probe.majority(), *full],
            f"{arguments.kind} probe, {len(rows.train)} rows to train, {len(rows.test)} to test",
            wide=wide,
        )
    )
    if shots:
        console.print(table([result for result in results if result.shots], "with few labels of each class", wide=wide))
        drawn.append(pictures.curves(results, output / "shots.png"))
    if dropped:
        console.print(table([*mine, *dropped], "with streams or sensors withheld in the test", wide=wide))
        drawn.append(pictures.missing([*mine, *dropped], output / "drop.png"))
    said = {
        "checkpoint": str(find(arguments.run)), "data": str(manifest.path), "kind": arguments.kind,
        "views": arguments.views, "seeds": arguments.seeds, "classes": rows.classes, "notes": rows.notes,
        "results": [result.tree() for result in [probe.majority(), *results, *dropped]],
        "bad": [fault.id for fault in faults],
    }  # fmt: skip
    (output / "results.json").write_text(written(said), encoding="utf-8")
    for line in [*(f"bad: {fault}" for fault in faults), *(f"note: {note}" for note in rows.notes)]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for path in (output / "results.json", *drawn):
        console.print(str(path), markup=False, highlight=False, soft_wrap=True)
    return 1 if faults else 0


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
