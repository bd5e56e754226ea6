"""Merging recipes: overrides over a recipe, a recipe over its base, and a recipe without some of its streams."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from mmmae.recipes.files import NESTED, refuse_aliases, refuse_interpolation
from mmmae.recipes.lookup import RecipeError, nearest
from mmmae.recipes.sections import SIZED
from mmmae.recipes.streams import kept


def overridden(overrides: Sequence[str] | Mapping[str, Any]) -> dict[str, Any]:
    """The tree that `a.b=value` arguments describe, with values in YAML, or a mapping whose keys may be dotted."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    if isinstance(overrides, Mapping):
        refuse_interpolation(overrides, "overrides")
        return undotted(overrides)
    for item in overrides:
        if "=" not in item or item.startswith("="):
            raise RecipeError(f"{item!r} is not an override; write key=value, e.g. masking.video.ratio=0.75")
    try:
        for item in overrides:
            refuse_aliases(item.partition("=")[2], item)
        tree = OmegaConf.to_container(OmegaConf.from_dotlist(list(overrides)), resolve=False)
        refuse_interpolation(tree, "overrides")
    except RecipeError:
        raise
    except (ValueError, TypeError, *NESTED, YAMLError, OmegaConfBaseException) as error:
        raise RecipeError(f"{' '.join(overrides)}: cannot be read as overrides\n  {error}") from error
    return {str(key): value for key, value in tree.items()} if isinstance(tree, dict) else {}


def undotted(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The tree with keys such as `a.b` expanded; later values are merged over earlier ones."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        first, _, rest = str(key).partition(".")
        inner = undotted({rest: value}) if rest else undotted(value) if isinstance(value, Mapping) else value
        old = found.get(first)
        found[first] = overlay(old, inner) if isinstance(old, Mapping) and isinstance(inner, Mapping) else inner
    return found


def overlay(base: Mapping[str, Any], top: Mapping[str, Any], strict: str = "", path: str = "") -> dict[str, Any]:
    """`base` with the leaves of `top`. A section that names another `use` replaces the old one whole; an explicit null
    removes an objective, a modality or its settings.

    strict: label of a recipe whose streams and objectives `top` may not misspell.
    """
    tree = copy.deepcopy(dict(base))
    for key, value in top.items():
        place = f"{path}.{key}".strip(".")
        old = tree.get(key)
        if strict and key not in tree and path in ("modalities", "masking") and "use" not in tree:
            raise RecipeError(f"{strict}: {place}: no such modality; {nearest(key, tree)}")
        if value is None and path in ("objectives", "augment", "masking", "modalities"):
            tree.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(old, Mapping):
            other = "use" in value and value["use"] != old.get("use")
            tree[key] = copy.deepcopy(dict(value)) if other else overlay(old, value, strict, place)
        else:
            tree[key] = copy.deepcopy(value)
    return tree


def changed(tree: Mapping[str, Any], changes: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The tree of a recipe under overrides; another `size` also replaces what belongs to the old one."""
    tree = copy.deepcopy(dict(tree))
    if "size" in changes:
        forget_sizes(tree)
    return overlay(tree, changes, strict=name)


def narrowed(tree: Mapping[str, Any], modalities: Sequence[str], name: str) -> dict[str, Any]:
    """The tree without the streams that are not named."""
    tree = copy.deepcopy(dict(tree))
    streams = tree.get("modalities") or {}
    for modality in modalities:
        if modality not in streams:
            raise RecipeError(f"{name}: modalities: there is no {modality!r} here; {nearest(modality, streams)}")
    tree["modalities"] = kept(streams, modalities)
    parts = [(tree, section) for section in ("masking", "augment") if "use" not in (tree.get(section) or {})]
    parts += [
        (objective, "weights")
        for objective in tree["objectives"].values()
        if isinstance((objective or {}).get("weights"), dict)
    ]
    for part, key in parts:  # settings of each stream
        part[key] = {k: v for k, v in (part.get(key) or {}).items() if k not in streams or k in modalities}
    return tree


def forget_sizes(tree: dict[str, Any]) -> None:
    """Drop the widths, depths and heads that a file gives, so that another size's take their place."""
    sections = [tree.get("trunk", {})]
    sections += [objective.get("decoder", {}) for objective in tree.get("objectives", {}).values() if objective]
    for section in filter(lambda section: isinstance(section, dict), sections):
        for key in SIZED:
            section.pop(key, None)
