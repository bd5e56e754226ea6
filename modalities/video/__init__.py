"""Video: clips cut into tubes.

Reader and tokenizer load when they are first named: one needs files and decoders, the other only torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modalities.video.reader import VideoReader
    from modalities.video.tokenizer import VideoTokenizer

ROOMS = {"VideoReader": "reader", "VideoTokenizer": "tokenizer"}
__all__ = ["VideoReader", "VideoTokenizer"]


def __getattr__(name: str):
    if name not in ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{ROOMS[name]}"), name)
