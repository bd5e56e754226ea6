"""Warm start: the weights and files that a run takes over from another one (`training.start`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import torch

from mmmae.build import build_trunk
from mmmae.model import MaskedAutoencoder
from mmmae.recipes.recipe import RecipeSpec
from mmmae.storage.checkpoint import MODEL, find, load_recipe, sound
from mmmae.storage.tensors import load as read_weights
from modalities.errors import InputError
from modalities.shapes import Tensor

Spec = TypeVar("Spec", bound=RecipeSpec)
LISTED = 12  # of the parameters that do not fit, how many are named


def begin(model: MaskedAutoencoder, folder: Path) -> Path:
    """Give a fresh model the tokenizers and the trunk of another run; the checkpoint that they were taken from.

    What the other run alone asked for stays behind: its objectives with their decoders, its masking, what it has for
    modalities that this model lacks.

    Raises:
        InputError: names a file that is damaged, or lists the parameters that do not fit.
    """
    folder = sound(folder)
    inherit(model, read_weights(folder / MODEL), load_recipe(folder), f"training.start: {folder}")
    return folder


def inherit(model: MaskedAutoencoder, weights: Mapping[str, Tensor], recipe: RecipeSpec, where: str) -> None:
    """Give a fresh model those of the weights of another one, made by `recipe`, that outlive what it was trained for.

    Raises:
        InputError: lists the parameters that do not fit; `where` the weights come from.
    """
    ours, theirs = lasting(model.state_dict()), lasting(weights)
    theirs = {name: theirs[name] for name in narrowed(theirs, recipe, list(model.tokenizers))}
    misfits = [f"missing there: {name}" for name in ours if name not in theirs]
    misfits += [f"unknown here: {name}" for name in theirs if name not in ours]
    misfits += [
        f"{name}: {tuple(theirs[name].shape)} there, {tuple(tensor.shape)} here"
        for name, tensor in ours.items() if name in theirs and theirs[name].shape != tensor.shape
    ]  # fmt: skip
    if misfits:
        more = [f"and {len(misfits) - LISTED} more"] if len(misfits) > LISTED else []
        raise InputError(
            f"{where} does not fit this model; give both the same size, trunk and modalities\n  "
            + "\n  ".join([*misfits[:LISTED], *more])
        )
    model.load_state_dict(theirs, strict=False)


def lasting(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of a model's weights those that outlive what it was trained for."""
    return {name: tensor for name, tensor in weights.items() if name.startswith(("tokenizers.", "trunk."))}


def narrowed(weights: Mapping[str, Tensor], recipe: RecipeSpec, streams: Sequence[str]) -> list[str]:
    """Names of the weights that the recipe's own model would have for these streams only."""
    common = [name for name in recipe.streams if name in streams]
    if common == recipe.streams or not common:
        return list(weights)
    with torch.device("meta"):  # no numbers, only names
        trunk = {f"trunk.{name}" for name in build_trunk(recipe.narrow(common)).state_dict()}
    return [name for name in weights if name in trunk or name.split(".")[:2] in [["tokenizers", c] for c in common]]


def same_files(recipe: Spec) -> Spec:
    """The recipe with the files (a vocabulary) of the run it starts from where it names none: ids mean what they meant.

    Raises:
        InputError: there is no such run.
    """
    start, streams = recipe.sections.training.start, recipe.tree["modalities"]
    left_open = {
        name: [key for key, value in (settings or {}).items() if key in recipe.kept and value is None]
        for name, settings in streams.items()
    }
    if start is None or not any(left_open.values()):
        return recipe
    theirs = load_recipe(find(Path(start))).tree["modalities"]
    found = {name: {key: (theirs.get(name) or {}).get(key) for key in keys} for name, keys in left_open.items()}
    return recipe.changed({"modalities": found})
