"""Where a run goes on: at its newest checkpoint that is sound, and only with the model that it was made with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from mmmae.recipes.recipe import RecipeSpec
from mmmae.storage.checkpoint import FILES, faulty, load_recipe, saved, sound
from modalities.errors import InputError

Spec = TypeVar("Spec", bound=RecipeSpec)
RECORD = "recipe"  # of a frozen teacher
SECTIONS = ("size", "modalities", "trunk", "objectives")
TRAINED = ("freeze", "lora")  # settings of `training` that decide what the optimizer holds


def resumed(output: Path, resume: str) -> tuple[Path | None, list[str]]:
    """The checkpoint that `--resume auto|none|DIR` means for a run in `output`, and what is wrong with newer ones.

    None starts afresh.

    Raises:
        InputError: DIR has no checkpoint or a damaged one; `auto` finds damaged ones only; or a fresh start would
            overwrite a run.
    """
    if resume not in ("auto", "none"):
        return sound(Path(resume), FILES), []
    found = saved(output)
    if resume == "none" and found:
        raise InputError(
            f"{output}: holds a run already (step-{max(found)})\n  choose another --output, or --resume auto"
        )
    faults = []
    for path in reversed(found.values()):
        fault = faulty(path, FILES)
        if fault is None:
            return path, faults
        faults.append(f"{path}: damaged: {fault}")
    if faults:
        raise InputError(
            f"{output}: no checkpoint can be read\n  " + "\n  ".join(faults) + "\n  begin anew in another --output"
        )
    return None, []


def require_same(folder: Path, recipe: RecipeSpec) -> None:
    """Refuse to resume from a checkpoint of another model.

    Raises:
        InputError: names the first setting that differs.
    """
    saved = load_recipe(folder)
    trained = [{f"training.{key}": getattr(one.sections.training, key) for key in TRAINED} for one in (saved, recipe)]
    sections = [(comparable(saved, name), comparable(recipe, name)) for name in SECTIONS]
    for before, now in [*sections, tuple(trained)]:
        for key in sorted(before.keys() | now.keys()):
            if not alike(before.get(key), now.get(key)):
                raise InputError(
                    f"{folder}: was made with {key}={before.get(key)}, this run has {key}={now.get(key)}\n"
                    f"  choose another --output, or the same setting"
                )


def with_record(folder: Path, recipe: Spec) -> Spec:
    """The recipe with what the checkpoint keeps beyond it, such as that of a frozen teacher, whose run may be gone."""
    found = {
        name: {"teacher": {RECORD: settings["teacher"][RECORD]}}
        for name, settings in load_recipe(folder).tree["objectives"].items()
        if RECORD in (settings.get("teacher") or {})
    }
    return recipe.changed({"objectives": found})


def alike(before: Any, now: Any) -> bool:
    """Whether a setting is the same; older runs kept the number of classes where newer ones keep their names."""
    counted = type(before) is int and isinstance(now, list) and len(now) == before
    return before == now or counted


def comparable(recipe: RecipeSpec, section: str) -> dict[str, Any]:
    """The leaves of a section by dotted key, without what a checkpoint takes along."""
    leaves: dict[str, Any] = {}

    def walk(value: Any, path: str) -> None:
        if isinstance(value, Mapping):
            for key, inner in value.items():
                if key not in recipe.kept and not (key == RECORD and path.endswith(".teacher")):
                    walk(inner, f"{path}.{key}")
        else:
            leaves[path] = json.loads(json.dumps(value))

    walk(recipe.tree.get(section), section)
    return leaves
