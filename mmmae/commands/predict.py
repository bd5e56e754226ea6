"""`mmmae predict`: the label of each recording, or of each segment, by the head that a run was trained with."""

from __future__ import annotations

import argparse
import csv
import io
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmmae.launch import add_checkpoint_arguments, listed, require_counts
from modalities.errors import InputError

if TYPE_CHECKING:
    from mmmae.api import MaskedAutoencoder
    from mmmae.data.clips import Clips
    from mmmae.data.manifest import Manifest
    from mmmae.data.targets import Target
    from mmmae.probe.predictions import Record

COLUMNS = ("id", "start", "end", "label", "score", "error")
FORMATS = (".csv", ".jsonl")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_checkpoint_arguments(parser)
    add = parser.add_argument
    add("--out", type=Path, metavar="FILE", help=f"{' or '.join(FORMATS)} to write (default: print a table)")
    add("--views", type=int, default=1, metavar="N", help="windows per recording to average over (default: 1)")
    add("--segment", type=float, metavar="S", help="seconds of a segment: one row per segment instead of per recording")
    add(
        "--stride",
        type=float,
        metavar="S",
        help="seconds from the start of one segment to the next (default: --segment)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Write or print the labels. Exit code 1 when some recordings could not be read; their rows have the reason.

    Raises:
        InputError: the run has no classifier, there is no such run or data, or they do not fit each other.
    """
    from rich.console import Console
    from rich.progress import Progress

    from mmmae.api import MaskedAutoencoder
    from mmmae.data.source import open_for
    from mmmae.parallel.ranks import Ranks
    from mmmae.probe.own_head import head_of
    from mmmae.probe.predictions import predictions

    require_counts(arguments, "views", "batch_size")
    out: Path | None = arguments.out
    if out is not None and out.suffix.lower() not in FORMATS:
        raise InputError(f"--out {out}: expected a name that ends in {' or '.join(FORMATS)}")
    with Ranks() as ranks:
        model = MaskedAutoencoder.from_pretrained(arguments.run).to(ranks.device)
        head_of(model)
        recipe = model.recipe
        manifest = ranks.first(lambda: open_for(recipe, arguments.data, bad=1.0, outside=arguments.outside))
        clips = reading(
            model, manifest, listed(arguments.modalities), arguments.views, arguments.segment, arguments.stride
        )
        console = Console()
        with Progress(console=console, transient=True, disable=not ranks.main) as progress:
            bar = progress.add_task("predicting", total=len(manifest))
            tick = lambda count: progress.advance(bar, count)  # noqa: E731
            records = predictions(
                model, clips, arguments.segment, arguments.stride, arguments.batch_size, arguments.workers, ranks, tick
            )
    if not ranks.main:
        return 0
    bad = {record["id"]: record["error"] for record in records if record["error"]}
    if out is None:
        console.print(table(records))
    else:
        write(out, records)
    for name, error in bad.items():
        console.print(f"bad: row {name!r}: {error}", markup=False, highlight=False, soft_wrap=True)
    for note in notes(head_of(model).target):
        console.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
    if out is not None:
        console.print(f"{len(manifest)} recordings, {len(bad)} bad; {out}", highlight=False, soft_wrap=True)
    return 1 if bad else 0


def predict(
    run: str | Path | MaskedAutoencoder,
    data: Any = None,
    *,
    modalities: Sequence[str] | None = None,
    views: int = 1,
    segment: float | None = None,
    stride: float | None = None,
    batch_size: int = 32,
    workers: int = 0,
    outside: bool = False,
) -> list[Record]:
    """The label of each recording, in the order of the data, by the head that a run was trained with.

    A record holds `id`; `start` and `end`, the seconds that were looked at (None where there is no time: a picture, a
    caption); `label`, the name of the class, a list of names, or a number; `score`, its probability (None for numbers);
    `scores`, the probability of every name; and `error`: why nothing could be predicted, else None.
    `pandas.DataFrame(predict(...))` makes a table of it. Warns of recordings that have no label.

    Args:
        run: folder of a run, of a checkpoint or of a saved model; or the model itself.
        data: whatever `--data` may be, see `mmmae.data.source.open_data`. No labels are needed.
        modalities: streams to use; by default all that the data has.
        views: windows of each recording to average.
        segment, stride: length and stride in seconds of segments; one record per segment instead of per recording.
        batch_size: windows at once; the labels do not depend on it. workers: processes that read.
        outside: read files that lie outside of the data's folder, too.

    Raises:
        InputError: the run has no classifier, there is no such run or data, or they do not fit each other.
    """
    from mmmae.data.source import open_for
    from mmmae.parallel.ranks import Ranks
    from mmmae.pretrained import evaluating, loaded
    from mmmae.probe.own_head import head_of
    from mmmae.probe.predictions import predictions

    model = loaded(run)
    for note in notes(head_of(model).target):
        warnings.warn(note, stacklevel=2)
    manifest = open_for(model.recipe, data, bad=1.0, outside=outside)
    clips = reading(model, manifest, modalities, views, segment, stride)
    with evaluating(model):
        records = predictions(model, clips, segment, stride, batch_size, workers, Ranks())
    if bad := [record for record in records if record["error"]]:
        warnings.warn(f"{len(bad)} records have no label, e.g. {bad[0]['id']!r}: {bad[0]['error']}", stacklevel=2)
    return records


def reading(
    model: MaskedAutoencoder,
    manifest: Manifest,
    names: Sequence[str] | None,
    views: int,
    segment: float | None,
    stride: float | None,
) -> Clips:
    """The windows of each recording, or its segments.

    Raises:
        InputError: the run or the data has none of the streams; or there are no segments of such seconds.
    """
    from mmmae.commands import embed
    from mmmae.probe.features import reading

    if segment is None:
        if stride is not None:
            raise InputError(f"stride {stride:g}: there is none without a segment\n  give --segment as well")
        return reading(model, manifest, names, views)
    if not segment > 0 or not (stride is None or stride > 0):
        raise InputError(f"segment {segment:g}, stride {stride}: expected seconds above 0")
    if views != 1:
        raise InputError(f"views {views}: a segment is seen once\n  leave out --views or --segment")
    clips = embed.reading(model, manifest, segment, names)
    embed.require_cuttable(model, clips)
    return clips


def notes(target: Target) -> list[str]:
    """What a person should know of the names."""
    if getattr(target, "certain", True):
        return []
    return [f"the run was saved without the names of its {len(target.names)} classes: labels are their numbers"]


def write(path: Path, records: Sequence[Record]) -> None:
    """CSV, in which a list is JSON (as in a manifest), or JSON lines, which also have `scores`."""
    from mmmae.storage.atomic import make, refusals, replace

    if path.suffix.lower() == ".jsonl":
        text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    else:
        page = io.StringIO()
        sheet = csv.writer(page, lineterminator="\n")
        sheet.writerow(COLUMNS)
        sheet.writerows([cell(record[column]) for column in COLUMNS] for record in records)
        text = page.getvalue()
    with refusals(path, len(text.encode())):
        make(path.parent)
        replace(path, text)


def cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list) else "" if value is None else value


def table(records: Sequence[Mapping[str, Any]]) -> Any:
    """The records for a terminal."""
    from rich.table import Table

    grid = Table("id", "start", "end", "label", "score")
    for one in records:
        numbers = [one[key] if isinstance(one[key], list) else [one[key]] for key in ("start", "end", "label", "score")]
        grid.add_row(one["id"], *(", ".join(shown(value) for value in several) for several in numbers))
    return grid


def shown(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
