"""`mmmae embed`: recordings as sequences of embeddings, one for every segment, for models of long recordings."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmmae.launch import add_checkpoint_arguments, listed, require_counts
from modalities.errors import InputError, SampleError

if TYPE_CHECKING:
    from mmmae.api import MaskedAutoencoder
    from mmmae.data.clips import Clips
    from mmmae.data.manifest import Manifest
    from mmmae.data.segments import Segment
    from mmmae.parallel.ranks import Ranks
    from modalities.embedding.reader import Rows
    from modalities.records import Batch
    from modalities.shapes import Float, Tensor

MADE = "embedded.json"  # what a folder of embeddings was made with, so that none of another kind is added
FORMATS = ("safetensors", "parquet")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_checkpoint_arguments(parser, unit="segments")
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="DIR", help="output folder for embeddings and manifest.jsonl")
    add("--segment", type=float, metavar="S", help="seconds of a segment (default: the window of the run)")
    add(
        "--stride",
        type=float,
        metavar="S",
        help="seconds from the start of one segment to the next (default: --segment)",
    )
    add("--format", default=FORMATS[0], choices=FORMATS, help=f"of the files (default: {FORMATS[0]})")


def run(arguments: argparse.Namespace) -> int:
    """Write a file of embeddings for each recording that has none yet or a damaged one, and a manifest of all of them.

    Exit code 1 when some recordings could not be read; the others are there.

    Raises:
        InputError: there is no such run or data, they do not fit each other, or DIR holds embeddings of another kind.
    """
    from mmmae.parallel.ranks import Ranks

    with Ranks() as ranks:
        return embed(arguments, ranks)


def embed(arguments: argparse.Namespace, ranks: Ranks) -> int:
    """What `run` does, as one of several processes; each writes the files of its recordings."""
    from rich.console import Console
    from rich.progress import Progress

    from mmmae.api import MaskedAutoencoder
    from mmmae.corpora.writing import write_manifest
    from mmmae.data.notes import Notes
    from mmmae.data.segments import Segments, read
    from mmmae.data.source import open_for
    from mmmae.storage.checkpoint import find
    from mmmae.storage.embeddings import damage, write

    require_counts(arguments, "batch_size")
    model = MaskedAutoencoder.from_pretrained(arguments.run).to(ranks.device)
    recipe = model.recipe
    segment = recipe.sections.window if arguments.segment is None else arguments.segment
    stride = segment if arguments.stride is None else arguments.stride
    if not segment > 0 or not stride > 0:
        raise InputError(f"--segment {segment:g} --stride {stride:g}: expected seconds above 0")
    manifest = ranks.first(lambda: open_for(recipe, arguments.data, outside=arguments.outside))
    clips = reading(model, manifest, segment, listed(arguments.modalities))
    require_cuttable(model, clips)
    out: Path = arguments.out
    made = {"run": str(find(arguments.run).resolve()), "segment": segment, "stride": stride,
            "streams": sorted(clips.readers), "format": arguments.format}  # fmt: skip
    rows = list(manifest.columns("id", "label", "group", "split", "text", "segments", "start", "end"))
    places = paths(out, [row["id"] for row in rows], arguments.format)
    ranks.first(lambda: require_same(out, made))

    missing, damaged, bad = [], [], []
    mine = range(ranks.number, len(rows), ranks.world)
    console = Console()
    with Progress(console=console, transient=True, disable=not ranks.main) as progress:
        bar = progress.add_task("embedding", total=len(rows))
        tick = lambda count: progress.advance(bar, count)  # noqa: E731
        for index in mine:
            if places[index].is_file() and (reason := damage(places[index])):
                damaged.append(f"{places[index]}: {reason}; made again")
                places[index].unlink()
            if not places[index].is_file():
                missing.append(index)
        tick(ranks.counted(len(mine) - len(missing)))
        pieces = read(Segments(clips, missing, stride), arguments.workers)
        for index, found in embedded(model, pieces, arguments.batch_size):
            if isinstance(found, SampleError):
                bad.append((index, str(found)))
            else:
                write(places[index], found)
            tick(ranks.counted(1))
        processes = ranks.gathered((len(missing), damaged, bad, clips.notes), tick)
    if not ranks.main:
        return 0
    write_manifest(out, [listing(row, path) for row, path in zip(rows, places, strict=True) if path.is_file()])
    fresh = sum(count for count, *_ in processes)
    faults = sorted(fault for _, _, faults, _ in processes for fault in faults)
    notes = [*manifest.notes, *Notes.lines([notes for *_, notes in processes])]
    for line in [
        *(f"damaged: {line}" for _, lines, _, _ in processes for line in lines),
        *(f"bad: {text}" for _, text in faults),
        *(f"note: {note}" for note in notes),
    ]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    known = f"{len(rows) - fresh} known, " if fresh < len(rows) else ""
    console.print(f"{len(rows)} recordings: {known}{fresh - len(faults)} embedded, {len(faults)} bad; {out}")
    return 1 if faults else 0


def reading(model: MaskedAutoencoder, manifest: Manifest, segment: float, names: Sequence[str] | None = None) -> Clips:
    """The streams of a run that the data has, or those named, all over the same seconds.

    Raises:
        InputError: the run or the data has none of them.
    """
    from mmmae.data.clips import Clips
    from mmmae.probe.features import reading
    from mmmae.recipes.timing import Lag

    clips = reading(model, manifest, names)
    streams = {name: stream.model_copy(update={"lag": Lag(), "span": None}) for name, stream in clips.streams.items()}
    return Clips(manifest, clips.readers, window=segment, streams=streams, centre=True)


def require_cuttable(model: MaskedAutoencoder, clips: Clips) -> None:
    """Refuse segments that a tokenizer cannot cut, before hours of decoding."""
    from modalities.records import Signal

    for name, reader in clips.readers.items():
        try:
            model.tokenizers[name].patchify(Signal(reader.blank(clips.window).values[None]))
        except ValueError as error:
            raise InputError(f"--segment {clips.window:g}: {name}: {error}") from error


def require_same(out: Path, made: Mapping[str, Any]) -> None:
    """Refuse to add embeddings to a folder of others.

    Raises:
        InputError: names what differs.
    """
    from mmmae.storage.atomic import BLOCK, make, refusals, replace

    with refusals(out / MADE, BLOCK):
        make(out)
        if not (out / MADE).is_file():
            replace(out / MADE, json.dumps(made, indent=2))
    try:
        before = json.loads((out / MADE).read_bytes())
        differs = [key for key, value in made.items() if before.get(key) != value]
    except (ValueError, AttributeError) as error:
        raise InputError(f"{out / MADE}: is damaged\n  choose another --out, or delete that folder") from error
    if differs:
        key = differs[0]
        raise InputError(
            f"{out}: was made with {key} {before.get(key)}, not {made[key]}\n  choose another --out, or the same {key}"
        )


def paths(out: Path, names: Sequence[str], suffix: str) -> list[Path]:
    """The file of each recording, whose name is its id.

    Raises:
        InputError: two have the same id, or one would lie outside the folder.
    """
    places: dict[str, Path] = {}
    for name in names:
        if name in places:
            raise InputError(f"two recordings have the id {name!r}\n  give each row an id of its own")
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise InputError(f"the id {name!r} leads out of {out}\n  give the row an id without `..` and leading `/`")
        places[name] = out / f"{name}.{suffix}"
    return list(places.values())


def embedded(
    model: MaskedAutoencoder, pieces: Iterator[Segment], batch_size: int
) -> Iterator[tuple[int, Rows | SampleError]]:
    """Each recording's embeddings as soon as its last segment is encoded."""
    from mmmae.data.segments import encoded
    from mmmae.probe.features import augmentation
    from modalities.embedding.reader import Rows

    augment, device = augmentation(model), next(model.parameters()).device
    for index, found in encoded(pieces, batch_size, lambda batch: vectors(model, augment(batch.to(device)))):
        yield index, found if isinstance(found, SampleError) else Rows(*found)


def vectors(model: MaskedAutoencoder, batch: Batch) -> Float[Tensor, "b d"]:
    """The mean over the streams that a sample has of the means of their tokens, nothing hidden."""
    import torch

    with torch.inference_mode():
        streams = list(model.encode(batch).values())
        there = torch.stack([tokens.present() for tokens in streams], 1).float()
        means = torch.stack([tokens.mean().float() for tokens in streams], 1)
        return ((means * there[..., None]).sum(1) / there.sum(1, keepdim=True).clamp_min(1)).cpu()


def listing(row: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The manifest row of a recording's embeddings, with the other columns of its own row; seconds mean the same."""
    from mmmae.data.labels import parsed

    captions = [caption["text"] if caption["start"] is None else caption for caption in row["text"] or ()]
    return {**row, "embedding": path, "text": captions or None, "label": parsed(row["label"])}
