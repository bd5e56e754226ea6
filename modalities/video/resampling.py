"""Resampling a line of pixels by a matrix, so that a picture is cropped and resized by two small products."""

from __future__ import annotations

import torch

from modalities.shapes import Float, Tensor


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


def blurring(sigma: Float[Tensor, " b"], side: int, pixels: int) -> Float[Tensor, "b pixels pixels"]:
    """Matrices that blur a line of pixels by a Gaussian of `side` pixels, odd; the line is mirrored at its end pixels.

    Raises:
        ValueError: the kernel reaches beyond the mirror image.
    """
    reach = side // 2
    if reach >= pixels:
        raise ValueError(
            f"a kernel of {side} pixels is too large for pictures of {pixels}, choose {2 * pixels - 1} at most"
        )
    offset = torch.arange(-reach, reach + 1, device=sigma.device)
    weight = torch.exp(-0.5 * (offset / sigma[:, None]) ** 2)
    weight = weight / weight.sum(1, keepdim=True)
    place = (torch.arange(pixels, device=sigma.device)[:, None] + offset).abs()
    place = torch.where(place >= pixels, 2 * (pixels - 1) - place, place)
    place, weight = (x.expand(len(sigma), pixels, side) for x in (place, weight[:, None]))
    return weight.new_zeros(len(sigma), pixels, pixels).scatter_add(2, place, weight)


def nearest(weight: Float[Tensor, "b size pixels"]) -> Float[Tensor, "b size pixels"]:
    """The same resampling for what cannot be averaged, such as classes: each result is its nearest pixel."""
    return torch.zeros_like(weight).scatter(-1, weight.argmax(-1, keepdim=True), 1.0)


def resample(
    x: Float[Tensor, "b n h w"], rows: Float[Tensor, "b i h"], columns: Float[Tensor, "b j w"]
) -> Float[Tensor, "b n i j"]:
    """The pictures of each sample, all resampled by the sample's two matrices."""
    x = torch.einsum("b n h w, b j w -> b n h j", x, columns)
    return torch.einsum("b n h w, b i h -> b n i w", x, rows)
