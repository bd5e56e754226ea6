"""Video: clips cut into tubes.

Reader and tokenizer load when they are first named: one needs files and decoders, the other only torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lazy_loader import attach

if TYPE_CHECKING:
    from modalities.video.reader import VideoReader
    from modalities.video.tokenizer import VideoTokenizer

__all__ = ["VideoReader", "VideoTokenizer"]

__getattr__, __dir__, _ = attach(__name__, submod_attrs={"reader": ["VideoReader"], "tokenizer": ["VideoTokenizer"]})
