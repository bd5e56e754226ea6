"""`mmmae inspect`: pictures of what readers, tokenizers and a model make of some files."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmmae.data.manifest import Manifest
    from mmmae.panels.page import Page, View
    from mmmae.recipe import Recipe
    from modalities.records import Batch
    from modalities.tokenizer import Tokenizer

SOUNDS = (".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".m4a", ".aac", ".wma", ".aiff", ".aif")
TABLES = (".csv", ".parquet", ".npy")
FRAME, HOP = 1024, 256  # samples of the picture of a sound


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files", nargs="+", metavar="FILE",
        help="videos, images, sounds, IMU tables, captions; files of one name but for the ending are one recording",
    )  # fmt: skip
    parser.add_argument("--recipe", default="default", metavar="NAME|FILE", help="whose readers and tokenizers to use")
    parser.add_argument("--checkpoint", type=Path, metavar="DIR", help="also reconstruct with this model, by its recipe")
    parser.add_argument("--output", type=Path, default=Path("inspected"), metavar="DIR", help="where pictures go")
    parser.add_argument("--start", type=float, default=0.0, metavar="S", help="seconds at which the window begins")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings of the recipe")


def run(arguments: argparse.Namespace) -> int:
    """Write one picture per recording, and with a checkpoint one more; print what was read and where they are.

    Raises:
        InputError: a file that cannot be read, or that no modality of the recipe takes.
    """
    import tempfile

    from rich.console import Console

    from mmmae.data.dataset import Clips, collate
    from mmmae.data.fit import fit
    from mmmae.data.manifest import Manifest
    from mmmae.recipe import Recipe
    from modalities.errors import InputError

    overrides = [*arguments.overrides, *(file for file in arguments.files if setting(file))]
    files = [Path(file) for file in arguments.files if not setting(file)]
    model = None
    if arguments.checkpoint is None:
        recipe = Recipe.load(arguments.recipe, overrides)
    else:
        from mmmae.model import MaskedAutoencoder

        if overrides:
            raise InputError(f"{overrides[0]}: a checkpoint has its own recipe\n  leave out key=value, or --checkpoint")
        model = MaskedAutoencoder.from_pretrained(arguments.checkpoint)
        recipe = model.recipe
    window = recipe.sections.window
    with tempfile.TemporaryDirectory() as folder:
        manifest = Manifest.open(listed(files, recipe, arguments.start, window, Path(folder)))
        recipe = recipe.narrow([name for name in recipe.streams if manifest.has(name)])
        if model is None:
            recipe = fit(recipe, manifest, Path(folder))
        readers = recipe.readers()
        samples = [clip for clip in map(Clips(manifest, readers, window=window).__getitem__, places(manifest))]
    batch = collate(samples)
    if isinstance(batch, InputError):
        raise batch
    tokenizers = tokenizers_of(recipe) if model is None else {name: model.tokenizers[name] for name in batch}
    console = Console()
    console.print(report(manifest, readers, tokenizers, batch))
    for path in pictures(arguments.output, recipe, tokenizers, readers, batch, model):
        console.print(str(path), markup=False, highlight=False, soft_wrap=True)
    return 0
