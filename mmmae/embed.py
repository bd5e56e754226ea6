"""`mmmae embed`: recordings as sequences of embeddings, one for every segment, for models of long recordings."""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modalities.errors import InputError, SampleError

if TYPE_CHECKING:
    from mmmae.data.dataset import Clips
    from mmmae.data.manifest import Manifest
    from mmmae.data.segments import Piece
    from mmmae.model import MaskedAutoencoder
    from modalities.records import Batch
    from modalities.shapes import Float, Tensor

MADE = "embedded.json"  # what a folder of embeddings was made with, so that none of another kind is added


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="a run, one of its checkpoints, or a saved model")
    parser.add_argument("--data", metavar="PATH", help="manifest, folder of recordings or name of a corpus")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where embeddings and manifest.jsonl go")
    parser.add_argument("--segment", type=float, metavar="S", help="seconds of each (default: the window of the run)")
    parser.add_argument("--stream", metavar="NAME", help="embed this one only (default: all that the data has)")
    parser.add_argument("--batch-size", type=int, default=32, metavar="N", help="segments encoded at once")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="processes that read")
    parser.add_argument("--outside", action="store_true", help="read files that lie outside of the data's folder, too")


def run(arguments: argparse.Namespace) -> int:
    """Write `DIR/<id>.npy` (segments, width) for each recording that has none yet, and a manifest of all of them.

    Exit code 1 when some recordings could not be read; the others are there.

    Raises:
        InputError: there is no such run or data, they do not fit each other, or DIR holds embeddings of another kind.
    """
    import torch
    from rich.console import Console
    from rich.progress import track

    from mmmae.checkpoint import find
    from mmmae.corpora.writing import write_manifest
    from mmmae.data.segments import Segments, read
    from mmmae.data.source import open_data
    from mmmae.model import MaskedAutoencoder

    model = MaskedAutoencoder.from_pretrained(arguments.run)
    assert model.recipe is not None  # a checkpoint always has one
    segment = model.recipe.sections.window if arguments.segment is None else arguments.segment
    if not segment > 0 or arguments.batch_size < 1:
        raise InputError(f"--segment {segment:g} --batch-size {arguments.batch_size}: expected numbers above 0")
    manifest = open_data(arguments.data, outside=arguments.outside)
    clips = reading(model, manifest, segment, arguments.stream)
    require_cuttable(model, clips)
    out: Path = arguments.out
    made = {"run": str(find(arguments.run).resolve()), "segment": segment, "streams": sorted(clips.readers)}
    require_same(out, made)

    rows = list(manifest.columns("id", "label", "group", "split", "text"))
    places = paths(out, [row["id"] for row in rows])
    missing = [index for index, path in enumerate(places) if not path.is_file()]
    pieces = read(Segments(clips, missing), arguments.workers)
    console, bad = Console(), []
    model = model.to("cuda" if torch.cuda.is_available() else "cpu")
    results = embedded(model, pieces, arguments.batch_size)
    for index, found in track(results, "embedding", total=len(missing), console=console, transient=True):
        if isinstance(found, SampleError):
            bad.append(found)
        else:
            save(places[index], found)
    listed = [listing(row, path) for row, path in zip(rows, places, strict=True) if path.is_file()]
    write_manifest(out, listed)
    for error in bad:
        console.print(f"bad: {error}", markup=False, highlight=False, soft_wrap=True)
    known = f"{len(rows) - len(missing)} known, " if len(missing) < len(rows) else ""
    console.print(f"{len(rows)} recordings: {known}{len(missing) - len(bad)} embedded, {len(bad)} bad; {out}")
    return 1 if bad else 0


def reading(model: MaskedAutoencoder, manifest: Manifest, segment: float, only: str | None) -> Clips:
    """The streams of a run that the data has, all over the same seconds; one that shares a tokenizer is left out.

    Raises:
        InputError: the data has none of them, or not the one that is asked for.
    """
    from mmmae.data.dataset import Clips

    recipe = model.recipe
    assert recipe is not None
    streams = {name: recipe.stream(name) for name in recipe.streams}
    if only is not None and only not in streams:
        raise InputError(f"--stream {only}: the run has {', '.join(streams)}")
    chosen = {
        name: stream.model_copy(update={"lag": (0.0, 0.0), "span": None}) for name, stream in streams.items()
        if manifest.has(stream.source) and (stream.share is None if only is None else name == only)
    }  # fmt: skip
    if not chosen:
        raise InputError(f"{manifest.path}: has none of {only or ', '.join(streams)}, which the run reads")
    readers = {name: reader for name, reader in recipe.readers().items() if name in chosen}
    return Clips(manifest, readers, window=segment, streams=chosen, centre=True)


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
    out.mkdir(parents=True, exist_ok=True)
    before = json.loads((out / MADE).read_text(encoding="utf-8")) if (out / MADE).is_file() else made
    for key, value in made.items():
        if before.get(key) != value:
            raise InputError(
                f"{out}: was made with {key} {before.get(key)}, not {value}\n  choose another --out, or the same {key}"
            )
    (out / MADE).write_text(json.dumps(made, indent=2), encoding="utf-8")


def paths(out: Path, names: Sequence[str]) -> list[Path]:
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
        places[name] = out / f"{name}.npy"
    return list(places.values())


def embedded(
    model: MaskedAutoencoder, pieces: Iterator[Piece], batch_size: int
) -> Iterator[tuple[int, Float[Tensor, "segments d"] | SampleError]]:
    """Each recording's embeddings as soon as its last segment is encoded; batches reach across recordings."""
    import torch

    from mmmae.data.sample import collate

    waiting: list[Piece] = []
    known: dict[int, list[Tensor]] = defaultdict(list)

    def encoded() -> Iterator[tuple[int, Tensor]]:
        """Encode what waits, and give out the recordings that it completes."""
        batch = collate([[piece.found for piece in waiting if not isinstance(piece.found, SampleError)]])
        for piece, vector in zip(waiting, vectors(model, batch), strict=True):
            known[piece.index].append(vector)
            if len(known[piece.index]) == piece.total:
                yield piece.index, torch.stack(known.pop(piece.index))
        waiting.clear()

    for piece in pieces:
        if isinstance(piece.found, SampleError):
            waiting[:] = [other for other in waiting if other.index != piece.index]
            known.pop(piece.index, None)
            yield piece.index, piece.found
            continue
        waiting.append(piece)
        if len(waiting) == batch_size:
            yield from encoded()
    if waiting:
        yield from encoded()


def vectors(model: MaskedAutoencoder, batch: Batch) -> Float[Tensor, "b d"]:
    """The mean over the streams that a sample has of the means of their tokens, nothing hidden."""
    import torch

    with torch.inference_mode():
        streams = list(model.encode(batch.to(next(model.parameters()).device)).values())
        there = torch.stack([tokens.present() for tokens in streams], 1).float()
        means = torch.stack([tokens.mean().float() for tokens in streams], 1)
        return ((means * there[..., None]).sum(1) / there.sum(1, keepdim=True).clamp_min(1)).cpu()


def save(path: Path, embeddings: Float[Tensor, "segments d"]) -> None:
    """Write a file that is there whole or not at all."""
    import numpy as np

    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    with open(draft, "wb") as file:
        np.save(file, embeddings.numpy())
    draft.rename(path)


def listing(row: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The row of a recording's embeddings, with what its own row said of all of it."""
    captions = [caption["text"] for caption in row["text"] or () if caption["start"] is None]
    kept = {key: row[key] for key in ("label", "group", "split")}
    return {"id": row["id"], "embedding": path, "text": captions or None, **kept}
