"""Embeddings: sequences of features computed beforehand, such as one vector for every five seconds of a video."""

from __future__ import annotations

from typing import Any

from torch import nn

from modalities.positions import Kind
from modalities.records import Patches, Places, lattice
from modalities.shapes import Float, Shaped, Tensor
from modalities.tokenizer import Tokenizer, fractions


class EmbeddingTokenizer(Tokenizer):
    """Treat every embedding of a sequence as a patch (LV-MAE, arXiv:2504.03501).

    Takes float32 (b, l, width), padded to l. The only coordinate is the place in the sequence.

    Args:
        dim: width of the tokens.
        width: width of the embeddings.
        unit: scale every embedding to length one before it is embedded or predicted.

    >>> import torch
    >>> from modalities.records import Signal
    >>> tokenizer = EmbeddingTokenizer(64, width=512)
    >>> tuple(tokenizer.embed(tokenizer.patchify(Signal(torch.randn(2, 20, 512)))).x.shape)
    (2, 20, 64)
    """

    axes = ("time",)
    layout = ("b", "l", "d")

    def __init__(self, dim: int, *, width: int = 512, unit: bool = False, positions: Kind = "grid"):
        super().__init__(dim, positions=positions)
        if width < 1:
            raise ValueError(f"an embedding is at least 1 wide, got {width}")
        self.width, self.unit, self.outputs = width, unit, width
        self.project = nn.Linear(width, dim)

    @property
    def fixed(self) -> dict[str, int]:
        return {"d": self.width}

    @property
    def expected(self) -> str:
        return f"embeddings in float32 (b, l, d={self.width})"

    def patchify(self, signal: Any) -> Patches:
        signal = self.accept(signal)
        values = signal.silenced().values
        if self.unit:
            values = nn.functional.normalize(values, dim=-1)
        grid = (values.shape[1],)
        coords = lattice(grid, values.device)
        duration = signal.seconds()
        time = duration[:, None] * fractions(grid[0], values.device)
        valid = None if signal.length is None else coords[:, 0] < signal.length[:, None]
        return Patches(values, coords, time, grid, duration, valid)

    def embed_values(self, values: Shaped[Tensor, "b k p"], places: Places) -> Float[Tensor, "b k d"]:
        return self.project(self.standardise(values))

    def unpatchify(self, values: Shaped[Tensor, "b n p"], grid: tuple[int, ...]) -> Float[Tensor, "b l d"]:
        return values
