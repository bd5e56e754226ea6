"""What only the data can decide: a recipe's open settings are filled in before anything is built."""

from __future__ import annotations

from pathlib import Path

from mmmae.data.manifest import Manifest
from mmmae.recipe import Recipe


def fit(recipe: Recipe, manifest: Manifest, folder: Path) -> Recipe:
    """The recipe with every setting that it left at null and a reader can learn from the training rows.

    folder: where a reader may keep what it learned (a vocabulary).

    Raises:
        InputError: the data does not tell what the recipe leaves open.
    """
    found = {}
    for name in recipe.streams:
        settings = dict(recipe.tree["modalities"][name] or {})
        reader = recipe.split(name)[0]
        sources = (source for i in range(len(manifest)) if (source := manifest.source(i, name)) is not None)
        found[name] = reader.survey(settings, sources, folder)
    return recipe.changed({"modalities": found})
