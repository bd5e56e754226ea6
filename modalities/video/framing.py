"""How a frame of a film becomes the picture that a reader gives: scaled, cut to the middle, turned upright."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from modalities.video.resampling import nearest, resample, resampling

if TYPE_CHECKING:
    from fractions import Fraction

    from av import VideoFrame


@dataclass(frozen=True)
class Framing:
    """Scale a frame to `down` x `across` pixels, keep the `height` x `width` in its middle, turn them upright.

    turns: quarter turns, counter-clockwise, after cutting.
    """

    down: int
    across: int
    height: int
    width: int
    turns: int

    @classmethod
    def of(cls, frame: VideoFrame, aspect: Fraction | int, height: int, width: int, fit: str) -> Framing:
        """The framing that gives an upright picture of `height` x `width`.

        aspect: width of the frame's pixels over their height. fit: see VideoReader.
        """
        turns = round(frame.rotation / 90) % 4
        height, width = (width, height) if turns % 2 else (height, width)
        down, across = height, width
        if fit == "crop":
            shape = float(frame.width * aspect / frame.height)
            down, across = max(height, round(width / shape)), max(width, round(height * shape))
        return cls(down, across, height, width, turns)

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
        return np.rot90(image[top : top + self.height, left : left + self.width], self.turns)

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
        return np.rot90(found.numpy().astype(field.dtype), self.turns)
