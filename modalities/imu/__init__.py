"""IMU: inertial sensors on a body graph, cut into spans of time.

Reader and tokenizer load when they are first named: one needs files and decoders, the other only torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modalities.imu.reader import IMUReader
    from modalities.imu.tokenizer import IMUTokenizer

ROOMS = {"IMUReader": "reader", "IMUTokenizer": "tokenizer"}
__all__ = ["IMUReader", "IMUTokenizer"]


def __getattr__(name: str):
    if name not in ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{ROOMS[name]}"), name)
