"""Recipe files: the ones that come with mmmae, and reading any as plain values; nothing in one is executed."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from mmmae.recipes.lookup import RecipeError, nearest

LONGEST = 2**18  # bytes of a recipe file
NESTED = (AttributeError, AssertionError, RecursionError)  # what OmegaConf lets out of scalars and deep nesting


def names() -> list[str]:
    """The recipes that come with mmmae."""
    files = (path.name for path in resources.files("configs").iterdir())
    return sorted(name.removesuffix(".yaml") for name in files if name.endswith(".yaml"))


def header(name: str) -> str:
    """The first line of a recipe's own description."""
    lines = (resources.files("configs") / f"{name}.yaml").read_text().splitlines()
    return lines[0].removeprefix("#").strip() if lines and lines[0].startswith("#") else ""


def read(name: str | Path | Mapping[str, Any], beside: Path | None = None) -> tuple[Path, dict[str, Any]]:
    """The tree of a recipe given by name, by file or as itself; a relative file is also looked up in `beside`.

    Raises:
        RecipeError: there is no such recipe, or its file is not a mapping of plain values.
    """
    if isinstance(name, Mapping):
        refuse_interpolation(name, "recipe")
        return Path("recipe"), copy.deepcopy(dict(name))
    path = Path(name)
    home = Path(str(resources.files("configs")))
    near = [path] if beside is None else [beside / path, beside / f"{name}.yaml"]
    candidates = [*near, home / f"{name}.yaml"]
    found = next((candidate for candidate in candidates if candidate.is_file()), None)
    if found is None:
        if path.suffix in (".yaml", ".yml", ".json"):
            raise RecipeError(f"{name}: there is no such recipe file")
        hint = nearest(str(name), names())
        raise RecipeError(f"there is no recipe {str(name)!r}; {hint}\n  `mmmae recipes` lists them")
    return found, parse(found)


def parse(path: Path) -> dict[str, Any]:
    """A file's contents as plain dictionaries, lists, strings and numbers."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        if path.stat().st_size > LONGEST:
            raise RecipeError(f"{path}: a recipe has at most {LONGEST} bytes, this file has {path.stat().st_size}")
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            tree = json.loads(text)
        else:
            refuse_aliases(text, str(path))
            tree = OmegaConf.to_container(OmegaConf.create(text), resolve=False)
        if not isinstance(tree, dict):
            raise RecipeError(f"{path}: a recipe is a mapping of sections, this is {type(tree).__name__}")
        refuse_interpolation(tree, str(path))
    except RecipeError:
        raise
    except (OSError, ValueError, TypeError, *NESTED, YAMLError, OmegaConfBaseException) as error:
        raise RecipeError(f"{path}: cannot be read as a recipe\n  {error}") from error
    return {str(key): value for key, value in tree.items()}


def refuse_aliases(text: str, where: str) -> None:
    """Refuse YAML that repeats parts of itself: a few lines of it unfold to more than any memory holds."""
    import yaml

    with contextlib.suppress(yaml.YAMLError):  # reading it will raise
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise RecipeError(f"{where}: aliases (*name) are not allowed, write the value itself")


def refuse_interpolation(tree: Any, where: str) -> None:
    """Refuse interpolation: a recipe is plain data."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            refuse_interpolation(value, f"{where}: {key}" if ":" not in where else f"{where}.{key}")
    elif isinstance(tree, list):
        for value in tree:
            refuse_interpolation(value, where)
    elif isinstance(tree, str) and "${" in tree:
        raise RecipeError(f"{where}: interpolation is not allowed, write the value itself (got {tree!r})")
