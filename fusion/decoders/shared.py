"""Shared decoder, run for every stream in turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fusion.decoders.joint import Joint
from fusion.decoders.per_stream import PerStream


class Shared(PerStream):
    """Decode every stream from its own visible tokens with the same layers (TVLT, arXiv:2209.14156)."""

    def __init__(self, streams: Sequence[str], dim: int, outputs: Mapping[str, int], **size: Any):
        super().__init__(**size)
        self.decoder = Joint(list(outputs), dim, outputs, **size)  # it sees no stream that it does not predict

    def decoder_of(self, name: str) -> Joint:
        return self.decoder
