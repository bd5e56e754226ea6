"""`mmmae retrieve`: cross-modal retrieval between every two streams of a run."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmmae.launch import add_checkpoint_arguments, listed, require_counts
from modalities.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from rich.table import Table

    from mmmae.api import MaskedAutoencoder
    from mmmae.parallel.ranks import Ranks
    from modalities.records import Batch
    from modalities.shapes import Bool, Float, Tensor

    Vectors = dict[tuple[str, str], tuple[Float[Tensor, "b d"], Bool[Tensor, " b"]]]

MEANS, PROJECTED = "means", "projections"  # what two streams are compared by
SHOWN = ("R@1", "R@5", "R@10", "median rank")
OWN = {"own": "  own pair alone", "ceiling": "  own pair, at best"}  # what is also shown where items are repeated


@dataclass(frozen=True)
class Encoded:
    """What retrieval compares of a batch: its `vectors`, and by stream `digests` of what was read."""

    vectors: Vectors
    items: dict[str, list[bytes]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_checkpoint_arguments(parser)
    output = Path("retrieved")
    parser.add_argument("--output", type=Path, default=output, metavar="DIR", help=f"for results (default: {output})")


def run(arguments: argparse.Namespace) -> int:
    """Print the figures of the held-out rows, and write them to `DIR/results.json` with a picture, `retrieval.png`.

    Exit code 1 when some recordings could not be read; the results are those of the others.

    Raises:
        InputError: there is no such run or data, or they have less than two streams in common.
    """
    from mmmae.parallel.ranks import Ranks

    with Ranks() as ranks:
        return retrieve(arguments, ranks)


def retrieve(arguments: argparse.Namespace, ranks: Ranks) -> int:
    """What `run` does, as one of several processes."""
    from rich.console import Console
    from rich.progress import Progress

    from mmmae.api import MaskedAutoencoder
    from mmmae.data.bad_samples import Fault
    from mmmae.data.eval_windows import views
    from mmmae.data.notes import Notes
    from mmmae.data.source import open_for
    from mmmae.probe.features import augmentation, reading
    from mmmae.probe.results import written
    from mmmae.storage.checkpoint import find

    require_counts(arguments, "batch_size")
    model = MaskedAutoencoder.from_pretrained(arguments.run).to(ranks.device)
    recipe = model.recipe
    manifest = ranks.first(lambda: open_for(recipe, arguments.data, bad=1.0, outside=arguments.outside))
    _, test = manifest.split(recipe.sections.data.holdout)
    clips = reading(model, test if len(test) else manifest, listed(arguments.modalities))
    if len(clips.readers) < 2:
        raise InputError(f"retrieval is between streams, and there is only {next(iter(clips.readers))}")
    augment, size = augmentation(model), arguments.batch_size
    own: list[Encoded] = []
    bad: list[Fault] = []
    console = Console()
    with Progress(console=console, transient=True, disable=not ranks.main) as progress:
        bar = progress.add_task("encoding", total=len(clips))
        tick = lambda count: progress.advance(bar, count)  # noqa: E731
        for part in views(clips, ranks.share(range(len(clips)), size), size, arguments.workers):
            bad += part.faults
            if part.batch is not None:
                items = digests(part.batch)
                own.append(Encoded(vectors(model, augment(part.batch.to(ranks.device))), items))
            tick(ranks.counted(len(part.indices) + len(part.faults)))
        processes = ranks.gathered((own, bad, clips.notes), tick)
    if not ranks.main:
        return 0
    faults = [fault for _, bad, _ in processes for fault in bad]
    found = [part for own, _, _ in processes for part in own]
    notes = [*manifest.notes, *Notes.lines([notes for _, _, notes in processes])]
    if not found:
        raise InputError(f"{manifest.path}: no recording can be read\n  {faults[0]}")
    figures = retrieval(found)

    output: Path = arguments.output
    output.mkdir(parents=True, exist_ok=True)
    which = "held-out recordings" if len(test) else "recordings (none is held out)"
    console.print(table(figures, f"retrieval among {which}"))
    for line in repeats(figures):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    results = {
        "checkpoint": str(find(arguments.run)), "data": str(manifest.path), "held out": bool(len(test)),
        "results": figures, "bad": [fault.id for fault in faults],
        "notes": notes,
    }  # fmt: skip
    (output / "results.json").write_text(written(results), encoding="utf-8")
    for line in [*(f"bad: {fault}" for fault in faults), *(f"note: {note}" for note in notes)]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for path in (output / "results.json", picture(figures, output / "retrieval.png")):
        console.print(str(path), markup=False, highlight=False, soft_wrap=True)
    return 1 if faults else 0


def retrieval(batches: Iterable[Encoded]) -> dict[str, dict[str, Any]]:
    """Figures by `query -> answer` for every two streams, among the samples that have both (see `metrics.ranking`).

    Where there are projections of both streams, they are compared by those.
    """
    import torch

    from mmmae.probe.metrics import ranking

    found: dict[tuple[str, str], list[tuple[Tensor, Tensor]]] = {}
    items: dict[str, list[bytes]] = {}
    for batch in batches:
        for key, pair in batch.vectors.items():
            found.setdefault(key, []).append(pair)
        for name, read in batch.items.items():
            items.setdefault(name, []).extend(read)
    whole = {key: tuple(torch.cat(parts) for parts in zip(*pairs, strict=True)) for key, pairs in found.items()}
    table = {}
    for a, b in combinations(dict.fromkeys(name for _, name in whole), 2):
        through = PROJECTED if (PROJECTED, a) in whole and (PROJECTED, b) in whole else MEANS
        (x, here), (y, there) = whole[through, a], whole[through, b]
        both = here & there
        similarity = (x[both].double() @ y[both].double().T).numpy()
        if len(similarity):
            of_a, of_b = ([items[name][i] for i in both.nonzero()[:, 0].tolist()] for name in (a, b))
            table[f"{a} -> {b}"] = ranking(similarity, of_a, of_b) | {"through": through}
            table[f"{b} -> {a}"] = ranking(similarity.T, of_b, of_a) | {"through": through}
    return table


def digests(batch: Batch) -> dict[str, list[bytes]]:
    """By stream a digest of what was read of each sample: no model can distinguish equal inputs."""
    from hashlib import blake2b

    return {
        name: [
            blake2b(
                signal.values[i, : None if signal.length is None else int(signal.length[i])].numpy().tobytes()
            ).digest()
            for i in range(len(signal.values))
        ]
        for name, signal in batch.items()
    }


def vectors(model: MaskedAutoencoder, batch: Batch) -> Vectors:
    """Unit vectors by (`means` or `projections`, stream), and which samples have the stream; nothing is hidden.

    Each stream is encoded without the others. There are projections where the model has a contrastive objective.
    """
    import torch
    from torch.nn.functional import normalize

    from fusion.masking import Plan
    from mmmae.objectives.contrastive import Contrastive

    plans = {}
    with torch.inference_mode():
        for name, signal in batch.items():
            patches = model.tokenizers[name].patchify(signal)
            every = torch.arange(patches.time.shape[1], device=patches.time.device).expand(patches.time.shape)
            plans[name] = Plan(every, every, patches.valid, patches.valid)
        encoded = model.encode_masked(batch, plans)
        here = {name: tokens.present().cpu() for name, tokens in encoded.tokens.items()}
        found = {(MEANS, name): normalize(encoded.alone(name).mean().float(), dim=-1) for name in encoded.tokens}
        for objective in model.objectives.values():
            if isinstance(objective, Contrastive):
                found |= {(PROJECTED, name): vector for name, vector in objective.vectors(encoded).items()}
                break
    return {(through, name): (vector.cpu(), here[name]) for (through, name), vector in found.items()}


def table(figures: Mapping[str, Mapping[str, Any]], title: str) -> Table:
    """The figures of each direction and of chance; where items are repeated, also those of the own pair alone."""
    from rich.table import Table

    grid = Table(title=title, title_justify="left")
    for name in ("query -> answer", "N", *SHOWN, "by"):
        grid.add_column(name, no_wrap=True)
    unrepeated = {}
    for name, found in figures.items():
        grid.add_row(name, str(found["N"]), *shown(found), found["through"])
        if not found["repeated"]:
            unrepeated[found["N"]] = found
            continue
        grid.add_row("  chance", "", *shown(found, "chance "), "")
        for kind, called in OWN.items():
            grid.add_row(called, "", *shown(found, f"{kind} "), "")
    for count, found in unrepeated.items():
        grid.add_row("chance", str(count), *shown(found, "chance "), "")
    return grid


def shown(figures: Mapping[str, Any], kind: str = "") -> Iterator[str]:
    return (f"{figures[kind + key]:.3f}" if "R@" in key else f"{figures[kind + key]:.4g}" for key in SHOWN)


def repeats(figures: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A sentence for each stream of which some recordings have equal items."""
    found = {}
    for name, of in figures.items():
        query = name.partition(" -> ")[0]
        if of["distinct queries"] < of["N"]:
            found.setdefault(
                query,
                f"{query}: {of['distinct queries']} different ones among {of['N']} recordings; all that are equal are "
                "right answers (the rows `own pair` count the recording's own alone, and the best that can be)",
            )
    return list(found.values())


def picture(figures: dict[str, dict[str, Any]], path: Path) -> Path:
    """R@1 from every stream (rows) to every other (columns)."""
    import numpy as np
    from matplotlib.figure import Figure  # not pyplot, which keeps every figure and asks for a display

    pairs = {tuple(name.split(" -> ")): found["R@1"] for name, found in figures.items()}
    names = list(dict.fromkeys(name for pair in pairs for name in pair))
    values: np.ndarray = np.array([[pairs.get((a, b), np.nan) for b in names] for a in names])
    page = Figure(figsize=(4.5, 4.0), dpi=120, layout="constrained")
    axes = page.subplots()
    page.colorbar(axes.imshow(values, cmap="Blues", vmin=0, vmax=1), label="R@1")
    axes.set(xlabel="answer", ylabel="query")
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), names)
    for row, column in np.ndindex(*values.shape):
        if np.isfinite(values[row, column]):
            dark = values[row, column] > 0.5
            axes.text(column, row, f"{values[row, column]:.2f}", ha="center", va="center", color="w" if dark else "k")
    page.savefig(path)
    return path
