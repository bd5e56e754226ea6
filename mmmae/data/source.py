"""Sources of data: a manifest, a folder, rows in memory, the name of a corpus, or several; by default the world."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmmae.corpora import names, prepare
from mmmae.data.in_memory import kind
from mmmae.data.joined import joined
from mmmae.data.manifest import Manifest
from modalities.manifest.columns import Cell

if TYPE_CHECKING:
    from mmmae.recipes.recipe import RecipeSpec


def open_data(
    data: Any,
    modalities: Sequence[str] | None = None,
    *,
    columns: Mapping[str, str] | Sequence[str] = (),
    further: Mapping[str, Cell] | None = None,
    bad: float = 0.0,
    outside: bool = False,
    cache: str | os.PathLike | None = None,
) -> Manifest:
    """The manifest that `--data` means, or one of rows in memory; a corpus named there is written to data/NAME first.

    data: as for `Manifest.open`, or a list of several corpora, which are read with all that they have; None is the
        synthetic world.
    modalities, columns, further, bad, outside, cache: see `Manifest.open`.

    Raises:
        InputError: there is no such thing, or it lacks a modality.
    """
    if isinstance(data, (list, tuple)) and data and all(map(is_corpus, data)):
        asked = modalities if len(data) == 1 else None
        opened = (open_data(one, asked, columns=columns, bad=bad, outside=outside, cache=cache) for one in data)
        return joined(list(opened))
    if data is None or (isinstance(data, str) and data in names() and not Path(data).exists()):
        name = data or "world"
        data = str(prepare(name, Path("data") / name))
    return Manifest.open(
        data, modalities=modalities, columns=columns, further=further, bad=bad, outside=outside, cache=cache
    )


def open_for(
    recipe: RecipeSpec, data: Any, modalities: Sequence[str] | None = None, *, bad: float = 0.0, outside: bool = False
) -> Manifest:
    """`open_data` for a run that reads it by a recipe, whose streams and objectives may have columns of their own."""
    further = further_cells(recipe)
    return open_data(data, modalities, columns=recipe.columns, further=further, bad=bad, outside=outside)


def further_cells(recipe: RecipeSpec) -> dict[str, Cell]:
    """The columns that only the recipe's objectives know, and their cells."""
    targets = (target for part in recipe.objectives.values() for target in part.cls.targets(part.settings).values())
    return {target.column: target.cell for target in targets if target.cell is not None}


def is_corpus(data: Any) -> bool:
    """Whether an item of a list is a corpus by itself and not a row."""
    return data is None or isinstance(data, (str, os.PathLike)) or kind(data) in ("datasets", "arrow", "frame", "rows")
