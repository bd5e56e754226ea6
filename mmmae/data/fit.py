"""What only the data can decide: a recipe's open settings are filled in before anything is built."""

from __future__ import annotations

from pathlib import Path

from mmmae.data.manifest import Manifest
from mmmae.recipe import Recipe


def fit(recipe: Recipe, manifest: Manifest, folder: Path) -> Recipe:
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
        reader, checked, _, _ = recipe.split(name)
        settings = {**(recipe.tree["modalities"][name] or {}), **checked}
        home = folder if name == stream.use else folder / name
        found[name] = reader.survey(settings, manifest.sources(stream.source), home)
    asked = {}
    for name, settings in recipe.tree["objectives"].items():
        objective, _ = recipe.part("objective", {"use": name, **settings}, f"objectives.{name}")
        asked[name] = objective.survey(settings, manifest)
    return recipe.changed({"modalities": found, "objectives": asked})
