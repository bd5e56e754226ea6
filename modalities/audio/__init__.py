"""Audio: a waveform as spectrogram patches.

Reader and tokenizer load when they are first named: one needs files and decoders, the other only torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modalities.audio.reader import AudioReader
    from modalities.audio.tokenizer import AudioTokenizer

ROOMS = {"AudioReader": "reader", "AudioTokenizer": "tokenizer"}
__all__ = ["AudioReader", "AudioTokenizer"]


def __getattr__(name: str):
    if name not in ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{ROOMS[name]}"), name)
