"""IMU: inertial sensors on a body graph, cut into spans of time.

Reader and tokenizer load when they are first named: one needs files and decoders, the other only torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lazy_loader import attach

if TYPE_CHECKING:
    from modalities.imu.reader import IMUReader
    from modalities.imu.tokenizer import IMUTokenizer

__all__ = ["IMUReader", "IMUTokenizer"]

__getattr__, __dir__, _ = attach(__name__, submod_attrs={"reader": ["IMUReader"], "tokenizer": ["IMUTokenizer"]})
