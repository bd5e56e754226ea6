"""Tensors and settings from files of others; nothing in a file is executed."""

from __future__ import annotations

import argparse
import json
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from modalities.errors import InputError
from modalities.shapes import Tensor

CONFIG = "config.json"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
TOP = ("model", "module")  # where VideoMAE's trainer and DeepSpeed keep the weights, with optimizer and arguments


@dataclass(frozen=True)
class Found:
    """Tensors by the names that the file gives them, and transformers' config.json if there is one in the folder."""

    path: Path
    tensors: Mapping[str, Tensor]
    config: Mapping[str, Any] | None = None


def find(path: Path) -> Found:
    """What lies at a path: a checkpoint file, or a folder as transformers writes it.

    Raises:
        InputError: nothing that can be read; the message names what was found.
    """
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder")
    folder = path if path.is_dir() else path.parent
    config = settings(folder / CONFIG) if (folder / CONFIG).is_file() else None
    if path.is_file():
        return Found(path, tensors(path), config)
    if config is None:
        inside = sorted(entry.name for entry in path.iterdir())
        few = ", ".join(inside[:5]) + (f" and {len(inside) - 5} more" if len(inside) > 5 else "")
        raise InputError(
            f"{path}: there is no checkpoint here, it holds {few or 'nothing'}\n"
            f"  expected a run of mmmae (checkpoints/ or recipe.json), transformers' {CONFIG}, or name a file"
        )
    for name in WEIGHTS:
        if (path / name).is_file():
            return Found(path, tensors(path / name), config)
        if (path / f"{name}.index.json").is_file():
            files = shards(path / f"{name}.index.json")
            return Found(path, {key: x for file in files for key, x in tensors(file).items()}, config)
    raise InputError(f"{path}: {CONFIG} is here without weights\n  expected {' or '.join(WEIGHTS)} in the same folder")


def shards(index: Path) -> list[Path]:
    """The shards listed in an index, all in its folder.

    Raises:
        InputError: the index names none, or one that lies elsewhere.
    """
    names = settings(index).get("weight_map")
    names = sorted(set(map(str, names.values()))) if isinstance(names, Mapping) else []
    outside = [name for name in names if Path(name).name != name]
    if outside or not names:
        named = outside[0] if outside else "no files"
        raise InputError(f"{index}: names {named}\n  weights must be in the folder of their index")
    return [index.parent / name for name in names]


def settings(path: Path) -> dict[str, Any]:
    """A JSON object."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as JSON\n  {error}") from error
    if not isinstance(found, dict):
        raise InputError(f"{path}: expected an object, it holds {type(found).__name__}")
    return found


def tensors(path: Path) -> dict[str, Tensor]:
    """The weights in a file: safetensors, or what torch.save wrote, by themselves or under one of TOP."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with torch.serialization.safe_globals([argparse.Namespace]):  # the trainer's arguments, as VideoMAE keeps them
            found = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        reason = str(error).partition("WeightsUnpickler error: ")[2].partition("\n")[0] or "it is no pickle of tensors"
        raise InputError(
            f"{path}: loading it would run code, which is refused ({reason.partition(' was not')[0].strip()})\n"
            "  if you trust where it comes from, keep its weights only: "
            "torch.save({'model': torch.load(FILE, weights_only=False)['model']}, 'weights.pth')"
        ) from error
    except Exception as error:  # a file that is no checkpoint can make an unpickler stumble over anything
        raise InputError(f"{path}: cannot be read as a checkpoint\n  {type(error).__name__}: {error}") from error
    if isinstance(found, Mapping):
        found = next((found[key] for key in TOP if isinstance(found.get(key), Mapping)), found)
    if not isinstance(found, Mapping) or not all(torch.is_tensor(value) for value in found.values()):
        held = sorted(map(str, found)) if isinstance(found, Mapping) else type(found).__name__
        raise InputError(f"{path}: expected tensors by name, or such under {' or '.join(TOP)}; it holds {held}")
    return dict(found)
