"""Checkpoints: safetensors for tensors, JSON for the rest, nothing that executes.

A checkpoint is a folder `checkpoints/step-N` that appears whole (mmmae/storage/atomic.py). It holds
`model.safetensors`, `recipe.json`, the files that the recipe names, for resuming `optimizer.safetensors` and
`state.json`, and the checksums of all of them in `checksums.json`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from mmmae.build import Model, build
from mmmae.parallel.main_process import agreed
from mmmae.recipes.recipe import RecipeSpec
from mmmae.storage.adapters import merged
from mmmae.storage.atomic import ASIDE, CHECKSUMS, Content, damage, listed, present, publish, remove, sweep
from mmmae.storage.tensors import load as read_weights
from mmmae.storage.tensors import packed
from modalities.errors import InputError
from modalities.shapes import Tensor

MODEL, OPTIMIZER, RECIPE, STATE = "model.safetensors", "optimizer.safetensors", "recipe.json", "state.json"
FILES = (MODEL, OPTIMIZER, RECIPE, STATE)  # what a run goes on from
# Whole tensors, also of a model that FSDP has spread out: gathered to the main process, or present in every one.
GATHERED = StateDictOptions(full_state_dict=True, cpu_offload=True)
WHOLE = StateDictOptions(full_state_dict=True)


@dataclass(frozen=True)
class State:
    """Everything that resuming needs besides weights: the sampler and all randomness are functions of these."""

    step: int
    extra: dict[str, Any]


def save_model(weights: Mapping[str, Tensor], recipe: RecipeSpec, folder: Path) -> None:
    """Weights, recipe and the files that it names, in a folder that appears whole or replaces the one before.

    Raises:
        InputError: the folder holds other files; or the disk is full or refuses.
    """
    files = contents(weights, recipe)
    held = present(folder)
    if held.exists() and not held.is_dir():
        raise InputError(f"{folder}: is a file\n  name a folder to save in")
    known = {*files, CHECKSUMS}
    with suppress(OSError, ValueError, LookupError, TypeError, AttributeError):  # no checksums, or damaged ones
        known |= listed(held).keys() - {OPTIMIZER, STATE}  # a checkpoint to resume from is not a place for a model
    if foreign := sorted(path.name for path in held.glob("*") if path.name not in known):
        raise InputError(f"{folder}: holds other files ({', '.join(foreign[:5])})\n  name a new or an empty folder")
    publish(folder, files)


def load_model(folder: Path, cls: type[Model]) -> tuple[Model, RecipeSpec]:
    """The model in a folder, or in the newest checkpoint of a run's folder, and its recipe.

    Raises:
        InputError: there is none, a file is damaged, or weights and recipe do not fit each other.
    """
    folder = sound(folder)
    recipe = load_recipe(folder)
    model = build(recipe, cls=cls)
    weights = weights_of(folder, recipe)
    unexpected, missing = weights.keys() - model.state_dict().keys(), model.state_dict().keys() - weights.keys()
    if unexpected or missing:
        raise InputError(
            f"{folder / MODEL}: the weights are not those of the {RECIPE} in the same folder\n"
            f"  missing: {sorted(missing) or 'none'}; unexpected: {sorted(unexpected) or 'none'}"
        )
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:  # a size that differs
        reason = f"the weights are not those of the {RECIPE} in the same folder"
        raise InputError(f"{folder / MODEL}: {reason}\n  {error}") from error
    return model.eval(), recipe


def weights_of(folder: Path, recipe: RecipeSpec) -> dict[str, Tensor]:
    """The weights in a checkpoint, adapters merged into the layers that they adapt.

    Raises:
        InputError: they cannot be read.
    """
    return merged(read_weights(folder / MODEL), recipe.sections.training.lora)


def load_recipe(folder: Path) -> RecipeSpec:
    """The recipe of a checkpoint, its file names made absolute."""
    try:
        saved = json.loads((folder / RECIPE).read_text(encoding="utf-8"))
        tree, files, name, narrowed = (saved[key] for key in ("recipe", "files", "name", "narrowed"))
        settings = {stream: dict(entries or {}) for stream, entries in tree["modalities"].items()}
        for stream, entries in settings.items():
            for key in RecipeSpec.kept:
                beside = key in files.get(stream, ())
                if beside or Path(str(entries.get(key))).is_file():
                    entries[key] = inside(folder, entries[key], beside)
        for name, entries in tree["objectives"].items():
            teacher = entries.get("teacher") or {}
            if teacher.get("run") and not teacher.get("recipe"):
                raise InputError(
                    f"{folder / RECIPE}: objectives.{name}.teacher: names {teacher['run']} and does not hold its recipe"
                    "\n  a checkpoint stands alone"
                )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{folder / RECIPE}: is not the recipe of a checkpoint ({error!r})\n  copy it again"
        ) from error
    return RecipeSpec({**tree, "modalities": settings}, str(name), bool(narrowed))


def inside(folder: Path, name: str, beside: bool) -> str:
    """The path of a file that a checkpoint took along, which lies in its folder.

    Raises:
        InputError: the recipe leads elsewhere; it may come from anybody, and what it names is read.
    """
    path = (folder / name).resolve()
    if not beside or path.parent != folder.resolve():
        raise InputError(f"{folder / RECIPE}: names {name}, not in its folder\n  a checkpoint is self-contained")
    return str(folder / name)


def find(folder: Path) -> Path:
    """A checkpoint: the folder itself, or the newest one of the run that lies in it."""
    folder = present(folder)
    if (folder / MODEL).is_file() or (folder / CHECKSUMS).is_file():
        return folder
    if found := saved(folder):
        return found[max(found)]
    raise InputError(f"{folder}: there is no checkpoint here\n  expected {MODEL} or checkpoints/step-N/{MODEL}")


def saved(output: Path) -> dict[int, Path]:
    """The checkpoints of a run by their step, oldest first; what else lies among them is ignored."""
    home = output / "checkpoints"
    names = {path.name.removeprefix(".").removesuffix(ASIDE) for path in home.glob("*step-*")}
    steps = sorted(int(name.removeprefix("step-")) for name in names if re.fullmatch(r"step-(0|[1-9]\d*)", name))
    paths = {step: present(home / f"step-{step}") for step in steps}
    return {step: path for step, path in paths.items() if (path / MODEL).is_file() or (path / CHECKSUMS).is_file()}


def sound(folder: Path, needs: Sequence[str] = (MODEL, RECIPE)) -> Path:
    """A checkpoint (see `find`) whose every file is as it was written.

    Raises:
        InputError: there is none, or names the file that is damaged.
    """
    folder = find(folder)
    if fault := faulty(folder, needs):
        beside = saved(folder.parent.parent).values() if folder.parent.name == "checkpoints" else ()
        others = [str(path) for path in beside if path != folder and not faulty(path, needs)]
        raise InputError(
            f"{folder}: damaged: {fault}\n  {'use ' + ' or '.join(others) if others else 'use a copy of it'}"
        )
    return folder


def faulty(folder: Path, needs: Sequence[str]) -> str | None:
    """What is wrong with a checkpoint, None if nothing is.

    One without checksums, put together by somebody else, need only hold files that can be read.
    """
    if missing := [name for name in needs if not (folder / name).is_file()]:
        return f"{missing[0]} is missing"
    if (folder / CHECKSUMS).exists():
        return damage(folder)
    for name in needs:
        try:
            if Path(name).suffix == ".json":
                json.loads((folder / name).read_bytes())
            else:
                with safe_open(folder / name, "pt"):  # refuses a file shorter or longer than its header states
                    pass
        except (OSError, ValueError, SafetensorError) as error:
            return f"{name} cannot be read ({error})"
    return None


def contents(weights: Mapping[str, Tensor], recipe: RecipeSpec) -> dict[str, Content]:
    """The files of a model, including those that its recipe names, so that a checkpoint is self-contained."""
    tree, files, taken = json.loads(json.dumps(recipe.tree)), {}, {}
    for name, settings in tree["modalities"].items():
        for key, value in (settings or {}).items():
            if key in recipe.kept and Path(str(value)).is_file():
                path = Path(value)
                settings[key] = path.name if path.name.startswith(f"{name}-") else f"{name}-{path.name}"
                taken[settings[key]] = Content.of(path.read_bytes())
                files.setdefault(name, []).append(key)
    saved = {"name": recipe.name, "narrowed": recipe.narrowed, "recipe": tree, "files": files}
    return {MODEL: packed(weights), RECIPE: Content.of(json.dumps(saved, indent=2).encode()), **taken}


def save(
    output: Path, model: nn.Module, optimizer: torch.optim.Optimizer, recipe: RecipeSpec, state: State, *, keep: int
) -> Path:
    """Write checkpoint `step-N` of a run; every process takes part in gathering, the main one writes.

    keep: how many of the newest checkpoints stay; older ones go only after the new one is there, and so do those of
        later steps, which a run leaves behind that went back.

    Raises:
        InputError: in every process: the disk is full or refuses; what was saved before is still there.
    """
    weights: dict[str, Any] = get_model_state_dict(model, options=GATHERED)
    moments: dict[str, Any] = dict(get_optimizer_state_dict(model, optimizer, options=GATHERED))
    target = output / "checkpoints" / f"step-{state.step}"

    def write() -> None:
        flat = {f"{kind}/{name}": value for name, kinds in moments["state"].items() for kind, value in kinds.items()}
        files = contents(weights, recipe)
        files[OPTIMIZER] = packed({name: torch.as_tensor(value) for name, value in flat.items()})
        files[STATE] = Content.of(json.dumps({"step": state.step, **state.extra}, indent=2).encode())
        sweep(target.parent)
        publish(target, files)
        steps = list(saved(output))
        stay = [step for step in steps if step <= state.step][-keep:]
        for step in reversed(steps):
            if step not in stay:
                remove(target.with_name(f"step-{step}"))

    agreed(write)
    return target


def load(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, scaler: Any = None) -> State:
    """Put a checkpoint's weights, moments and loss scale into a prepared model and optimizer."""
    weights: dict[str, Any] = read_weights(folder / MODEL)
    set_model_state_dict(model, weights, options=WHOLE)
    moments: dict[str, Any] = {}
    for name, value in read_weights(folder / OPTIMIZER).items():
        kind, _, parameter = name.partition("/")
        moments.setdefault(parameter, {})[kind] = value
    fresh: dict[str, Any] = dict(get_optimizer_state_dict(model, optimizer, options=WHOLE))
    set_optimizer_state_dict(model, optimizer, {"state": moments, "param_groups": fresh["param_groups"]}, options=WHOLE)
    state = json.loads((folder / STATE).read_text(encoding="utf-8"))
    if scaler is not None and state.get("scaler"):
        scaler.load_state_dict(state["scaler"])
    return State(state.pop("step"), state)
