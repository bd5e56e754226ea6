"""Video, images and optical flow: tubes of pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from einops import rearrange, repeat
from torch import nn

from modalities.accept import measurements, pictures
from modalities.positions import Kind
from modalities.records import Patches, Places, Signal, lattice
from modalities.shapes import Float, Int, Shaped, Tensor
from modalities.tokenizer import Tokenizer, fractions
from modalities.video.hints import pooled

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # what VideoMAE and MAE standardise with


class VideoTokenizer(Tokenizer):
    """Cut a clip into tubes of `tube` frames by `patch` x `patch` pixels (VideoMAE, arXiv:2203.12602).

    Takes uint8, or floats of 0..255 or [0, 1], (b, t, c, h, w) of any frame count and size that tubes divide. An image
    is a clip of one frame; it is held still for the length of a tube. Coordinates are (t, h, w), counted in tubes; the
    values of a patch are laid out (frame, row, column, channel) and natural units are levels of 0..255. A stream with a
    `range` (depth, temperature) takes float32 between 0 and 1 instead, which are its natural units.

    Args:
        dim: width of the tokens.
        patch: side of a patch in pixels.
        tube: frames in a patch.
        channels: 3 for RGB, 1 for grey, 2 for flow.
        mean, std: of each channel on the scale [0, 1]; ImageNet's for three channels, 0.5 otherwise.
        predict: how many frames of each tube a decoder predicts, chosen so that together they are evenly spread from
            the first frame of the clip to its last (MAE-ST, 2205.09113); None means all.
        frames, size: of the clip; only `learned` positions need to know them beforehand.
        range: of the measurements that the reader scaled to [0, 1] (modalities/video/deep.py); None: uint8 levels.

    >>> tokenizer = VideoTokenizer(64, patch=8)
    >>> clip = Signal(torch.randint(0, 256, (2, 16, 3, 32, 32), dtype=torch.uint8))
    >>> patches = tokenizer.patchify(clip)
    >>> patches.grid, tuple(patches.values.shape), tuple(tokenizer.embed(patches).x.shape)
    ((8, 4, 4), (2, 128, 384), (2, 128, 64))
    """

    axes = ("time", "row", "column")
    layout = ("b", "t", "c", "h", "w")

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        dim: int,
        *,
        patch: int = 16,
        tube: int = 2,
        channels: int = 3,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        positions: Kind = "grid",
        predict: int | None = None,
        frames: int | None = None,
        size: int | tuple[int, int] | None = None,
        range: tuple[float | int, float | int] | None = None,
    ):
        if min(patch, tube, channels) < 1:
            raise ValueError(f"patch, tube and channels count from 1, got {patch}, {tube}, {channels}")
        if predict is not None and not 1 <= predict <= tube:
            raise ValueError(f"predict is how many of the {tube} frames of a tube a decoder predicts, got {predict}")
        grid = None
        if frames is not None and size is not None:
            height, width = (size, size) if isinstance(size, int) else size
            grid = (frames // tube, height // patch, width // patch)
        super().__init__(dim, positions=positions, grid=grid)
        mean = mean or (IMAGENET[0] if channels == 3 else [0.5] * channels)
        std = std or (IMAGENET[1] if channels == 3 else [0.5] * channels)
        if not len(mean) == len(std) == channels:
            raise ValueError(f"mean and std need a value for each of {channels} channels, got {mean} and {std}")
        self.patch, self.tube, self.channels, self.predict = patch, tube, channels, predict or tube
        self.range, self.full_scale = range, 255.0 if range is None else 1.0
        self.outputs = channels * self.predict * patch**2
        self.project = nn.Linear(channels * tube * patch**2, dim)
        self.register_buffer("mean", torch.tensor(mean).repeat(tube * patch**2), persistent=False)
        self.register_buffer("std", torch.tensor(std).repeat(tube * patch**2), persistent=False)

    @property
    def fixed(self) -> dict[str, int]:
        return {"c": self.channels}

    @property
    def expected(self) -> str:
        scale = "uint8, or floats of 0..255 or [0, 1]," if self.range is None else "floats in [0, 1]"
        return f"video in {scale} (b, t, c={self.channels}, h, w)"

    def convert(self, signal: Signal) -> Signal:
        return (pictures if self.range is None else measurements)(signal, self.expected)

    def patchify(self, signal: Any) -> Patches:
        signal = self.accept(signal)
        frames, length = signal.values, signal.length
        if frames.shape[1] == 1 and self.tube > 1:  # an image: hold it still
            frames = repeat(frames, "b 1 c h w -> b t c h w", t=self.tube)
            length = None if length is None else length * self.tube
        _, t, c, h, w = frames.shape
        if c != self.channels or t % self.tube or h % self.patch or w % self.patch:
            raise ValueError(
                f"a clip of {t} frames, {c} channels, {h}x{w} pixels cannot be cut into tubes of {self.tube} frames, "
                f"{self.channels} channels, {self.patch}x{self.patch} pixels; choose frames and size that they divide"
            )
        grid = (t // self.tube, h // self.patch, w // self.patch)
        values = rearrange(
            frames, "b (t p) c (h q) (w r) -> b (t h w) (p q r c)", p=self.tube, q=self.patch, r=self.patch
        )
        coords = lattice(grid, frames.device)
        duration = signal.seconds()
        time = duration[:, None] * fractions(grid[0], frames.device)[coords[:, 0]]
        valid = None if length is None else coords[:, 0] < (length // self.tube)[:, None]
        hint = None if signal.hint is None else pooled(signal.hint, grid)
        return Patches(values, coords, time, grid, duration, valid, hint)

    def standardise(self, values: Shaped[Tensor, "b k p"]) -> Float[Tensor, "b k p"]:
        p = values.shape[-1]  # less than a tube where a decoder predicts less
        scaled = values / self.full_scale  # a clip of its own: written to once, not thrice
        return scaled.sub_(self.mean[:p]).div_(self.std[:p])

    def unstandardise(self, x: Float[Tensor, "b k p"]) -> Float[Tensor, "b k p"]:
        p = x.shape[-1]
        return (x * self.std[:p] + self.mean[:p]) * self.full_scale

    def embed_values(self, values: Shaped[Tensor, "b k p"], places: Places) -> Float[Tensor, "b k d"]:
        return self.project(self.standardise(values))

    def unpatchify(self, values: Shaped[Tensor, "b n p"], grid: tuple[int, ...]) -> Shaped[Tensor, "b t c h w"]:
        t, h, w = grid
        if self.range is None and values.is_floating_point():
            values = values.round().clamp(0, 255).to(torch.uint8)
        return rearrange(
            values, "b (t h w) (p q r c) -> b (t p) c (h q) (w r)",
            t=t, h=h, w=w, p=self.tube, q=self.patch, r=self.patch,
        )  # fmt: skip

    def contents(self, patches: Patches, pick: Int[Tensor, "b m"]) -> Shaped[Tensor, "b m p"]:
        tubes = super().contents(patches, pick)
        return tubes if self.predict == self.tube else tubes.gather(2, self.predicted_values(patches, pick))

    def restore(
        self, patches: Patches, predicted: Float[Tensor, "b m p"], pick: Int[Tensor, "b m"]
    ) -> Shaped[Tensor, "b t c h w"]:
        """The clip with predictions in place of what a decoder predicts of the patches at `pick`.

        Other frames of their tubes stay as they are.
        """
        if self.predict < self.tube:
            tubes = self.standardise(super().contents(patches, pick)).to(predicted.dtype)
            predicted = tubes.scatter(2, self.predicted_values(patches, pick), predicted)
        return super().restore(patches, predicted, pick)

    def predicted_values(self, patches: Patches, pick: Int[Tensor, "b m"]) -> Int[Tensor, "b m p"]:
        """Which values of the patches at `pick` a decoder predicts."""
        steps = patches.grid[0]
        if patches.valid is not None:
            steps = ((patches.coords[:, 0] + 1) * patches.valid).amax(1)[:, None, None]
        step = patches.coords[pick][..., 0, None]
        place = torch.arange(self.predict, device=pick.device)
        frame = spread(self.predict * step + place, steps * self.predict, steps * self.tube) - self.tube * step
        value = torch.arange(self.channels * self.patch**2, device=pick.device)
        return rearrange(frame.clamp(0, self.tube - 1)[..., None] * len(value) + value, "b m f v -> b m (f v)")

    def predicted_frames(self, frames: int) -> list[int]:
        """Which of so many frames a decoder predicts."""
        count = frames // self.tube * self.predict
        return [spread(number, count, frames) for number in range(count)]


def spread(number: Any, count: Any, frames: Any) -> Any:
    """The frame at place `number` of `count` that are evenly spread from the first of `frames` to the last (integers).

    Rounded down, as MAE-ST (arXiv:2205.09113) does; every tube then holds an equal share of them.
    """
    last = count - 1
    return number * (frames - 1) // (last + (last == 0))
