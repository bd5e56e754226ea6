"""Crops, flips and colours of video, on the device: small matrix products a clip, and no sync."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from einops import rearrange

from modalities.augmentation import Augmentation
from modalities.noise import uniform
from modalities.records import Signal
from modalities.shapes import Bool, Float, Int, Shaped, Tensor
from modalities.video.colour import Blur, Colour, Jitter, require_probability
from modalities.video.resampling import nearest, resample, resampling


class VideoAugmentation(Augmentation):
    """Random resized crop, flip and colours (Inception crops, arXiv:1409.4842), the same for all frames of a clip.

    A clip is cropped and flipped, then its colours are jittered, made grey, blurred and solarised, as its key draws.
    Hints are cropped and flipped along.

    Args:
        size: height and width of the result; None keeps those of the input.
        scale: share of the picture's area that a crop covers, drawn uniformly.
        ratio: width by height of a crop, drawn log-uniformly; a crop larger than the picture is cut to fit.
        flip: probability of a flip.
        jitter: how far brightness, contrast and saturation are from 1 at most, each, and how far the hue turns, in
            whole turns; in an order drawn for each clip. None leaves them.
        jitter_p: probability that a clip is jittered.
        grey: probability that a clip loses its colours.
        blur: {p: probability, sigma: range in pixels, kernel: pixels}; None blurs none.
        solarise: probability that the levels above the middle are inverted.
    """

    def __init__(
        self,
        *,
        size: int | None = None,
        scale: tuple[float, float] = (0.5, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        flip: float = 0.5,
        jitter: tuple[float, float, float, float] | None = None,
        jitter_p: float = 0.8,
        grey: float = 0.0,
        blur: Blur | None = None,
        solarise: float = 0.0,
    ):
        super().__init__()
        if size is not None and size < 1:
            raise ValueError(f"size is the height and width in pixels of a crop, from 1 up, got {size}")
        if not 0 < scale[0] <= scale[1] <= 1:
            raise ValueError(f"scale is a range of shares of the picture within (0, 1], smaller first, got {scale}")
        if not 0 < ratio[0] <= ratio[1]:
            raise ValueError(f"ratio is a range of width by height above 0, smaller first, got {ratio}")
        require_probability("flip", flip)
        self.size, self.scale, self.ratio, self.flip = size, tuple(scale), tuple(ratio), flip
        self.colour = Colour(None if jitter is None else Jitter(*jitter, p=jitter_p), grey, blur, solarise)

    @torch.no_grad()
    def forward(self, signal: Signal, key: Int[Tensor, " b"]) -> Signal:
        """The signal with each clip (b, t, c, h, w), cropped, flipped and coloured by what its key draws.

        Values are uint8, or float32 of a stated range, in [0, 1].
        """
        t, _, h, w = signal.values.shape[1:]
        area, shape, across, down = uniform(key, "crop", 4).unbind(1)
        area = h * w * (self.scale[0] + (self.scale[1] - self.scale[0]) * area)
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        shape = torch.exp(low + (high - low) * shape)
        height, width = (area / shape).sqrt().clamp(max=h), (area * shape).sqrt().clamp(max=w)
        mirrored = uniform(key, "flip", 1)[:, 0] < self.flip
        crop = Crop((h, w), (h - height) * down, height, (w - width) * across, width, mirrored)
        rows, columns = crop.matrices((h, w), (self.size or h, self.size or w))
        x = resample(rearrange(signal.values.float(), "b t c h w -> b (t c) h w"), rows, columns)
        x = rearrange(x, "b (t c) h w -> b t c h w", t=t)
        full = 1.0 if signal.values.is_floating_point() else 255.0
        if self.colour.changes:
            x = self.colour(x / full, key) * full
        x = x if signal.values.is_floating_point() else x.round().clamp(0, 255).to(torch.uint8)
        return replace(signal, values=x, hint=None if signal.hint is None else crop.hint(signal.hint))


@dataclass(frozen=True)
class Crop:
    """What is kept of each sample's picture of `size` pixels, high and wide, and whether it is mirrored."""

    size: tuple[int, int]
    top: Float[Tensor, " b"]
    height: Float[Tensor, " b"]
    left: Float[Tensor, " b"]
    width: Float[Tensor, " b"]
    mirrored: Bool[Tensor, " b"]

    def matrices(self, old: tuple[int, int], new: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """What resamples the rows and the columns of the picture, where it has `old` cells, to `new` ones."""
        down, across = (cells / pixels for cells, pixels in zip(old, self.size, strict=True))
        rows = resampling(self.top * down, self.height * down, old[0], new[0])
        columns = resampling(self.left * across, self.width * across, old[1], new[1])
        return rows, torch.where(self.mirrored[:, None, None], columns.flip(1), columns)

    def hint(self, hint: Shaped[Tensor, "b t ..."]) -> Shaped[Tensor, "b t ..."]:
        """The same crop of a hint, in as many cells as before; see modalities/video/hints/hint.py for its kinds."""
        cells = (hint.shape[-2], hint.shape[-1])
        rows, columns = self.matrices(cells, cells)
        if not hint.is_floating_point():
            return resample(hint.float(), nearest(rows), nearest(columns)).to(hint.dtype)
        if hint.ndim == 4:
            return resample(hint, rows, columns)
        x = resample(rearrange(hint, "b t c h w -> b (t c) h w"), rows, columns)
        across = torch.where(self.mirrored, -1.0, 1.0) * self.size[1] / self.width  # a narrow picture is crossed sooner
        speed = torch.stack([across, self.size[0] / self.height], 1)
        return rearrange(x, "b (t c) h w -> b t c h w", c=2) * speed[:, None, :, None, None]
