"""`mmmae recipes`: every recipe with its streams, trunk, objectives and description."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It needs none."""


def run(arguments: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.table import Table

    from mmmae.recipe import Recipe, header, names

    table = Table("recipe", "modalities", "hidden by", "trunk", "objectives", "what it is")
    for name in names():
        tree = Recipe.load(name).tree
        masking = tree["masking"]
        hidden = masking["use"] if "use" in masking else ", ".join(dict.fromkeys(m["use"] for m in masking.values()))
        table.add_row(
            name, ", ".join(tree["modalities"]), hidden, f"{tree['trunk']['use']} ({tree.get('size', 'base')})",
            ", ".join(tree["objectives"]), header(name),
        )  # fmt: skip
    Console().print(table)
    return 0
