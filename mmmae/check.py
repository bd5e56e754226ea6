"""`mmmae check`: read a whole manifest by the loader's own rules and report every bad sample."""

from __future__ import annotations

import argparse
import json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", metavar="PATH", help="manifest, folder of recordings, or name of a corpus")
    parser.add_argument("--recipe", default="default", metavar="NAME|FILE", help="whose window and readers to use")
    parser.add_argument("--modalities", metavar="A,B", help="read these only (default: what the data has)")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="processes that read")
    parser.add_argument("--report", metavar="FILE", help="also write the bad samples there, a JSON object a line")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings of the recipe")


def run(arguments: argparse.Namespace) -> int:
    """Exit code 0 when every sample can be read, 1 when some cannot."""
    import tempfile
    from pathlib import Path

    from rich.console import Console
    from rich.progress import track
    from rich.table import Table

    from mmmae.data.fit import fit
    from mmmae.data.loader import inspect_all
    from mmmae.data.source import open_data
    from mmmae.launch import listed
    from mmmae.recipe import Recipe

    modalities = listed(arguments.modalities)
    recipe = Recipe.load(arguments.recipe, arguments.overrides, modalities)
    manifest = open_data(arguments.data, None if modalities is None else recipe.columns)
    if modalities is None:
        recipe = recipe.narrow([name for name in recipe.streams if manifest.has(recipe.stream(name).source)])
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        recipe = fit(recipe, manifest, Path(folder))
        clips = recipe.clips(manifest, centre=True)
        have = dict.fromkeys(recipe.streams, 0)
        bad = []
        results = inspect_all(clips, arguments.workers)
        for samples, error in track(results, "reading", total=len(clips), console=console, transient=True):
            if error is not None:
                bad.append(error)
            for name in have:
                have[name] += any(sample.readings[name].length > 0 for sample in samples)
    table = Table("modality", "samples that have it")
    for name, count in have.items():
        table.add_row(name, f"{count} of {len(manifest)}")
    console.print(table)
    for error in bad:
        console.print(f"bad: {error}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"{len(manifest)} samples, {len(bad)} bad")
    if arguments.report:
        rows = ({"path": error.path, "reason": error.reason, "remedy": error.remedy} for error in bad)
        Path(arguments.report).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return 1 if bad else 0
