"""Projector heads: the MLPs between a representation and the space in which it is compared."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Literal

import torch
from torch import nn

from fusion.blocks import EPS
from modalities.shapes import Bool, Float, Shaped, Tensor

Gather = Callable[[Shaped[Tensor, "b ..."]], Shaped[Tensor, "every ..."]]
"""The same rows of all processes, with gradients (`mmmae.parallel.reduce.gather`)."""


def own(x: Shaped[Tensor, "b ..."]) -> Shaped[Tensor, "b ..."]:
    """The rows of this process only."""
    return x


class BatchNorm(nn.Module):
    """Batch normalisation (arXiv:1502.03167) over the samples of all processes, in float32.

    It keeps no running statistics: in evaluation, too, and in a teacher, a batch is normalised by its own, so that a
    forward pass changes no state and a loss does not depend on how samples are divided among processes.
    """

    def __init__(self, width: int):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(
        self, x: Float[Tensor, "b width"], valid: Bool[Tensor, " b"] | None = None, gather: Gather = own
    ) -> Float[Tensor, "b width"]:
        """valid: the samples whose statistics count; all by default."""
        x = x.float()
        share = torch.ones_like(x[:, :1]) if valid is None else valid.float()[:, None]
        samples = gather(share.sum(0, keepdim=True)).sum(0).clamp_min(1)
        mean = gather((share * x).sum(0, keepdim=True)).sum(0) / samples
        away = x - mean
        variance = gather((share * away.square()).sum(0, keepdim=True)).sum(0) / samples
        return away * (variance + EPS).rsqrt() * self.weight + self.bias


class Projector(nn.Module):
    """MLP projection head (SimCLR, arXiv:2002.05709): hidden layers, each normalised and followed by ReLU; a last one.

    Args:
        width: of the output, unless `out` gives it.
        hidden: widths of the hidden layers; none leaves one linear layer.
        norm: of each hidden layer: `batch` (over the samples of all processes), `layer` or `none`.
        out: width of the output.
    """

    def __init__(
        self,
        dim: int,
        width: int,
        *,
        hidden: tuple[int, ...] = (2048,),
        norm: Literal["batch", "layer", "none"] = "batch",
        out: int | None = None,
    ):
        super().__init__()
        if norm not in ("batch", "layer", "none"):
            raise ValueError(f"norm is 'batch', 'layer' or 'none', got {norm!r}")
        widths = [dim, *hidden, width if out is None else out]
        if min(widths) < 1:
            raise ValueError(f"the layers of a projector are at least 1 wide, got hidden={list(hidden)}, out={out}")
        self.out = widths[-1]
        self.layers = nn.ModuleList(
            nn.Linear(a, b, bias=norm != "batch" or number == len(hidden))  # a batch norm takes the bias away
            for number, (a, b) in enumerate(pairwise(widths))
        )
        self.norms = nn.ModuleList(normalisation(norm, width) for width in hidden)

    def forward(
        self, x: Float[Tensor, "b dim"], valid: Bool[Tensor, " b"] | None = None, gather: Gather = own
    ) -> Float[Tensor, "b out"]:
        """valid: the samples that are there; those that are not do not enter the statistics of a batch."""
        for layer, norm in zip(self.layers, self.norms, strict=False):
            x = layer(x)
            x = (norm(x, valid, gather) if isinstance(norm, BatchNorm) else norm(x)).relu()
        return self.layers[-1](x)


def normalisation(norm: str, width: int) -> nn.Module:
    """The norm of a hidden layer by its name."""
    if norm == "batch":
        return BatchNorm(width)
    return nn.LayerNorm(width, eps=EPS) if norm == "layer" else nn.Identity()


MakeProjector = Callable[[int, int], Projector]
"""A projector with its settings decided, waiting for the widths of its input and, unless they give it, its output."""
