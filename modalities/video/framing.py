"""Scaling, centre crop and rotation of the frames of a video."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from modalities.video.resampling import nearest, resample, resampling
from modalities.video.sidedata import side_data

if TYPE_CHECKING:
    from fractions import Fraction

    from av import VideoFrame


@dataclass(frozen=True)
class Framing:
    """Scale a frame to `down` x `across` pixels, keep the `height` x `width` in its middle, turn them upright.

    turns: quarter turns, counter-clockwise, after cutting. mirrored: whether left and right are swapped after turning.
    """

    down: int
    across: int
    height: int
    width: int
    turns: int
    mirrored: bool = False

    @classmethod
    def of(cls, frame: VideoFrame, aspect: Fraction | int, height: int, width: int, fit: str) -> Framing:
        """The framing that gives an upright picture of `height` x `width`.

        aspect: width of the frame's pixels over their height. fit: see VideoReader.
        """
        turns, mirrored = orientation(frame)
        height, width = (width, height) if turns % 2 else (height, width)
        down, across = height, width
        if fit == "crop":
            shape = float(frame.width * aspect / frame.height)
            down, across = max(height, round(width / shape)), max(width, round(height * shape))
        return cls(down, across, height, width, turns, mirrored)

    @property
    def corner(self) -> tuple[int, int]:
        """Top and left of what is kept."""
        return (self.down - self.height) // 2, (self.across - self.width) // 2

    def picture(self, frame: VideoFrame, form: str) -> np.ndarray:
        """The picture, uint8 (h, w, c), in the pixel format `form`; a view, which keeps what it was cut from."""
        scaled = frame.reformat(self.across, self.down, form, interpolation="AREA", threads=1)
        plane: Any = scaled.planes[0]
        rows = np.frombuffer(plane, dtype=np.uint8).reshape(-1, plane.line_size)[: self.down]
        channels = len(scaled.format.components)
        image = rows[:, : self.across * channels].reshape(self.down, self.across, channels)
        top, left = self.corner
        return self.upright(image[top : top + self.height, left : left + self.width])

    def cells(self, field: np.ndarray, cell: int) -> np.ndarray:
        """A field (h, w) over the whole frame, of any resolution, in cells of `cell` x `cell` pixels of the picture.

        Numbers are averaged; of classes (integers) the one in the middle of the cell is taken.
        """
        weights, (top, left) = [], self.corner
        for start, kept, scaled, pixels in (
            (top, self.height, self.down, field.shape[0]),
            (left, self.width, self.across, field.shape[1]),
        ):
            unit = torch.tensor([pixels / scaled])
            weight = resampling(start * unit, kept * unit, pixels, -(-kept // cell))
            weights.append(weight if field.dtype.kind == "f" else nearest(weight))
        found = resample(torch.from_numpy(field.astype(np.float32))[None, None], *weights)[0, 0]
        return self.upright(found.numpy().astype(field.dtype))

    def values(self, frame: np.ndarray) -> np.ndarray:
        """The picture (h, w, c) of a frame given as float32 (h, w, c): resampled in floats, not in 8 bits."""
        return np.stack([self.cells(channel, 1) for channel in np.moveaxis(frame, -1, 0)], axis=-1)

    def upright(self, picture: np.ndarray) -> np.ndarray:
        """A picture (h, w, ...), turned and mirrored; a view."""
        turned = np.rot90(picture, self.turns)
        return turned[:, ::-1] if self.mirrored else turned


def orientation(frame: VideoFrame) -> tuple[int, bool]:
    """How a frame is shown: quarter turns counter-clockwise, and whether left and right are swapped afterwards.

    Both come from the display matrix, which FFmpeg also makes of the EXIF orientation of an image. Its first two rows
    say where the directions right and down of the stored frame point to.
    """
    matrix = side_data(frame, "DISPLAYMATRIX")
    if matrix is None:
        return 0, False
    (a, b, _), (c, d, _), _ = np.frombuffer(matrix, dtype=np.int32).reshape(3, 3).tolist()
    mirrored = a * d < b * c
    return round(math.atan2(-b, -a if mirrored else a) / (math.pi / 2)) % 4, mirrored
