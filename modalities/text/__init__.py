"""Text: captions, one patch per word piece.

Reader and tokenizer load when they are first named: one needs files and decoders, the other only torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modalities.text.reader import TextReader
    from modalities.text.tokenizer import TextTokenizer
    from modalities.text.vocabulary import Vocabulary

ROOMS = {"TextReader": "reader", "TextTokenizer": "tokenizer", "Vocabulary": "vocabulary"}
__all__ = ["TextReader", "TextTokenizer", "Vocabulary"]


def __getattr__(name: str):
    if name not in ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{ROOMS[name]}"), name)
