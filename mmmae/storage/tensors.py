"""Tensors as safetensors files: written one at a time without a copy of the whole; validated when read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import chain
from pathlib import Path

import torch

from mmmae.storage.atomic import Content
from modalities.errors import InputError
from modalities.files import limits
from modalities.shapes import Tensor

NAMES = {
    torch.bool: "BOOL", torch.uint8: "U8", torch.int8: "I8", torch.int16: "I16", torch.int32: "I32", torch.int64: "I64",
    torch.float16: "F16", torch.bfloat16: "BF16", torch.float32: "F32", torch.float64: "F64",
}  # fmt: skip


def packed(tensors: Mapping[str, Tensor]) -> Content:
    """A safetensors file: the length of its header in 8 bytes, the header in JSON, then every tensor."""
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))  # so that each begins aligned
    header, end = {}, 0
    for name in order:
        tensor = tensors[name]
        begin, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    head = len(text).to_bytes(8, "little") + text
    return Content(len(head) + end, chain([head], (raw(tensors[name]) for name in order)))


def raw(tensor: Tensor) -> memoryview:
    """A tensor's bytes, in place where it is contiguous and in main memory."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def load(path: Path) -> dict[str, Tensor]:
    """All tensors of a file.

    Raises:
        InputError: it is missing, or no safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        limits.refuse_long_header(path)
        return load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: is no whole safetensors file ({error})\n  copy it again") from error
