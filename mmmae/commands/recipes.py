"""`mmmae recipes`: every recipe with its streams and description and, in a wide terminal, what it is made of."""

from __future__ import annotations

import argparse

WIDE = 150  # columns of a terminal from which on there is room for all that a recipe is made of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It needs none."""


def run(arguments: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.table import Table

    from mmmae.recipes.files import header, names
    from mmmae.recipes.recipe import RecipeSpec

    console = Console()
    inner = ("hidden by", "trunk", "objectives") if console.width >= WIDE else ()
    table = Table("recipe", "modalities", *inner, "what it is")
    table.columns[0].no_wrap = True
    for name in names():
        tree = RecipeSpec.load(name).tree
        masking = tree["masking"]
        hidden = masking["use"] if "use" in masking else ", ".join(dict.fromkeys(m["use"] for m in masking.values()))
        trunk = f"{tree['trunk']['use']} ({tree.get('size', 'base')})"
        cells = (hidden, trunk, ", ".join(tree["objectives"])) if inner else ()
        table.add_row(name, ", ".join(tree["modalities"]), *cells, header(name))
    console.print(table)
    return 0
