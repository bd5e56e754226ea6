"""Warm start: the weights and files that a run takes over from another one (`training.start`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import torch

from mmmae.build import build_trunk
from mmmae.model import MaskedAutoencoder
from mmmae.recipes.lookup import nearest
from mmmae.recipes.recipe import RecipeSpec
from mmmae.storage.checkpoint import find, load_recipe, sound, weights_of
from modalities.errors import InputError
from modalities.shapes import Tensor

Spec = TypeVar("Spec", bound=RecipeSpec)
LISTED = 12  # of the parameters that do not fit, how many are named


def begin(model: MaskedAutoencoder, recipe: RecipeSpec, start: str | Mapping[str, str]) -> list[str]:
    """Give a fresh model the tokenizers and the trunk of another run, or of one for each stream; a line on each.

    What the other run alone asked for stays behind: its objectives with their decoders, its masking, what it has for
    modalities that this model lacks.

    Raises:
        InputError: names a file that is damaged, or lists the parameters that do not fit; see `by_stream`.
    """
    if isinstance(start, Mapping):
        return by_stream(model, recipe, start)
    folder = sound(Path(start))
    theirs = load_recipe(folder)
    inherit(model, weights_of(folder, theirs), theirs, f"training.start: {folder}")
    return [f"starting with the trunk and tokenizers of {folder}"]


def by_stream(model: MaskedAutoencoder, recipe: RecipeSpec, start: Mapping[str, str]) -> list[str]:
    """Give each stream the tokenizer, and what of the trunk is its own, of its run.

    What streams of one run share (joint layers) comes from it unless others share it, too; then it is new, as are
    streams that are not named.

    Raises:
        InputError: a stream or a run is unknown, or what they have does not fit.
    """
    for name in start:
        if name not in recipe.streams and not recipe.narrowed:
            raise InputError(f"training.start.{name}: no such modality; {nearest(name, recipe.streams)}")
    ours, lines = lasting(model.state_dict()), list[str]()
    for run in dict.fromkeys(start[name] for name in recipe.streams if name in start):
        streams = [name for name in recipe.streams if start.get(name) == run]
        others = [name for name in recipe.streams if name not in streams]
        own = set(narrowed(ours, recipe, streams)) - set(narrowed(ours, recipe, others) if others else ())
        folder = sound(Path(run))
        theirs = load_recipe(folder)
        where = f"training.start.{streams[0]}: {folder}"
        if missing := [name for name in streams if name not in theirs.streams]:
            raise InputError(f"{where}: has no stream {missing[0]!r}\n  it has {', '.join(theirs.streams)}")
        if not any(name.startswith("trunk.") for name in own):
            raise InputError(
                f"{where}: streams share the whole trunk, which only one run can give\n  name one run, or use a trunk "
                "with weights for each stream (separate, branches, bottleneck)"
            )
        given = lasting(weights_of(folder, theirs))
        given = {name: given[name] for name in narrowed(given, theirs, streams) if name in own}
        fitted({name: ours[name] for name in own}, given, where)
        model.load_state_dict(given, strict=False)
        lines.append(f"starting {', '.join(streams)} with {len(given)} tensors of {folder}")
    return lines


def inherit(model: MaskedAutoencoder, weights: Mapping[str, Tensor], recipe: RecipeSpec, where: str) -> None:
    """Give a fresh model those of the weights of another one, made by `recipe`, that outlive what it was trained for.

    Raises:
        InputError: lists the parameters that do not fit; `where` the weights come from.
    """
    ours, theirs = lasting(model.state_dict()), lasting(weights)
    theirs = {name: theirs[name] for name in narrowed(theirs, recipe, list(model.tokenizers))}
    fitted(ours, theirs, where)
    model.load_state_dict(theirs, strict=False)


def fitted(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], where: str) -> None:
    """Refuse weights that are not those of a model.

    Raises:
        InputError: lists the parameters that do not fit.
    """
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
    runs = start if isinstance(start, Mapping) else dict.fromkeys(streams, start)
    trees = {run: load_recipe(find(Path(run))).tree["modalities"] for run in set(runs.values())}
    theirs = {name: trees[runs[name]].get(name) or {} for name in left_open if name in runs}
    found = {name: {key: theirs[name].get(key) for key in left_open[name]} for name in theirs}
    return recipe.changed({"modalities": found})
