"""Separate decoders, one for every stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from fusion.decoders.decoder import Contents, Decoder
from fusion.decoders.joint import Joint
from modalities.positions import Kind
from modalities.records import Places, Tokens
from modalities.shapes import Float, Tensor


class Separate(Decoder):
    """Decode every stream from its own visible tokens with its own layers (AV-MAE's "separate", arXiv:2212.05922)."""

    mixes = ties_streams = False

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
        self.decoders = nn.ModuleDict(
            {name: Joint([name], dim, {name: count}, **size) for name, count in outputs.items()}
        )

    def forward(
        self, tokens: Mapping[str, Tokens], asked: Mapping[str, Places], contents: Contents | None = None
    ) -> dict[str, Float[Tensor, "b m outputs"]]:
        return {
            name: self.decoders[name]({name: tokens[name]} if name in tokens else {}, {name: places}, contents)[name]
            for name, places in asked.items()
        }
