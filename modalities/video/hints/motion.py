"""Motion as the codec saw it: the lengths of its motion vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from einops import rearrange
from torch.nn.functional import adaptive_avg_pool2d

from modalities.shapes import Float, Tensor
from modalities.video.hints.hint import CELL, DecodedWindows, Hint
from modalities.video.sidedata import side_data

if TYPE_CHECKING:
    from av import VideoFrame
    from av.video.stream import VideoStream

BLOCK = 8  # pixels; codecs seldom move less


class Motion(Hint):
    """How far the codec moved each block of a frame, in pixels of the file (MGM, arXiv:2308.12962).

    Nothing is estimated: the vectors are decoded anyway. A key frame has none and holds those of the frame before.
    Codecs that export none (VP8, VP9, AV1, intra-only ones) and images fall back to the absolute difference to the
    frame before, in levels.
    """

    known: np.ndarray | None = None  # of the last frame that had any

    def ask(self, stream: VideoStream) -> None:
        from av.codec.context import Flags2

        stream.codec_context.flags2 |= Flags2.export_mvs

    def note(self, frame: VideoFrame) -> Any:
        vectors = side_data(frame, "MOTION_VECTORS")
        if vectors is not None:
            self.known = field(vectors.to_ndarray(), frame.height, frame.width)
        return self.known

    def maps(self, windows: DecodedWindows) -> Float[Tensor, "n t h w"]:
        n, t = windows.clips.shape[:2]
        first = next((field for field in windows.notes if field is not None), None)
        if first is None:
            return differences(windows.clips)
        cells = [
            framing.cells(first if field is None else field, CELL)
            for framing, field in zip(windows.framings, windows.notes, strict=True)
        ]
        return rearrange(torch.from_numpy(np.stack(cells)), "(n t) h w -> n t h w", n=n, t=t)


def field(vectors: np.ndarray, height: int, width: int) -> np.ndarray:
    """The longest vector of every block of BLOCK x BLOCK pixels: float32 (h, w). vectors: as libavutil exports them."""
    rows, columns = -(-height // BLOCK), -(-width // BLOCK)
    found = np.zeros((rows, columns), dtype=np.float32)
    length = np.hypot(vectors["motion_x"], vectors["motion_y"]) / np.maximum(vectors["motion_scale"], 1)
    top, left = vectors["dst_y"] - vectors["h"] // 2, vectors["dst_x"] - vectors["w"] // 2
    for down in range(0, int(vectors["h"].max(initial=0)), BLOCK):
        for across in range(0, int(vectors["w"].max(initial=0)), BLOCK):
            inside = (down < vectors["h"]) & (across < vectors["w"])
            row = ((top + down)[inside] // BLOCK).clip(0, rows - 1)
            column = ((left + across)[inside] // BLOCK).clip(0, columns - 1)
            np.maximum.at(found, (row, column), length[inside].astype(np.float32))
    return found


def differences(clips: Tensor) -> Float[Tensor, "n t h w"]:
    """How much each picture of clips (n, t, c, h, w) differs from the one before; the first from the second."""
    n, t, _, h, w = clips.shape
    grey = clips.float().mean(2)
    change = torch.zeros_like(grey)
    if t > 1:
        change[:, 1:] = (grey[:, 1:] - grey[:, :-1]).abs()
        change[:, 0] = change[:, 1]
    cells = (-(-h // CELL), -(-w // CELL))
    return rearrange(adaptive_avg_pool2d(rearrange(change, "n t h w -> (n t) h w"), cells), "(n t) h w -> n t h w", n=n)
