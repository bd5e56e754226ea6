"""Crops and flips of video, on the device: two small matrix products a clip, and no sync."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from einops import rearrange

from modalities.augmentation import Augmentation
from modalities.noise import uniform
from modalities.records import Signal
from modalities.shapes import Float, Int, Tensor


class VideoAugmentation(Augmentation):
    """Random resized crop and horizontal flip (Inception crops, arXiv:1409.4842), the same for all frames of a clip.

    Args:
        size: height and width of the result; None keeps those of the input.
        scale: share of the picture's area that a crop covers, drawn uniformly.
        ratio: width by height of a crop, drawn log-uniformly; a crop larger than the picture is cut to fit.
        flip: probability of a flip.
    """

    def __init__(
        self,
        *,
        size: int | None = None,
        scale: tuple[float, float] = (0.5, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        flip: float = 0.5,
    ):
        super().__init__()
        if size is not None and size < 1:
            raise ValueError(f"size is the height and width in pixels of a crop, from 1 up, got {size}")
        if not 0 < scale[0] <= scale[1] <= 1:
            raise ValueError(f"scale is a range of shares of the picture within (0, 1], smaller first, got {scale}")
        if not 0 < ratio[0] <= ratio[1]:
            raise ValueError(f"ratio is a range of width by height above 0, smaller first, got {ratio}")
        if not 0 <= flip <= 1:
            raise ValueError(f"flip is a probability in [0, 1], got {flip}")
        self.size, self.scale, self.ratio, self.flip = size, tuple(scale), tuple(ratio), flip

    @torch.no_grad()
    def forward(self, signal: Signal, key: Int[Tensor, " b"]) -> Signal:
        """The signal with each clip, uint8 (b, t, c, h, w), cropped and flipped by what its key draws."""
        t, _, h, w = signal.values.shape[1:]
        area, shape, across, down = uniform(key, "crop", 4).unbind(1)
        area = h * w * (self.scale[0] + (self.scale[1] - self.scale[0]) * area)
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        shape = torch.exp(low + (high - low) * shape)
        height, width = (area / shape).sqrt().clamp(max=h), (area * shape).sqrt().clamp(max=w)
        mirrored = uniform(key, "flip", 1)[:, 0] < self.flip
        rows = resampling((h - height) * down, height, h, self.size or h)
        columns = resampling((w - width) * across, width, w, self.size or w)
        columns = torch.where(mirrored[:, None, None], columns.flip(1), columns)
        x = rearrange(signal.values.float(), "b t c h w -> b (t c) h w")
        x = torch.einsum("b n h w, b j w -> b n h j", x, columns)
        x = torch.einsum("b n h w, b i h -> b n i w", x, rows)
        x = x.round().clamp(0, 255).to(torch.uint8)
        return replace(signal, values=rearrange(x, "b (t c) h w -> b t c h w", t=t))


def resampling(
    start: Float[Tensor, " b"], length: Float[Tensor, " b"], pixels: int, size: int
) -> Float[Tensor, "b size pixels"]:
    """Matrices that resample [start, start + length) of a line of `pixels` to `size`: bilinear, antialiased.

    The kernel is a triangle as wide as the coarser of both grids; the identity where the grids coincide.
    """
    step = (length / size)[:, None, None]
    centre = start[:, None, None] + (torch.arange(size, device=start.device)[:, None] + 0.5) * step
    away = torch.arange(pixels, device=start.device) + 0.5 - centre
    weight = (1 - away.abs() / step.clamp(min=1)).clamp(min=0)
    return weight / weight.sum(-1, keepdim=True)
