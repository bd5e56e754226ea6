"""Pictures whose values are measurements (depth, temperature, radiance) and not 8-bit levels of brightness."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from modalities.errors import SampleError

if TYPE_CHECKING:
    from av import VideoFrame
    from av.video.format import VideoFormat

MEASURED = 14  # bits of grey from which values are measurements; 9 to 12 bits are those of ordinary video
SQUEEZED = "colours of more than 8 bits are read as 8-bit levels"
CLIPPED = "values beyond `range` are read as its nearest end"
UNKNOWN = "pixels without a value (NaN) are read as the low end of `range`"


def require_range(ends: tuple[float | int, float | int]) -> None:
    """Refuse a range that is none.

    Raises:
        ValueError: the ends are no finite numbers, the lower one first.
    """
    if not (math.isfinite(ends[0]) and math.isfinite(ends[1]) and ends[0] < ends[1]):
        raise ValueError(f"video range={list(ends)}: expected the lowest and the highest value, e.g. [0, 65535]")


def is_float(form: VideoFormat) -> bool:
    """Whether a pixel format holds floating-point numbers."""
    return re.search(r"f(16|32)", form.name) is not None


def is_grey(form: VideoFormat) -> bool:
    """Whether a pixel format holds one number a pixel, with or without opacity."""
    return re.match(r"gray|ya\d|yaf", form.name) is not None


def depth(form: VideoFormat) -> int:
    """Bits of the widest component."""
    return max(component.bits for component in form.components)


def require_levels(frame: VideoFrame, source: Any) -> str | None:
    """Refuse to squeeze measurements into 8 bits; what there is to note where colours are.

    Raises:
        SampleError: the picture holds floats or 16-bit grey values, and the recipe states no range.
    """
    form = frame.format
    if is_float(form) or (is_grey(form) and depth(form) >= MEASURED):
        found = stored(frame, source)
        found = found[np.isfinite(found)]
        low, high = (found.min(), found.max()) if found.size else (0.0, 1.0)
        what = "floats" if is_float(form) else f"{depth(form)}-bit values"
        ends = f"{low:g},{high:g}" if is_float(form) else f"0,{2 ** depth(form) - 1}"
        remedy = (
            f"set `modalities.STREAM.range=[{ends}]` for the stream that reads it, or the range that all files fill"
        )
        raise SampleError(source, f"holds {what} ({low:g} to {high:g}) whose range the recipe does not state", remedy)
    return SQUEEZED if depth(form) > 8 and (form.is_rgb or is_grey(form)) else None


def stored(frame: VideoFrame, source: Any) -> np.ndarray:
    """The numbers that a picture stores, float32 (h, w, c), c = 1 or 3; opacity is left out.

    Raises:
        SampleError: it stores brightness and differences of colour (YUV), which have no scale of their own.
    """
    form = frame.format
    bits = depth(form)
    grey = is_grey(form)
    if is_float(form):
        return floats(frame)
    if bits == 16 and (grey or form.is_rgb):
        frame = frame.reformat(format="gray16le" if grey else "rgb48le")
    elif bits <= 8 and (grey or form.is_rgb or form.name in ("pal8", "monob", "monow")):
        frame = frame.reformat(format="gray" if grey else "rgb24")
    elif not grey:
        reason = f"holds {form.name} pictures, whose levels have no range of their own"
        raise SampleError(source, reason, "leave out `range` for ordinary video, or write grey or float pictures")
    found = frame.to_ndarray().astype(np.float32)
    return found[..., None] if found.ndim == 2 else found


def floats(frame: VideoFrame) -> np.ndarray:
    """The numbers of a picture of floats, float32 (h, w, c); FFmpeg's own conversions would clip them to [0, 1]."""
    name = frame.format.name
    if half := re.match(r"(gray|gbra?p)f16(le|be)", name):  # which PyAV does not turn into arrays
        planes: list[Any] = list(frame.planes)
        order = ">f2" if half[2] == "be" else "<f2"
        rows = [np.frombuffer(plane, dtype=order).reshape(-1, plane.line_size // 2) for plane in planes]
        rows = [rows[i][: frame.height, : frame.width] for i in ((0,) if half[1] == "gray" else (2, 0, 1))]
        return np.stack(rows, axis=-1).astype(np.float32)
    found = frame.to_ndarray().astype(np.float32)
    return found[..., None] if found.ndim == 2 else found[..., :3]


def scaled(
    frame: VideoFrame, ends: tuple[float | int, float | int], channels: int, source: Any
) -> tuple[np.ndarray, tuple[str, ...]]:
    """The numbers of a picture, 0 at one end of a range and 1 at the other: float32 (h, w, channels); and notes.

    Raises:
        SampleError: 8 bits cannot reach the end of the range; or there are colours, but one channel is read.
    """
    found, (low, high), notes = stored(frame, source), ends, []
    if depth(frame.format) <= 8 and high > 255:
        reason = f"holds 8-bit values, which cannot fill the range [{low:g}, {high:g}]"
        raise SampleError(source, reason, "convert it as the others are, or give such files a stream of their own")
    if (nothing := np.isnan(found)).any():
        found, notes = np.where(nothing, np.float32(low), found), [UNKNOWN]
    if found.min() < low or found.max() > high:
        notes.append(CLIPPED)
    if channels == 1 and found.shape[2] == 3:
        if (found != found[..., :1]).any():
            raise SampleError(source, "holds colours, but `channels: 1` is read", "set `channels: 3`")
        found = found[..., :1]
    unit = ((found.clip(low, high) - low) / (high - low)).astype(np.float32)
    return np.repeat(unit, channels // unit.shape[2], axis=2), tuple(notes)
