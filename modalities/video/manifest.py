"""Video in a manifest: the columns `video`, `regions` and `boxes`, and the videos and images of a folder."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, ClassVar

from modalities.files.suffixes import IMAGES, VIDEOS
from modalities.manifest.cells import listed, seconds
from modalities.manifest.columns import PATH, Cell, Columns, Files, Keep, fingerprint
from modalities.manifest.spelling import empty, name, plain

EXPECTED = 'a list of boxes such as [{"time": 1.5, "box": [0.1, 0.2, 0.4, 0.9], "id": "anna"}]'


def boxes(value: Any) -> list[dict[str, Any]]:
    """Instances in frames, in the order of time: {time, box, id, of}, each box in shares of the picture.

    A box is left, top, right, bottom, in pixels where `of` states the width and height of the picture.

    Raises:
        ValueError: says which box is wrong, and what was expected.
    """
    found = plain(listed(value))
    if not isinstance(found, list):
        raise ValueError(EXPECTED)
    made = [box(plain(one), f"box {number}") for number, one in enumerate(found, 1)]
    return sorted(made, key=lambda one: one["time"])


def box(value: Any, called: str) -> dict[str, Any]:
    """One instance."""
    if not isinstance(value, dict) or not {"time", "box"} <= value.keys() <= {"time", "box", "id", "of"}:
        raise ValueError(f"{EXPECTED} ({called} is {value!r:.60})")
    size = [1, 1] if value.get("of") is None else plain(value["of"])
    try:
        time, sides = seconds(plain(value["time"])), [float(side) for side in plain(value["box"])]
        width, height = (float(length) for length in size)
        left, top, right, bottom = (side / full for side, full in zip(sides, (width, height) * 2, strict=True))
    except (TypeError, ValueError, ZeroDivisionError):
        raise ValueError(f"{EXPECTED} ({called} is {value!r:.60})") from None
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        unit = "in shares of the picture, or in pixels with `of`: [width, height]"
        raise ValueError(f"boxes [left, top, right, bottom] {unit} ({called} is {value['box']!r:.60})")
    return {
        "time": time, "box": [left, top, right, bottom], "id": None if empty(value.get("id")) else name(value["id"]),
    }  # fmt: skip


class VideoColumns(Columns):
    """The path of a video or an image, that of a video of the numbers of regions in it, and boxes around instances."""

    extras: ClassVar[Mapping[str, Cell]] = {
        "regions": PATH,
        "boxes": Cell(boxes, [{"time": float, "box": [float], "id": str}]),
    }
    rates = ("video_rate",)
    files: ClassVar[Mapping[str, Files]] = {
        "video": Files(VIDEOS, "video", "videos", rank=0, certain=True),
        "image": Files(IMAGES, "image", "images", rank=1, certain=True),
    }
    same: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("video_path", "video_file", "video_filename", "video_filepath", "image", "image_path"), "video"
    )

    def source(self, row: Mapping[str, Any], path: Callable[[str], str]) -> Any | None:
        found = super().source(row, path)
        if found is None or not self.own:
            return found
        regions = {} if row["regions"] is None else {"regions": path(row["regions"])}
        marks = {} if row["boxes"] is None else {"boxes": row["boxes"]}
        return {"path": found, **regions, **marks} if regions or marks else found

    def stored(self, array: Any, rate: Any, keep: Keep) -> str:
        """A video without loss of frames (frames, h, w, 3) or (frames, h, w, 1), or an image (h, w, 3) or (h, w).

        Raises:
            ValueError: it is none of these in uint8, or the frames' rate is not known.
        """
        import numpy as np

        expected = "uint8 frames (frames, height, width, 3) or an image (height, width, 3)"
        if array.ndim == 4 and array.shape[1] in (1, 3) and array.shape[3] not in (1, 3):
            array = array.transpose(0, 2, 3, 1)
        if array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3):
            array = array[None] if array.ndim == 3 else array[None, ..., None]
        if array.dtype != np.uint8 or array.ndim != 4 or array.shape[3] not in (1, 3) or not array.size:
            remedy = ": (255 * x).round().astype('uint8')" if array.dtype.kind == "f" else ""
            raise ValueError(f"{expected}, not {array.dtype} of shape {array.shape}{remedy}")
        if len(array) > 1 and (not isinstance(rate, (int, float)) or not 0.01 <= rate <= 1000):
            raise ValueError(f"frames with `video_rate`, in frames per second (here {rate!r})")
        still = len(array) == 1
        fps = Fraction(25 if still else rate).limit_denominator(1001)
        end = ".png" if still else ".mkv"
        return keep(fingerprint(array, float(fps)), end, lambda: encoded(array, fps, end))


def encoded(array: Any, fps: Fraction, ending: str) -> bytes:
    """Frames as FFV1 in Matroska, or one as PNG: every pixel as it was."""
    import av
    import numpy as np

    file = io.BytesIO()
    grey, still = array.shape[3] == 1, ending == ".png"
    shown = "gray" if grey else "rgb24"
    stored = shown if still else "gray" if grey else "bgr0"
    with av.open(file, "w", format="image2pipe" if still else "matroska") as container:
        stream = container.add_stream("png" if still else "ffv1", rate=fps)
        stream.height, stream.width, stream.pix_fmt = array.shape[1], array.shape[2], stored
        for number, picture in enumerate(array[..., 0] if grey else array):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format=shown).reformat(format=stored)
            frame.pts, frame.time_base = number, 1 / fps
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()
