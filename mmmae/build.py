"""From a recipe to modules: its tokenizers, masking, trunk and objectives, put together into a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from fusion.masking import JointMasking
from fusion.masking.independent import Independent
from fusion.trunks import Trunk
from mmmae.data.augment import Augment, require_mixable
from mmmae.data.clips import Clips
from mmmae.data.targets import Target
from mmmae.data.window_targets import Placed, WindowTarget, placed
from mmmae.model import MaskedAutoencoder
from mmmae.objectives import Objective
from mmmae.recipes.lookup import RecipeError, make, nearest
from mmmae.recipes.recipe import Part, RecipeSpec
from modalities.reader import Reader
from modalities.tokenizer import Tokenizer

if TYPE_CHECKING:
    from mmmae.data.manifest import Manifest

Model = TypeVar("Model", bound=MaskedAutoencoder)


def build(recipe: RecipeSpec, seed: int = 0, cls: type[Model] = MaskedAutoencoder) -> Model:
    """The model, its weights drawn from `seed` whatever else has been drawn before.

    Raises:
        RecipeError: what a constructor refuses, or no objective applies to the streams.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        trunk = build_trunk(recipe)
        tokenizers = build_tokenizers(recipe, trunk.width)
        objectives = build_objectives(recipe, tokenizers, trunk.width)
        if recipe.sections.data.mixup:
            require_mixable(tokenizers, objectives, asked_targets(recipe), f"{recipe.name}: data.mixup")
        masking = build_masking(recipe, tokenizers)
        return make(cls, (tokenizers, masking, trunk, objectives), {}, f"{recipe.name}: objectives")


def build_trunk(recipe: RecipeSpec) -> Trunk:
    """The encoder, which joins the streams."""
    return recipe.trunk.make(recipe.streams)


def build_tokenizers(recipe: RecipeSpec, width: int | None = None) -> dict[str, Tokenizer]:
    """A tokenizer for each stream; streams that share one get the same module.

    width: of their tokens; None means the one that the recipe sets.
    """
    width = width or recipe.trunk.settings.get("width") or recipe.sections.sizes("trunk")[0]
    tokenizers: dict[str, Tokenizer] = {}
    for name, parts in recipe.parts.items():
        share = parts.stream.share
        tokenizers[name] = tokenizers[share] if share else parts.tokenizer.make(width)
    return tokenizers


def build_objectives(recipe: RecipeSpec, tokenizers: Mapping[str, Tokenizer], width: int) -> dict[str, Objective]:
    """The objectives; of a narrowed recipe those that apply to the streams that are left."""
    objectives: dict[str, Objective] = {}
    for name, part in recipe.objectives.items():
        kind: Any = part.cls
        if kind.applicable(tokenizers):
            objectives[name] = part.make(tokenizers, width)
        elif not recipe.narrowed:
            streams = ", ".join(recipe.streams)
            raise RecipeError(f"{recipe.name}: objectives.{name}: does not apply to {streams}")
    if not objectives:
        raise RecipeError(f"{recipe.name}: objectives: none of them applies to {', '.join(recipe.streams)}")
    return objectives


def build_masking(recipe: RecipeSpec, tokenizers: Mapping[str, Tokenizer]) -> JointMasking:
    """The joint masking, or one for each stream; one that learns what to mask is given the tokenizers it masks for."""
    if isinstance(recipe.masking, Part):
        return recipe.masking.make(*((tokenizers,) if recipe.masking.in_context else ()))
    maskings = {}
    for name in recipe.streams:
        part = recipe.masking[name]
        maskings[name] = part.make(*((tokenizers[name],) if part.in_context else ()))
    return Independent(maskings=maskings)


def build_readers(recipe: RecipeSpec) -> dict[str, Reader]:
    """A reader for every stream; streams that are read alike have the same reader, so that one decode serves both."""
    readers: dict[str, Reader] = {}
    for name, parts in recipe.parts.items():
        part = parts.reader
        alike = (other for other in readers if same(recipe.parts[other].reader, part))
        twin = next(alike, None)
        readers[name] = readers[twin] if twin else part.make()
    return readers


def same(one: Part, other: Part) -> bool:
    """Whether two parts make equal instances."""
    return one.cls is other.cls and one.settings == other.settings


def build_clips(recipe: RecipeSpec, manifest: Manifest, **settings: Any) -> Clips:
    """The dataset of a manifest's recordings as the recipe reads them; `settings` are those of Clips."""
    streams = {name: parts.stream for name, parts in recipe.parts.items()}
    rows, readers = manifest.aimed(build_target(recipe)), build_readers(recipe)
    settings = {"targets": build_window_targets(recipe), **settings}
    return Clips(rows, readers, window=recipe.sections.window, streams=streams, **settings)


def build_augment(recipe: RecipeSpec) -> Augment:
    """What changes a batch on the device before the model gets it."""
    augmentations = {name: entry.part.make() for name, entry in recipe.augmentations.items()}
    return Augment(augmentations, {name: entry.change for name, entry in recipe.augmentations.items()})


def build_target(recipe: RecipeSpec) -> Target | None:
    """What the recipe's objectives learn of a label; None if they learn nothing of it, or leave it to the manifest.

    Raises:
        RecipeError: two of them learn from it.
    """
    found: dict[str, Target] = {}
    for name, part in recipe.objectives.items():
        kind: Any = part.cls
        if (target := make(kind.target_of, (part.settings,), {}, part.where)) is not None:
            found[name] = target
    if len(found) > 1:
        raise RecipeError(f"{recipe.name}: objectives: {' and '.join(found)} ask for one column `label`; keep one")
    return next(iter(found.values()), None)


def asked_targets(recipe: RecipeSpec) -> dict[str, tuple[WindowTarget, str]]:
    """What the objectives learn of each window beside its label, by the key in `Batch.targets`; and whose it is.

    Raises:
        RecipeError: two of them learn different things by one key.
    """
    found: dict[str, tuple[WindowTarget, str]] = {}
    for part in recipe.objectives.values():
        kind: Any = part.cls
        for key, target in make(kind.targets, (part.settings,), {}, part.where).items():
            if key in found and found[key][0] != target:
                other = found[key][1].rpartition(".")[2]
                raise RecipeError(f"{part.where}: {other} learns another {key!r}; give both the same settings")
            found[key] = (target, part.where)
    return found


def build_window_targets(recipe: RecipeSpec, tokenizers: Mapping[str, Tokenizer] | None = None) -> dict[str, Placed]:
    """Those targets at the times of the tokens of the streams that they follow.

    tokenizers: of the recipe's model, where it is built already.

    Raises:
        RecipeError: there is no such stream, or it has no times.
    """
    asked = asked_targets(recipe)
    if asked and tokenizers is None:
        with torch.random.fork_rng(devices=[]):
            tokenizers = build_tokenizers(recipe)
    found = {}
    for key, (target, where) in asked.items():
        stream = target.stream or recipe.streams[0]
        if stream not in recipe.parts:
            if recipe.narrowed:
                continue
            raise RecipeError(f"{where}.stream: {nearest(stream, recipe.streams)}")
        assert tokenizers is not None
        span = recipe.stream(stream).span or recipe.sections.window
        context = (target, stream, tokenizers[stream], recipe.parts[stream].reader.make(), span)
        found[key] = make(placed, context, {}, where)
    return found
