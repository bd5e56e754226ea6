"""Inference of a recipe's open settings from the training rows, before anything is built."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from mmmae.data.manifest import Manifest
from mmmae.recipes.recipe import RecipeSpec

Spec = TypeVar("Spec", bound=RecipeSpec)


def fit(recipe: Spec, manifest: Manifest, folder: Path) -> Spec:
    """The recipe with every setting that it left at null and a reader or an objective can learn from the training rows.

    folder: where a reader may keep what it learned (a vocabulary).

    Raises:
        InputError: the data does not tell what the recipe leaves open.
    """
    found = {}
    for name in recipe.streams:
        stream = recipe.stream(name)
        if stream.share is not None:  # it has what the other one learns
            continue
        part = recipe.parts[name].reader
        settings = {**(recipe.tree["modalities"][name] or {}), **part.settings}
        home = folder if name == stream.use else folder / name
        found[name] = part.cls.survey(settings, manifest.sources(stream.source), home)
    asked = {}
    for name, settings in recipe.tree["objectives"].items():
        asked[name] = recipe.objectives[name].cls.survey(settings, manifest)
    return recipe.changed({"modalities": found, "objectives": asked})
