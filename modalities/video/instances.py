"""Instances: what the column `boxes` marks in the frames of a video, as one picture each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.functional import interpolate

from modalities.shapes import Shaped, Tensor
from modalities.video.frames import Frames, path_of
from modalities.video.framing import Framing, orientation

if TYPE_CHECKING:
    from av import VideoFrame

Box = Mapping[str, Any]


def marked(source: Any, start: float, duration: float) -> list[Box]:
    """The boxes of the marked frame that is nearest to the middle of a window and in it: start <= time < its end."""
    boxes = (source.get("boxes") if isinstance(source, dict) else None) or ()
    times = {box["time"] for box in boxes if start <= box["time"] < start + duration}
    if not times:
        return []
    nearest = min(times, key=lambda time: (abs(time - start - duration / 2), time))
    return [box for box in boxes if box["time"] == nearest]


def read(source: Any, windows: Sequence[Sequence[Box]], shots: Frames, form: str) -> list[Shaped[Tensor, "n c h w"]]:
    """The pictures of the boxes of each window, upright and stretched to one size, from one pass of the decoder.

    windows: the boxes of one frame each, at least one. shots: gives the size. form: the pixel format.

    Raises:
        SampleError: the frames cannot be decoded.
    """
    moments = [boxes[0]["time"] for boxes in windows]
    path = path_of(source)

    def take(frame: VideoFrame, aspect: Fraction | int, note: Any) -> np.ndarray:
        turned = orientation(frame)[0] % 2
        height, width = (frame.width, frame.height) if turned else (frame.height, frame.width)
        return np.ascontiguousarray(Framing.of(frame, aspect, height, width, "stretch").picture(frame, form))

    reach = (min(moments), max(moments))  # only the frames themselves are needed
    frames = shots.read(path, moments, reach, take, still_lasts=True)
    return [
        torch.stack([cut(frame, box["box"], shots.height, shots.width) for box in boxes])
        for frame, boxes in zip(frames, windows, strict=True)
    ]


def cut(frame: np.ndarray, box: Sequence[float], height: int, width: int) -> Shaped[Tensor, "c h w"]:
    """What a box (left, top, right, bottom; shares of the picture) holds of a picture (h, w, c), at least a pixel."""
    down, across = frame.shape[:2]
    left, right = edges(box[0], box[2], across)
    top, bottom = edges(box[1], box[3], down)
    picture = torch.from_numpy(frame[top:bottom, left:right]).permute(2, 0, 1)[None].float()
    scaled = interpolate(picture, (height, width), mode="bilinear", antialias=True)
    return scaled.round().clamp(0, 255).to(torch.uint8)[0]


def edges(low: float, high: float, size: int) -> tuple[int, int]:
    """First pixel and the one after the last of a stretch of `size` pixels."""
    first = min(int(np.floor(low * size)), size - 1)
    return first, max(int(np.ceil(high * size)), first + 1)
