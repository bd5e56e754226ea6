"""Optical flow between the pictures of a clip."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from einops import rearrange
from torch.nn.functional import adaptive_avg_pool2d

from modalities.errors import SampleError
from modalities.shapes import Float, Tensor
from modalities.video.hints.hint import CELL, DecodedWindows, Hint


class Flow(Hint):
    """Optical flow from each frame to the next: dense inverse search (DIS, arXiv:1603.03590) by OpenCV.

    Velocities (across, down) in widths and heights of the picture per second; those of the last picture come from the
    one before it. One picture alone does not move.

    Raises:
        SampleError: OpenCV, which the extra `flow` installs, is not there.
    """

    vector = True

    def maps(self, windows: DecodedWindows) -> Float[Tensor, "n t 2 h w"]:
        try:
            import cv2
        except ImportError:
            remedy = "install it: pip install opencv-python-headless (or mmmae[flow])"
            raise SampleError(windows.source, "needs OpenCV for `hint: flow`, which is not installed", remedy) from None
        cv2.setNumThreads(1)  # the loader's workers are the parallel ones
        engine: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        n, t, _, height, width = windows.clips.shape
        grey = windows.clips.float().mean(2).round().to(torch.uint8).numpy()
        moved = np.zeros((n, t, height, width, 2), dtype=np.float32)
        for clip, field in zip(grey, moved, strict=True):
            for i in range(t if t > 1 else 0):
                there, back = clip[i], clip[i + 1 if i + 1 < t else i - 1]
                field[i] = engine.calc(there, back, None) * (1 if i + 1 < t else -1)
        unit = torch.tensor([width, height]) * windows.duration / t  # pixels between pictures -> pictures per second
        velocity = rearrange(torch.from_numpy(moved) / unit, "n t h w c -> (n t) c h w")
        cells = (-(-height // CELL), -(-width // CELL))
        return rearrange(adaptive_avg_pool2d(velocity, cells), "(n t) c h w -> n t c h w", n=n)
