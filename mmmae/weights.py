"""Weights from a safetensors file, whatever the file turns out to be."""

from __future__ import annotations

from pathlib import Path

from modalities import limits
from modalities.errors import InputError
from modalities.shapes import Tensor


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
