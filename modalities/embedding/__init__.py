"""Embedding: feature sequences computed beforehand, one patch per step.

Reader and tokenizer load when they are first named: one needs files and decoders, the other only torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lazy_loader import attach

if TYPE_CHECKING:
    from modalities.embedding.reader import EmbeddingReader
    from modalities.embedding.tokenizer import EmbeddingTokenizer

__all__ = ["EmbeddingReader", "EmbeddingTokenizer"]

__getattr__, __dir__, _ = attach(
    __name__, submod_attrs={"reader": ["EmbeddingReader"], "tokenizer": ["EmbeddingTokenizer"]}
)
