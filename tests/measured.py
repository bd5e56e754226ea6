"""Pictures of measurements, written as files that no common writer makes."""

from __future__ import annotations

import struct
from pathlib import Path

import av
import numpy as np
import torch

from modalities.video import VideoReader

DEPTH = (np.arange(64 * 96).reshape(64, 96) * 10 + 7).astype(np.uint16)  # 7 to 61437
PHOTO = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)


def read(path: Path, span: float = 0.2, **settings) -> torch.Tensor:
    return VideoReader(**{"frames": 1, "size": (64, 96), "channels": 1} | settings).read(str(path), 0.0, span).values


def noted(path: Path, **settings) -> tuple[str, ...]:
    return VideoReader(**{"frames": 1, "size": (64, 96), "channels": 1} | settings).read(str(path), 0.0, 0.2).notes


def expected(values: np.ndarray, low: float, high: float) -> torch.Tensor:
    return torch.from_numpy((values.astype(np.float64) - low) / (high - low)).float().clamp(0, 1)


def write_frames(path: Path, form: str, frames: list[np.ndarray], codec: str = "ffv1", **options: str) -> Path:
    """Frames of one pixel format (planes (h, w) in FFmpeg's order) without loss."""
    still = {"format": "image2", "options": {"update": "1"}} if path.suffix == ".exr" else {}
    with av.open(str(path), "w", **still) as container:
        stream = container.add_stream(codec, rate=10, options=options)
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[-2:], form
        for i, planes in enumerate(frames):
            frame = av.VideoFrame(planes.shape[-1], planes.shape[-2], form)
            frame.pts = i
            for plane, values in zip(frame.planes, planes.reshape(-1, *planes.shape[-2:]), strict=True):
                rows = np.zeros((frame.height, plane.line_size // values.itemsize), dtype=values.dtype)
                rows[:, : frame.width] = values
                plane.update(rows.tobytes())
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_tiff(path: Path, picture: np.ndarray, tile: int = 0) -> Path:
    """An uncompressed TIFF, in square tiles where asked for: what Pillow cannot write."""
    height, width, *colours = picture.shape
    parts = [picture]
    if tile:
        parts = [picture[y : y + tile, x : x + tile] for y in range(0, height, tile) for x in range(0, width, tile)]
    data = b"".join(part.tobytes() for part in parts)
    size, count = len(parts[0].tobytes()), colours[0] if colours else 1
    starts = [8 + size * i for i in range(len(parts))]
    more, place = b"", 8 + len(data)

    def field(kind: int, *numbers: int) -> bytes:
        nonlocal more
        packed = struct.pack(f"<{len(numbers)}{'H' if kind == 3 else 'I'}", *numbers)
        if len(packed) > 4:
            more, packed = more + packed, struct.pack("<I", place + len(more))
        return struct.pack("<HI", kind, len(numbers)) + packed.ljust(4, b"\0")

    tags = {
        256: field(4, width), 257: field(4, height), 258: field(3, *[picture.dtype.itemsize * 8] * count),
        259: field(3, 1), 262: field(3, 2 if count == 3 else 1), 277: field(3, count),
        339: field(3, *[{"u": 1, "i": 2, "f": 3}[picture.dtype.kind]] * count),
    }  # fmt: skip
    sizes = [size] * len(parts)
    if tile:
        tags |= {322: field(4, tile), 323: field(4, tile), 324: field(4, *starts), 325: field(4, *sizes)}
    else:
        tags |= {273: field(4, *starts), 278: field(4, height), 279: field(4, *sizes)}
    entries = b"".join(struct.pack("<H", tag) + tags[tag] for tag in sorted(tags))
    path.write_bytes(
        b"II*\0"
        + struct.pack("<I", place + len(more))
        + data
        + more
        + struct.pack("<H", len(tags))
        + entries
        + bytes(4)
    )
    return path
