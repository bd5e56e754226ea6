"""Audio: a waveform as spectrogram patches.

Reader and tokenizer load when they are first named: one needs files and decoders, the other only torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lazy_loader import attach

if TYPE_CHECKING:
    from modalities.audio.reader import AudioReader
    from modalities.audio.tokenizer import AudioTokenizer

__all__ = ["AudioReader", "AudioTokenizer"]

__getattr__, __dir__, _ = attach(__name__, submod_attrs={"reader": ["AudioReader"], "tokenizer": ["AudioTokenizer"]})
