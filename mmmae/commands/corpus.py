"""`mmmae corpus NAME`: write a corpus from an installed package."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="name of the corpus; without it all are listed")
    parser.add_argument("--out", type=Path, metavar="DIR", help="output folder (default: data/NAME)")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings of the corpus, e.g. clips=100")


def run(arguments: argparse.Namespace) -> int:
    from mmmae.corpora import describe, names, prepare
    from mmmae.recipes.merge import overridden

    if arguments.name is None:
        for name in names():
            print(f"{name:13} {describe(name)}")
        return 0
    print(prepare(arguments.name, arguments.out or Path("data") / arguments.name, **overridden(arguments.settings)))
    return 0
