"""Positions from coordinates: sines and cosines, so that any grid works and nothing is interpolated, or learned."""

from __future__ import annotations

import math
import operator
from functools import lru_cache
from typing import Any, Literal, get_args

import torch
from torch import nn

from modalities.records import Places, Tokens, lattice
from modalities.shapes import Float, Int, Shaped, Tensor

Kind = Literal["grid", "flat", "time", "learned"]


AXIS = 100.0  # positions along one axis of a grid are few; at 10,000 two thirds of the columns would hardly change


def sincos(position: Shaped[Tensor, " n"], dim: int, longest: float = 10_000.0) -> Float[Tensor, "n dim"]:
    """Sine (even columns) and cosine (odd columns) of a position at dim / 2 wavelengths (arXiv:1706.03762).

    The wavelengths grow geometrically from 2 pi towards 2 pi * longest.
    """
    rate = longest ** (-2 * torch.arange(dim // 2, dtype=torch.float64, device=position.device) / dim)
    angle = position.double()[:, None] * rate
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1).float()


def table(kind: Kind, grid: tuple[int, ...], dim: int, device: torch.device) -> Float[Tensor, "n dim"]:
    """Positions of every patch of a grid, in row-major order."""
    coords = lattice(grid, device)
    if kind == "flat":
        return sincos(torch.arange(len(coords), device=device), dim)
    if kind == "time":
        return sincos(coords[:, 0], dim)
    share = dim // (2 * len(grid)) * 2  # an even number of columns for each axis; the first takes what is left
    widths = [dim - share * (len(grid) - 1)] + [share] * (len(grid) - 1)
    return torch.cat([sincos(axis, width, AXIS) for axis, width in zip(coords.unbind(1), widths, strict=True)], 1)


remembered = lru_cache(maxsize=64)(table)


def ravel(coords: Int[Tensor, "b k axes"], grid: tuple[int, ...]) -> Int[Tensor, "b k"]:
    """Row-major number of each coordinate."""
    index = coords[..., 0]
    for axis, size in enumerate(grid[1:], 1):
        index = index * size + coords[..., axis]
    return index


class Positions(nn.Module):
    """Position embeddings, added to tokens.

    kind: `grid` gives each axis its own columns (He et al., 2111.06377, with wavelengths of an axis's size); `flat`
        counts through all patches along one axis (VideoMAE, 2203.12602); `time` encodes the first axis only, so that
        patches of the same time are encoded alike; `learned` adds a vector for the time step and one for the place
        (MAE-ST, 2205.09113).
    grid: the largest that learned positions are for; a smaller one takes the first of them along each axis.
    """

    def __init__(self, dim: int, kind: Kind = "grid", grid: tuple[int, ...] | None = None):
        super().__init__()
        if dim % 2:
            raise ValueError(f"sine-cosine positions need an even width, got {dim}")
        if kind not in get_args(Kind):
            raise ValueError(f"positions are one of {', '.join(get_args(Kind))}, got {kind!r}")
        self.dim, self.grid = dim, grid
        self.kind: Kind = kind
        if kind == "learned":
            if grid is None:
                raise ValueError("learned positions need a grid known beforehand, as a video's frames and size tell it")
            self.time, self.place = learned(grid[0], dim), learned(math.prod(grid[1:]), dim)

    def forward(self, places: Places | Tokens) -> Float[Tensor, "b k d"]:
        if self.kind == "learned":
            return self.lookup(places)
        make = table if torch.compiler.is_compiling() else remembered  # in a graph they cost less than a guard
        rows = make(self.kind, places.grid, self.dim, places.coords.device)
        return rows[ravel(places.coords, places.grid)]

    def lookup(self, places: Places | Tokens) -> Float[Tensor, "b k d"]:
        """Learned positions of the places, and of no others: hidden ones cost nothing."""
        assert self.grid is not None
        if len(places.grid) != len(self.grid) or any(map(operator.gt, places.grid, self.grid)):
            raise ValueError(f"positions were made for a grid of {self.grid}, this one is {places.grid}")
        place = ravel(places.coords, self.grid) % len(self.place)
        return self.time[places.coords[..., 0]] + self.place[place]


def learned(count: int, dim: int) -> nn.Parameter:
    """Vectors to learn, exempt from weight decay."""
    vectors: Any = nn.Parameter(torch.empty(count, dim))
    nn.init.normal_(vectors, std=0.02)
    vectors.decay = False
    return vectors
