"""From a checkpoint in a layout of others to a model: a recipe from shapes, then every tensor by its equation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic

from torch import nn

from mmmae.build import Model, build
from mmmae.convert.anatomy import DECODER, STREAM, inferred, lone
from mmmae.convert.files import CONFIG, Found, find
from mmmae.convert.layouts import LAYOUTS, Layout, recognise
from mmmae.model import MaskedAutoencoder
from mmmae.recipes.recipe import RecipeSpec
from mmmae.storage import checkpoint
from mmmae.storage.atomic import present
from modalities.errors import InputError
from modalities.shapes import Tensor


@dataclass(frozen=True)
class Imported(Generic[Model]):
    """A model and its recipe, the layout that its weights came in, and what its user should know."""

    model: Model
    recipe: RecipeSpec
    layout: str
    notes: tuple[str, ...] = ()


def read(path: Path, overrides: Sequence[str] = (), cls: type[Model] = MaskedAutoencoder) -> Imported[Model]:
    """The model at a path: a run of ours, or VideoMAE's weights in a layout of others.

    overrides: change the recipe that a checkpoint of others is given. cls: the class of the model.

    Raises:
        InputError: neither is there, or a tensor is missing, unexpected or of the wrong shape.
    """
    path = present(path)
    if (path / checkpoint.RECIPE).is_file() or (path / "checkpoints").is_dir():
        if overrides:
            raise InputError(f"{path}: this run has its recipe, {' '.join(overrides)} cannot change it any more")
        return Imported(*checkpoint.load_model(path, cls), "mmmae")
    found = find(path)
    layout = recognise(found.tensors)
    if layout is None:
        raise InputError(unknown(found))
    return convert(found, layout, overrides, cls)


def convert(found: Found, layout: Layout, overrides: Sequence[str], cls: type[Model]) -> Imported[Model]:
    """The model that tensors in a layout make up, every one of them accounted for."""
    called: dict[str, str] = {}
    for name in found.tensors:
        if layout.bare(name) in called:
            raise InputError(f"{found.path}: {name} and {called[layout.bare(name)]} are the same tensor")
        called[layout.bare(name)] = name
    body = {name: found.tensors[full] for name, full in called.items()}
    recipe = inferred(found, layout, body, overrides)
    model, alone = build(recipe, cls=cls), lone(body)
    equations = [
        equation for ours in model.state_dict()
        if not (alone and ours.startswith(DECODER)) and (equation := layout.equation(ours, STREAM)) is not None
    ]  # fmt: skip
    wanted = {name for equation in equations for name in equation.theirs}
    left = sorted(name for name in body.keys() - wanted if layout.finetuned.fullmatch(name))
    missing = sorted(layout.written(name, alone) for name in wanted - body.keys())
    unexpected = sorted(called[name] for name in body.keys() - wanted - set(left))
    if missing or unexpected:
        raise InputError(
            f"{found.path}: these are not the tensors of a VideoMAE in the layout {layout.name!r}\n"
            f"  missing: {', '.join(missing) or 'none'}; unexpected: {', '.join(unexpected) or 'none'}"
        )
    put(found.path, model, {equation.ours: equation.forth(body) for equation in equations})
    return Imported(model.eval(), recipe, layout.name, tuple(notes(model, alone, [called[name] for name in left])))


def put(path: Path, model: MaskedAutoencoder, weights: Mapping[str, Tensor]) -> None:
    """Give the model its weights.

    Raises:
        InputError: shapes that differ, such as those of a wider MLP.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    wrong = [name for name, tensor in weights.items() if tuple(tensor.shape) != shapes[name]]
    if wrong:
        lines = [f"{name} is {tuple(weights[name].shape)}, expected {shapes[name]}" for name in wrong[:5]]
        raise InputError(f"{path}: {len(wrong)} tensors have other shapes than this recipe's\n  " + "; ".join(lines))
    model.load_state_dict(dict(weights), strict=len(weights) == len(shapes))


def notes(model: MaskedAutoencoder, alone: bool, left: Sequence[str]) -> Iterable[str]:
    """What a user should know about a model that has just been given its weights."""
    weights = model.state_dict()
    if left:
        yield f"left out, since only a classifier has them: {', '.join(left)}"
    if isinstance(model.get_submodule(f"trunk.stacks.{STREAM}").norm, nn.Identity):
        yield "its encoder has no final norm (trunk.norm=false), as after fine-tuning with mean pooling"
    if alone:
        width = len(weights[f"{DECODER}.ends.mask"])
        yield f"it has no decoder: a fresh one was drawn, {width} wide; the encoder's weights are those of the file"
    if not any(x.any() for name, x in weights.items() if name.startswith("trunk.") and name.endswith("_bias")):
        yield "all query and value biases are 0: untrained, or saved by a release of transformers that dropped them"


def unknown(found: Found) -> str:
    """The message for tensors in an unknown layout."""
    if any(name.startswith("tokenizers.") for name in found.tensors):
        return f"{found.path}: these weights of mmmae need the {checkpoint.RECIPE} of their folder\n  name its folder"
    some = sorted(found.tensors)[:4]
    kind = f", whose {CONFIG} has model_type={found.config.get('model_type')!r}" if found.config else ""
    marks = " or ".join(f"{layout.mark!r} ({layout.name})" for layout in LAYOUTS.values())
    return (
        f"{found.path}: holds {len(found.tensors)} tensors in no layout known ({', '.join(some)}, ...){kind}\n"
        f"  expected one of them to end in {marks}"
    )
