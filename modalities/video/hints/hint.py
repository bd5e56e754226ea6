"""Maps of low resolution for guided masking, read with a video, and pooled to one number for each tube.

The type of the maps determines how they are resampled, mirrored and pooled:

    float (b, t, h, w)      a score: averaged
    uint8 (b, t, h, w)      classes: the nearest, the most frequent
    float (b, t, 2, h, w)   a velocity, across and down, in widths and heights of the picture per second: averaged, and
                            turned round and scaled with the picture
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from einops import rearrange
from torch.nn.functional import adaptive_avg_pool3d

from modalities.shapes import Float, Int, Shaped, Tensor
from modalities.video.frames import Frames
from modalities.video.framing import Framing

if TYPE_CHECKING:
    from av import VideoFrame
    from av.video.stream import VideoStream

CELL = 4  # pixels of the picture, each way, that share one value of a map


@dataclass(frozen=True)
class DecodedWindows:
    """The windows that a reader decoded from a source in one pass: n windows of t frames.

    clips: uint8 (n, t, c, h, w). framings, notes, moments (seconds): of each picture, n * t.
    starts: where the windows begin, and `duration`, how long each is, in seconds.
    """

    source: Any
    clips: Tensor
    framings: Sequence[Framing]
    notes: Sequence[Any]
    moments: Sequence[float]
    starts: Sequence[float]
    duration: float


class Hint(ABC):
    """Base class of hints: computes the maps of one source; `hint: NAME` is `modalities/video/hints/NAME.py`.

    dtype, vector: what the maps are, see above.
    """

    dtype: ClassVar[torch.dtype] = torch.float32
    vector: ClassVar[bool] = False

    def __init__(self, frames: Frames):
        self.frames = frames

    @classmethod
    def blank(cls, frames: int, height: int, width: int) -> Tensor:
        """The maps (t, [2,] h, w) of an absent clip of `height` x `width` pixels: zeros."""
        axes = (2,) if cls.vector else ()
        return torch.zeros(frames, *axes, -(-height // CELL), -(-width // CELL), dtype=cls.dtype)

    def ask(self, stream: VideoStream) -> None:  # noqa: B027 (most need nothing)
        """Configure the decoder, before it starts, for what it should export with the frames."""

    def note(self, frame: VideoFrame) -> Any:  # noqa: B027 (nor keep anything)
        """What to keep of a frame; called for every decoded one, in display order."""

    @abstractmethod
    def maps(self, windows: DecodedWindows) -> Shaped[Tensor, "n t ..."]:
        """The maps of all windows: (n, t, [2,] h, w)."""


def pooled(hint: Shaped[Tensor, "b t ..."], grid: tuple[int, int, int]) -> Float[Tensor, "b n ..."]:
    """One value (a velocity: two) for each tube of a grid of time, row and column."""
    if hint.is_floating_point():
        vector = hint.ndim == 5
        x = rearrange(hint, "b t c h w -> b c t h w") if vector else hint[:, None]
        x = rearrange(adaptive_avg_pool3d(x, grid), "b c t h w -> b (t h w) c")
        return x if vector else x[..., 0]
    cells = [-(-size // parts) for size, parts in zip(hint.shape[1:], grid, strict=True)]
    for axis, (each, parts) in enumerate(zip(cells, grid, strict=True), 1):  # a grid may divide a cell
        hint = hint.index_select(axis, spread(hint.shape[axis], each * parts, hint.device))
    parts = rearrange(
        hint, "b (t p) (h q) (w r) -> b (t h w) (p q r)",
        t=grid[0], h=grid[1], w=grid[2], p=cells[0], q=cells[1], r=cells[2],
    )  # fmt: skip
    return parts.mode(-1).values.float()


def spread(size: int, places: int, device: torch.device) -> Int[Tensor, " places"]:
    """The nearest of `size` cells for each of `places` on the same line."""
    return (torch.arange(places, device=device) * 2 + 1) * size // (2 * places)
