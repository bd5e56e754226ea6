"""`mmmae check`: read a whole manifest by the loader's rules, summarise it, and report every bad sample."""

from __future__ import annotations

import argparse
import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from mmmae.data.bad_samples import Fault
    from mmmae.data.columns import Columns
    from mmmae.data.contents import DataContents
    from mmmae.data.facts import Numbers, Values

SHOWN = 20  # bad samples and warnings that are printed; the report has all
MOST = 5  # channels, classes and values that are printed of each fact
CONTENTS = "-contents.json"  # what the name of the second report ends in


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", metavar="PATH", help="manifest, folder of recordings, or name of a corpus")
    parser.add_argument(
        "--recipe", default="default", metavar="NAME|FILE", help="recipe whose window and readers to use"
    )
    parser.add_argument("--modalities", metavar="A,B", help="streams to read (default: all that the data has)")
    parser.add_argument("--workers", type=int, metavar="N", help="reader processes (default: one per core)")
    parser.add_argument(
        "--report", metavar="FILE",
        help=f"also write the bad samples there, a JSON object a line, and next to it all else in *{CONTENTS}",
    )  # fmt: skip
    rest = "further corpora of the same run, and settings of the recipe"
    parser.add_argument("overrides", nargs="*", metavar="PATH|key=value", help=rest)


def run(arguments: argparse.Namespace) -> int:
    """Exit code 0 if every sample can be read, 1 if some cannot; warnings do not change it."""
    import tempfile

    from rich.console import Console
    from rich.progress import track

    from mmmae.api import Recipe
    from mmmae.data.columns import Columns
    from mmmae.data.contents import DataContents
    from mmmae.data.inspection import inspect_all
    from mmmae.data.open_settings import fit
    from mmmae.data.source import open_for
    from mmmae.launch import listed

    modalities = listed(arguments.modalities)
    data = [arguments.data, *(word for word in arguments.overrides if "=" not in word)]
    recipe = Recipe.load(arguments.recipe, [word for word in arguments.overrides if "=" in word], modalities)
    rules = recipe.sections.data
    asked = None if modalities is None else list(recipe.columns)
    manifest = open_for(recipe, data, asked, bad=1.0, outside=rules.outside)
    if modalities is None:
        recipe = recipe.narrow([name for name in recipe.streams if manifest.has(recipe.stream(name).source)])
    workers = len(os.sched_getaffinity(0)) if arguments.workers is None else arguments.workers
    console = Console()
    trees: dict[str, Any] = {}
    bad: list[Fault] = []
    notes, warnings = list(manifest.notes), list[str]()
    with tempfile.TemporaryDirectory() as folder:
        fitted = fit(recipe, manifest, Path(folder))
        for corpus in manifest.parts():
            found = DataContents(fitted.clips(corpus, centre=True))
            verdicts = inspect_all(found.clips, workers)
            for verdict in track(verdicts, "reading", total=len(corpus), console=console, transient=True):
                found.add(verdict)
            columns = Columns.of(corpus, rules.holdout)
            findings = found.findings(columns)
            title = f"{corpus.path}, read by {recipe.name} with window={recipe.sections.window:g}"
            console.print(title, markup=False, highlight=False, soft_wrap=True)
            console.print(contents_table(found, columns))
            name = f"{corpus.path}: " if manifest.corpora else ""
            notes += [f"{name}{note}" for note in found.noted()]
            warnings += [f"{name}{finding.sentence}\n  {finding.remedy}" for finding in findings]
            bad += found.bad
            trees[str(corpus.path)] = found.tree(columns, findings)
    if arguments.report:
        report = Path(arguments.report)
        report.write_text("".join(fault.line() for fault in bad), encoding="utf-8")
        contents = {"corpora": trees} if manifest.corpora else next(iter(trees.values()))
        report.with_name(report.stem + CONTENTS).write_text(json.dumps(contents, indent=2) + "\n", encoding="utf-8")
    print_lines(console, "note", notes)
    print_lines(console, "warning", warnings)
    print_bad(console, bad, arguments.report)
    console.print(f"{len(manifest)} samples, {len(bad)} bad, {len(warnings)} warnings")
    return 1 if bad else 0


def print_lines(console: Console, kind: str, lines: Sequence[str]) -> None:
    for line in lines[:SHOWN]:
        console.print(f"{kind}: {line}", markup=False, highlight=False, soft_wrap=True)
    if len(lines) > SHOWN:
        console.print(f"{len(lines) - SHOWN} more {kind}s: use --report FILE", markup=False, highlight=False)


def print_bad(console: Console, bad: Sequence[Fault], report: str | None) -> None:
    for fault in bad[:SHOWN]:
        console.print(f"bad: {fault}\n  {fault.remedy}", markup=False, highlight=False, soft_wrap=True)
    if len(bad) > SHOWN:
        rest = f"{len(bad) - SHOWN} more: " + (f"see {report}" if report else "use --report FILE")
        console.print(rest, markup=False, highlight=False, soft_wrap=True)
    if bad:
        console.print(reasons(bad))


def contents_table(found: DataContents, columns: Columns) -> Table:
    """The statistics of every stream and of the columns of the manifest."""
    from rich.table import Table

    grid = Table(box=None, padding=(0, 2, 0, 0), show_header=False, highlight=False)
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    samples = len(found.clips)
    for name in found.have:
        bad = found.bad_of(name)
        grid.add_row(name, "recordings", f"{found.have[name]} of {samples}" + (f", {bad} bad" if bad else ""))
        for key, text in facts_of(found, name):
            grid.add_row("", key, text)
    for number, (key, text) in enumerate(columns_of(columns)):
        grid.add_row("" if number else "manifest", key, text)
    return grid


def facts_of(found: DataContents, name: str) -> Iterator[tuple[str, str]]:
    """The facts of a stream, each in a line."""
    if name not in found.facts:  # read like a stream above it
        return
    facts, units = found.facts[name], found.units(name)
    contents = found.clips.readers[name].contents()
    for key, numbers in facts.numbers.items():
        if key == "seconds":
            yield "duration", f"{spanned(numbers, 's')}; {hours(numbers.total)} in all"
        else:
            yield key, spanned(numbers, units.get(key, ""))
    for key, values in facts.values.items():
        if key not in contents.doubts:
            yield key, several(values, facts.known)
    for key, channels in facts.channels.items():
        order = sorted(channels, key=lambda channel: -channels[channel].total)
        means = [
            f"{channel} {quantity(channels[channel].total / facts.known, units.get(key, ''))}" for channel in order
        ]
        yield key, shortened(means)


def columns_of(columns: Columns) -> Iterator[tuple[str, str]]:
    """What the columns of the manifest hold: captions, labels, groups, and the two sides."""
    from mmmae.data.suspicions import quoted

    captions, rows = columns.repeats("captions"), columns.train.rows + columns.test.rows
    if captions.count:
        text, (often, most) = f"{captions.count}, {captions.different} different", captions.most
        if often > 1:
            example = columns.first("captions", {most})
            text += f"; {captions.repeated / captions.count:.0%} repeated, {quoted(example, 40)} {often} times"
        yield "captions", text
    for kind, counts in (("labels", columns.labels), ("groups", columns.groups)):
        if counts:
            yield kind, counted(counts, rows, "classes" if kind == "labels" else kind)
    _, often, _ = columns.shared("captions")
    known = f"; {often} of {len(columns.test.captions)} captions held out are in training, too" if often else ""
    yield "split", f"{columns.train.rows} to train on, {columns.test.rows} held out{known}"


def counted(counts: Counter[str], rows: int, kind: str) -> str:
    """Classes or groups: how many, how large, and the commonest by name."""
    sizes = sorted(counts.values())
    size = f"{sizes[0]}" if sizes[0] == sizes[-1] else f"{sizes[0]} to {sizes[-1]}"
    names = shortened([f"{name} {count}" for name, count in counts.most_common(MOST + 1)])
    missing = rows - counts.total()
    return f"{len(counts)} {kind} of {size} rows" + (f", {missing} without" if missing > 0 else "") + f": {names}"


def spanned(numbers: Numbers, unit: str) -> str:
    """A range: the only number, or the least, the largest and the median."""
    low, high = numbers.low[0], numbers.high[0]
    if f"{low:.3g}" == f"{high:.3g}":
        return quantity(low, unit)
    return f"{quantity(low, unit)} to {quantity(high, unit)}, median {quantity(numbers.median, unit)}"


def quantity(value: float, unit: str) -> str:
    if unit == "%":
        return f"{100 * value:.3g}%"
    return f"{value:.0f} {unit}".rstrip() if abs(value) >= 1000 else f"{value:.4g} {unit}".rstrip()


def several(values: Values, known: int) -> str:
    """Values with how many recordings have each; only the value where all have it."""
    common = values.common()
    if len(common) == 1 and common[0][1].number == known:
        return common[0][0]
    return shortened([f"{value} in {count.number}" for value, count in common])


def shortened(parts: Sequence[str]) -> str:
    return ", ".join(parts[:MOST]) + (", ..." if len(parts) > MOST else "")


def hours(seconds: float) -> str:
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


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
