"""Shared decoder, run for every stream in turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fusion.decoders.decoder import Contents, Decoder
from fusion.decoders.joint import Joint
from modalities.positions import Kind
from modalities.records import Places, Tokens
from modalities.shapes import Float, Tensor


class Shared(Decoder):
    """Decode every stream from its own visible tokens with the same layers (TVLT, arXiv:2209.14156)."""

    mixes = False

    def __init__(
        self,
        streams: Sequence[str],
        dim: int,
        outputs: Mapping[str, int],
        *,
        width: int = 384,
        depth: int = 4,
        heads: int = 6,
        positions: Kind = "grid",
    ):
        super().__init__()
        self.width = width
        size = {"width": width, "depth": depth, "heads": heads, "positions": positions}
        self.decoder = Joint(list(outputs), dim, outputs, **size)  # it sees no stream that it does not predict

    def forward(
        self, tokens: Mapping[str, Tokens], asked: Mapping[str, Places], contents: Contents | None = None
    ) -> dict[str, Float[Tensor, "b m outputs"]]:
        return {
            name: self.decoder({name: tokens[name]} if name in tokens else {}, {name: places}, contents)[name]
            for name, places in asked.items()
        }
