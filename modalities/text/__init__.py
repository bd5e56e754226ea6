"""Text: captions, one patch per word piece.

Reader and tokenizer load when they are first named: one needs files and decoders, the other only torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lazy_loader import attach

if TYPE_CHECKING:
    from modalities.text.reader import TextReader
    from modalities.text.tokenizer import TextTokenizer
    from modalities.text.vocabulary import Vocabulary

__all__ = ["TextReader", "TextTokenizer", "Vocabulary"]

__getattr__, __dir__, _ = attach(
    __name__, submod_attrs={"reader": ["TextReader"], "tokenizer": ["TextTokenizer"], "vocabulary": ["Vocabulary"]}
)
