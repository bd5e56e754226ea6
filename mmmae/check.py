"""`mmmae check`: read a whole manifest by the loader's own rules and report every bad sample."""

from __future__ import annotations

import argparse
import os
import re
from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from mmmae.data.faults import Fault

SHOWN = 20  # bad samples that are printed; the report has all


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", metavar="PATH", help="manifest, folder of recordings, or name of a corpus")
    parser.add_argument("--recipe", default="default", metavar="NAME|FILE", help="whose window and readers to use")
    parser.add_argument("--modalities", metavar="A,B", help="read these only (default: what the data has)")
    parser.add_argument("--workers", type=int, metavar="N", help="processes that read (default: one per processor)")
    parser.add_argument("--report", metavar="FILE", help="also write the bad samples there, a JSON object a line")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings of the recipe")


def run(arguments: argparse.Namespace) -> int:
    """Exit code 0 when every sample can be read, 1 when some cannot."""
    import tempfile
    from pathlib import Path

    from rich.console import Console
    from rich.progress import track

    from mmmae.data.fit import fit
    from mmmae.data.inspection import inspect_all
    from mmmae.data.source import open_data
    from mmmae.launch import listed
    from mmmae.recipe import Recipe

    modalities = listed(arguments.modalities)
    recipe = Recipe.load(arguments.recipe, arguments.overrides, modalities)
    outside = recipe.sections.data.outside
    columns = recipe.columns
    asked = None if modalities is None else columns
    manifest = open_data(arguments.data, asked, columns=columns, bad=1.0, outside=outside)
    if modalities is None:
        recipe = recipe.narrow([name for name in recipe.streams if manifest.has(recipe.stream(name).source)])
    workers = len(os.sched_getaffinity(0)) if arguments.workers is None else arguments.workers
    console = Console()
    have = dict.fromkeys(recipe.streams, 0)
    bad: list[Fault] = []
    with tempfile.TemporaryDirectory() as folder:
        clips = fit(recipe, manifest, Path(folder)).clips(manifest, centre=True)
        verdicts = track(inspect_all(clips, workers), "reading", total=len(clips), console=console, transient=True)
        for verdict in verdicts:
            bad += [] if verdict.fault is None else [verdict.fault]
            for name in verdict.streams:
                have[name] += 1
    if arguments.report:
        Path(arguments.report).write_text("".join(fault.line() for fault in bad), encoding="utf-8")
    faulty = [fault.modality for fault in bad]
    console.print(summary({name: (have[name], faulty.count(recipe.stream(name).source)) for name in have}, len(clips)))
    for fault in bad[:SHOWN]:
        console.print(f"bad: {fault}\n  {fault.remedy}", markup=False, highlight=False, soft_wrap=True)
    if len(bad) > SHOWN:
        rest = f"{len(bad) - SHOWN} more: " + (f"see {arguments.report}" if arguments.report else "use --report FILE")
        console.print(rest, markup=False, highlight=False, soft_wrap=True)
    if bad:
        console.print(reasons(bad))
    console.print(f"{len(manifest)} samples, {len(bad)} bad")
    return 1 if bad else 0


def summary(counts: dict[str, tuple[int, int]], samples: int) -> Table:
    """How many samples have each modality, and in how many it is what makes the sample bad."""
    from rich.table import Table

    table = Table("modality", "samples that have it", "bad")
    for name, (have, bad) in counts.items():
        table.add_row(name, f"{have} of {samples}", str(bad))
    return table


def reasons(bad: Iterable[Fault]) -> Table:
    """How often each kind of fault is met: reasons that differ only in numbers and names are one."""
    from rich.table import Table

    kinds: dict[tuple[str, str], list[Fault]] = defaultdict(list)
    for fault in bad:
        kinds[fault.modality or "", re.sub(r"'.*?'|[-\d.]*\d[-\d.e]*", "..", fault.reason)[:80]].append(fault)
    table = Table("bad", "modality", "why", "for example", title_justify="left")
    for (modality, kind), faults in sorted(kinds.items(), key=lambda item: -len(item[1])):
        table.add_row(str(len(faults)), modality, kind, faults[0].id)
    return table
