"""What a run leaves on disk: safetensors for numbers, JSON for the rest, nothing that executes.

A checkpoint is a folder `checkpoints/step-N` that appears whole (written beside, flushed, renamed) and holds
`model.safetensors`, `recipe.json`, the files that the recipe names, and for resuming `optimizer.safetensors` and
`state.json`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from mmmae.model import MaskedAutoencoder
from mmmae.recipe import Recipe
from mmmae.weights import load as read_weights
from modalities.errors import InputError
from modalities.shapes import Tensor

MODEL, OPTIMIZER, RECIPE, STATE = "model.safetensors", "optimizer.safetensors", "recipe.json", "state.json"
# Whole tensors, also of a model that FSDP has spread out: gathered to the main process, or present in every one.
GATHERED = StateDictOptions(full_state_dict=True, cpu_offload=True)
WHOLE = StateDictOptions(full_state_dict=True)


@dataclass(frozen=True)
class State:
    """Everything that resuming needs besides weights: the sampler and all randomness are functions of these."""

    step: int
    extra: dict[str, Any]


def save_model(model: MaskedAutoencoder, folder: Path) -> None:
    """Weights, recipe and the files that it names."""
    if model.recipe is None:
        raise ValueError("this model was built without a recipe; build it by Recipe.build() to save it")
    folder.mkdir(parents=True, exist_ok=True)
    write_model(folder, model.state_dict(), model.recipe)


def load_model(folder: Path) -> MaskedAutoencoder:
    """The model in a folder, or in the newest checkpoint of a run's folder.

    Raises:
        InputError: there is none, or weights and recipe do not fit each other.
    """
    folder = find(folder)
    model = load_recipe(folder).build()
    weights = read_weights(folder / MODEL)
    unexpected, missing = weights.keys() - model.state_dict().keys(), model.state_dict().keys() - weights.keys()
    if unexpected or missing:
        raise InputError(
            f"{folder / MODEL}: the weights are not those of {RECIPE} beside it\n"
            f"  missing: {sorted(missing) or 'none'}; unexpected: {sorted(unexpected) or 'none'}"
        )
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:  # a size that differs
        raise InputError(f"{folder / MODEL}: the weights are not those of {RECIPE} beside it\n  {error}") from error
    return model.eval()


def load_recipe(folder: Path) -> Recipe:
    """The recipe of a checkpoint, its file names made absolute."""
    try:
        saved = json.loads((folder / RECIPE).read_text(encoding="utf-8"))
        tree, files, name, narrowed = (saved[key] for key in ("recipe", "files", "name", "narrowed"))
        settings = {stream: dict(entries or {}) for stream, entries in tree["modalities"].items()}
        for stream, entries in settings.items():
            for key in Recipe.kept:
                beside = key in files.get(stream, ())
                if beside or Path(str(entries.get(key))).is_file():
                    entries[key] = inside(folder, entries[key], beside)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{folder / RECIPE}: is not the recipe of a checkpoint ({error!r})\n  copy it again"
        ) from error
    return Recipe({**tree, "modalities": settings}, str(name), bool(narrowed))


def inside(folder: Path, name: str, beside: bool) -> str:
    """The path of a file that a checkpoint took along, which lies in its folder.

    Raises:
        InputError: the recipe leads elsewhere; it may come from anybody, and what it names is read.
    """
    path = (folder / name).resolve()
    if not beside or path.parent != folder.resolve():
        raise InputError(f"{folder / RECIPE}: names {name}, which does not lie beside it\n  a checkpoint stands alone")
    return str(folder / name)


def find(folder: Path) -> Path:
    """A checkpoint: the folder itself, or the newest one of the run that lies in it."""
    if (folder / MODEL).is_file():
        return folder
    newest = latest(folder)
    if newest is None:
        raise InputError(f"{folder}: there is no checkpoint here\n  expected {MODEL} or checkpoints/step-N/{MODEL}")
    return newest


def latest(output: Path) -> Path | None:
    """The newest checkpoint of a run, None where there is none."""
    found = [path for path in (output / "checkpoints").glob("step-*") if (path / MODEL).is_file()]
    return max(found, key=lambda path: int(path.name.removeprefix("step-")), default=None)


def resumed(output: Path, resume: str) -> Path | None:
    """The checkpoint that `--resume auto|none|DIR` means for a run in `output`; None starts afresh.

    Raises:
        InputError: DIR has no checkpoint; or a fresh start would overwrite a run.
    """
    newest = latest(output)
    if resume == "auto":
        return newest
    if resume != "none":
        return find(Path(resume))
    if newest is not None:
        raise InputError(f"{output}: holds a run already ({newest.name})\n  choose another --output, or --resume auto")
    return None


def require_same(folder: Path, recipe: Recipe) -> None:
    """Refuse to resume from a checkpoint of another model.

    Raises:
        InputError: names the first setting that differs.
    """
    saved = load_recipe(folder)
    for section in ("size", "modalities", "trunk", "objectives"):
        before, now = comparable(saved, section), comparable(recipe, section)
        for key in sorted(before.keys() | now.keys()):
            if before.get(key) != now.get(key):
                raise InputError(
                    f"{folder}: was made with {key}={before.get(key)}, this run has {key}={now.get(key)}\n"
                    f"  choose another --output, or the same setting"
                )


def comparable(recipe: Recipe, section: str) -> dict[str, Any]:
    """The leaves of a section by dotted key, without the files that a checkpoint takes along."""
    leaves: dict[str, Any] = {}

    def walk(value: Any, path: str) -> None:
        if isinstance(value, Mapping):
            for key, inner in value.items():
                if key not in recipe.kept:
                    walk(inner, f"{path}.{key}")
        else:
            leaves[path] = json.loads(json.dumps(value))

    walk(recipe.tree.get(section), section)
    return leaves


def write_model(folder: Path, weights: Mapping[str, Tensor], recipe: Recipe) -> None:
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / MODEL)
    tree, files = json.loads(json.dumps(recipe.tree)), {}
    for name, settings in tree["modalities"].items():
        for key, value in (settings or {}).items():
            if key in recipe.kept and Path(str(value)).is_file():  # a checkpoint stands alone: it takes the file along
                target = folder / f"{name}-{Path(value).name}"
                if Path(value).resolve() != target.resolve():
                    shutil.copyfile(value, target)
                settings[key] = target.name
                files.setdefault(name, []).append(key)
    saved = {"name": recipe.name, "narrowed": recipe.narrowed, "recipe": tree, "files": files}
    (folder / RECIPE).write_text(json.dumps(saved, indent=2), encoding="utf-8")


def save(
    output: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    recipe: Recipe,
    state: State,
    *,
    main: bool,
    keep: int,
) -> Path:
    """Write checkpoint `step-N` of a run; every process takes part in gathering, the main one writes.

    keep: how many of the newest checkpoints stay; older ones go only after the new one is there.
    """
    weights: dict[str, Any] = get_model_state_dict(model, options=GATHERED)
    moments: dict[str, Any] = dict(get_optimizer_state_dict(model, optimizer, options=GATHERED))
    target = output / "checkpoints" / f"step-{state.step}"
    if not main:
        return target
    draft = target.with_name(f".{target.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    write_model(draft, weights, recipe)
    flat = {f"{kind}/{name}": value for name, kinds in moments["state"].items() for kind, value in kinds.items()}
    save_file({name: torch.as_tensor(value).contiguous() for name, value in flat.items()}, draft / OPTIMIZER)
    (draft / STATE).write_text(json.dumps({"step": state.step, **state.extra}, indent=2), encoding="utf-8")
    for path in draft.iterdir():
        flush(path)
    flush(draft)
    shutil.rmtree(target, ignore_errors=True)
    draft.rename(target)
    flush(target.parent)
    checkpoints = sorted(target.parent.glob("step-*"), key=lambda path: int(path.name.removeprefix("step-")))
    for old in checkpoints[:-keep]:
        shutil.rmtree(old)
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


def flush(path: Path) -> None:
    """Make a file or folder survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
