"""`mmmae inspect`: pictures of files as readers, tokenizers and a model see them."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modalities.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from mmmae.api import MaskedAutoencoder, Recipe
    from mmmae.data.clips import Clips
    from mmmae.data.manifest import Row
    from mmmae.panels.page import Page
    from modalities.reader import Reader
    from modalities.records import Batch
    from modalities.shapes import Tensor
    from modalities.tokenizer import Tokenizer

FRAME, HOP = 1024, 256  # samples of the spectrum of a sound
QUIETEST = -80.0  # decibels below the loudest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "inputs", nargs="+", metavar="FILE|key=value",
        help="videos, images, sounds, IMU tables, captions (files of one name but for the ending are one recording); "
        "and settings of the recipe",
    )  # fmt: skip
    parser.add_argument(
        "--recipe", default="default", metavar="NAME|FILE", help="recipe whose readers and tokenizers to use"
    )
    parser.add_argument(
        "--checkpoint", type=Path, metavar="DIR", help="also reconstruct with this model and its recipe"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("inspected"), metavar="DIR", help="output folder for pictures"
    )
    parser.add_argument("--start", type=float, default=0.0, metavar="S", help="second at which the window begins")


def run(arguments: argparse.Namespace) -> int:
    """Write a picture of each recording, and of its reconstruction where a checkpoint is given; print what was read.

    Raises:
        InputError: a file cannot be read, or no modality of the recipe takes it.
    """
    from rich.console import Console

    from mmmae.api import Recipe
    from mmmae.build import build_tokenizers
    from mmmae.data.notes import distinct
    from mmmae.data.open_settings import fit
    from mmmae.data.sample import collate
    from mmmae.data.source import open_for
    from modalities.noise import sample_key

    overrides = [word for word in arguments.inputs if "=" in word and not Path(word).exists()]
    files = [Path(word) for word in arguments.inputs if word not in overrides]
    model = None if arguments.checkpoint is None else restored(arguments.checkpoint, overrides)
    recipe = Recipe.load(arguments.recipe, overrides) if model is None else model.recipe
    with tempfile.TemporaryDirectory() as folder:
        listing = Path(folder) / "manifest.jsonl"
        listing.write_text("".join(json.dumps(row) + "\n" for row in rows(files, recipe, arguments.start)))
        manifest = open_for(recipe, listing, outside=True)  # it names what the user named
        recipe = recipe.narrow([name for name in recipe.streams if manifest.has(recipe.stream(name).source)])
        if model is None:
            recipe = fit(recipe, manifest, Path(folder))
        clips = recipe.clips(manifest, centre=True)
        samples = [clips.read(row, sample_key(0, 0, i)) for i, row in enumerate(manifest)]
        batch = collate(samples)
    batch = recipe.augment().eval()(batch)
    tokenizers: Mapping[str, Any] = build_tokenizers(recipe) if model is None else dict(model.tokenizers.items())
    console = Console()
    console.print(table(list(manifest), clips, tokenizers, batch))
    for note in distinct(*(sample.notes for windows in samples for sample in windows)):
        console.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
    for path in pictures(arguments.output, clips.readers, tokenizers, batch, model):
        console.print(str(path), markup=False, highlight=False, soft_wrap=True)
    return 0


def restored(checkpoint: Path, overrides: Sequence[str]) -> MaskedAutoencoder:
    from mmmae.api import MaskedAutoencoder

    if overrides:
        raise InputError(f"{overrides[0]}: a checkpoint brings its own recipe\n  leave out key=value, or --checkpoint")
    return MaskedAutoencoder.from_pretrained(checkpoint)


def rows(files: Sequence[Path], recipe: Recipe, start: float) -> list[dict[str, Any]]:
    """Rows of a manifest: the files of each recording, all over the same window.

    Raises:
        InputError: a file is missing, or its ending or contents fit no modality of the recipe.
    """
    from mmmae.data.kinds import columns_of

    if not start >= 0:
        raise InputError(f"--start {start:g}: the window begins at second 0 or later")
    if not files:
        raise InputError("no file to look at\n  name videos, images, sounds, IMU tables or captions")
    streams = [recipe.stream(name) for name in recipe.streams]
    columns = {column: columns_of(use)(column) for column, use in recipe.columns.items()}
    taken = {column: one.opened for column, one in columns.items() if one.opened}
    found: dict[str, dict[str, Any]] = {}
    for file in files:
        if not file.is_file():
            raise InputError(
                f"{file}: {'a folder, not a file' if file.is_dir() else 'no such file'}\n  correct the path"
            )
        column = next((column for column, endings in taken.items() if file.suffix.lower() in endings), None)
        if column is None:
            known = "; ".join(f"{column}: {' '.join(endings)}" for column, endings in taken.items())
            raise InputError(f"{file}: no modality of recipe {recipe.name} takes such a file\n  {known}")
        value: Any = str(file.resolve())
        if reads := [of.read for of in columns[column].files.values() if of.read is not None]:
            value = reads[0](file)
            if isinstance(value, InputError):
                raise value
            if not value:
                raise InputError(f"{file}: holds no caption\n  write one in each line")
        name, number = file.stem, 1
        while column in found.get(name, ()):  # clip.mp4 and clip.webm
            number += 1
            name = f"{file.stem}-{number}"
        found.setdefault(name, {})[column] = value
    window = recipe.sections.window
    first = min([0.0, *(stream.lag.reach[0] for stream in streams)])
    last = max([window, *(stream.lag.reach[1] + stream.longest(window) for stream in streams)])
    span = {"start": start, "end": start + last - first}
    return [{"id": name, **sources, **span} for name, sources in found.items()]


def table(rows: Sequence[Row], clips: Clips, tokenizers: Mapping[str, Tokenizer], batch: Batch) -> Table:
    """The shapes that each reader and each tokenizer returned."""
    from rich.table import Table

    grid = Table("file", "stream", "recorded", "read", "shape", "patches")
    for name, signal in batch.items():
        patches, column = tokenizers[name].patchify(signal), clips.streams[name].source
        for number, row in enumerate(rows):
            if column not in row.sources:
                continue
            steps = signal.values.shape[1] if signal.length is None else int(signal.length[number])
            seconds = clips.readers[name].seconds(row.sources[column])
            valid = patches.time.shape[1] if patches.valid is None else int(patches.valid[number].sum())
            cut = " × ".join(map(str, patches.grid))
            grid.add_row(
                filed(row, column, clips.readers[name]), name, "-" if seconds is None else f"{seconds:.2f} s",
                f"{steps} steps" if steps else "absent", " × ".join(map(str, signal.values.shape[1:])),
                f"{cut}, {valid} valid" if valid < patches.time.shape[1] else cut,
            )  # fmt: skip
    return grid


def filed(row: Row, column: str, reader: Reader) -> str:
    """The name of the file that a column of a row was made of."""
    return Path(next(iter(reader.files(row.sources[column])), f"{row.id}.txt")).name


def pictures(
    output: Path,
    readers: Mapping[str, Any],
    tokenizers: Mapping[str, Tokenizer],
    batch: Batch,
    model: MaskedAutoencoder | None,
) -> Iterator[Path]:
    """Draw every recording as it was read and, given a model, as it is reconstructed."""
    from mmmae.panels import draw, header, part, seen, show
    from mmmae.panels.page import Page

    views = {name: seen(name, tokenizers[name], signal, readers[name]) for name, signal in batch.items()}
    for number, name in enumerate(batch.ids):
        page = Page()
        header(page, batch, number)
        for stream, signal in batch.items():
            view = views[stream][number]
            show(page, view)
            if signal.values.ndim == 2 and signal.values.is_floating_point() and view.valid.any():  # a waveform
                spectrum(page, signal.values[number], readers[stream].rate, view.seconds)
        yield page.save(output / f"{name}.png")
        if model is not None:
            yield draw(model, part(batch, slice(number, number + 1)), output / f"{name}-reconstruction.png", title=name)


def spectrum(page: Page, wave: Tensor, rate: int, seconds: float) -> None:
    """What the sound itself holds, to compare with what the tokenizer keeps: by librosa, else on a linear scale."""
    import torch

    power = torch.stft(wave, FRAME, HOP, window=torch.hann_window(FRAME), return_complex=True).abs().square()
    level = (10 * (power / power.max().clamp_min(1e-20)).clamp_min(10 ** (QUIETEST / 10)).log10()).numpy()
    page.heading("sound", f"power in decibels below the loudest, down to {QUIETEST:g}; frequency in Hz")
    axes = page.row(1.0, "input")
    try:
        from librosa.display import specshow
    except ImportError:
        axes.imshow(
            level, origin="lower", aspect="auto", cmap="magma", extent=(0, level.shape[1] * HOP / rate, 0, rate / 2)
        )
    else:
        specshow(
            level, sr=rate, n_fft=FRAME, hop_length=HOP, x_axis="time", y_axis="log", ax=axes, cmap="magma",
            rasterized=True,
        )  # fmt: skip
        axes.set(xlabel="", ylabel="", ylim=(rate / FRAME, rate / 2))
    page.clock(axes, seconds)
    page.skip(0.07)
