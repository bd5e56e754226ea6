"""A segmentation of the video, from a second file."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from einops import rearrange

from modalities.errors import SampleError
from modalities.files.media import opened, video_stream
from modalities.shapes import Shaped, Tensor
from modalities.video.hints.hint import CELL, DecodedWindows, Hint

if TYPE_CHECKING:
    from av import VideoFrame

REMEDY = "write grey levels without loss: ffmpeg -i FILE -c:v ffv1 -pix_fmt gray regions.mkv"


class Regions(Hint):
    """Which class each place belongs to, read at the same moments from the file in the manifest's column `regions`.

    That file is a losslessly coded video (FFV1, or H.264 with qp=0) or, for a static scene, one image. Its
    grey levels or palette indices are the classes. It must have the framing of the video, but may be smaller.
    """

    dtype = torch.uint8

    def maps(self, windows: DecodedWindows) -> Shaped[Tensor, "n t h w"]:
        path = windows.source.get("regions") if isinstance(windows.source, dict) else None
        if path is None:
            remedy = "fill the manifest's column `regions` (docs/data.md), or drop the row"
            raise SampleError(windows.source, "has no file of regions, which `hint: regions` reads", remedy)
        window = (min(windows.starts), max(windows.starts) + windows.duration)

        def take(frame: VideoFrame, aspect: Fraction | int, note: Any) -> np.ndarray:
            return self.frames.framing(frame, aspect).cells(classes(frame, path), CELL)

        refuse_lossy(path)
        found = self.frames.read(path, windows.moments, window, take, still_lasts=True)
        return rearrange(torch.from_numpy(np.stack(found)), "(n t) h w -> n t h w", n=len(windows.starts))


def refuse_lossy(path: Any) -> None:
    """A codec that cannot keep a grey level cannot keep a class."""
    with opened(path) as container:
        stream = video_stream(container)
        codec = None if stream is None else stream.codec_context.codec
        if codec is not None and not codec.lossless:
            raise SampleError(path, f"is {codec.name}, which changes grey levels, and so classes", REMEDY)


def classes(frame: VideoFrame, path: Any) -> np.ndarray:
    """The stored levels of a frame, uint8 (h, w): never converted, since a class is no brightness."""
    form = frame.format
    if form.name != "pal8" and (form.is_rgb or form.components[0].bits != 8):
        raise SampleError(path, f"holds {form.name} pictures, not one byte a pixel that names its class", REMEDY)
    plane: Any = frame.planes[0]
    rows = np.frombuffer(plane, dtype=np.uint8).reshape(-1, plane.line_size)
    return rows[: frame.height, : frame.width]
