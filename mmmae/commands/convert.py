"""`mmmae convert`: pretrained weights of other projects to a model of mmmae, and back."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, metavar="PATH", help="a run, a .pth file, or a folder of transformers")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder for the output")
    parser.add_argument("--to", default="mmmae", choices=["mmmae", "videomae", "transformers"], help="(default: mmmae)")
    parser.add_argument("--encoder", action="store_true", help="write the encoder only (not with --to mmmae)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings that the file does not state")


def run(arguments: argparse.Namespace) -> int:
    from mmmae.api import load
    from mmmae.convert.write import write
    from modalities.errors import InputError

    if arguments.encoder and arguments.to == "mmmae":
        raise InputError("--encoder: a model of mmmae needs its decoder\n  choose --to transformers or videomae")
    imported = load(arguments.source, arguments.overrides)
    count = sum(p.numel() for p in imported.model.parameters())
    print(f"{arguments.source}: {count / 1e6:.1f} M parameters in the layout of {imported.layout}")
    for note in imported.notes:
        print(f"  {note}")
    write(imported.model, arguments.to, arguments.out, encoder=arguments.encoder)
    print(f"{arguments.out}: written for {arguments.to}")
    return 0
