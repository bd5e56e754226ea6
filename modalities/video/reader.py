"""Video: frames of a recording over a time window, as pictures of one size: uint8, or float32 of a stated range."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from einops import rearrange

from modalities.errors import SampleError
from modalities.files.extent import assumed
from modalities.reader import Reader, Reading
from modalities.shapes import Shaped, Tensor
from modalities.video import deep, hints, instances
from modalities.video.contents import PictureContents
from modalities.video.frames import Frames, facts, path_of, seconds
from modalities.video.framing import Framing

if TYPE_CHECKING:
    from av import VideoFrame

    Take = Callable[[VideoFrame, Fraction | int, Any], Any]  # a frame, its pixels' aspect, what a hint noted of it


class VideoReader(Reader):
    """Reads `frames` pictures, one on display at the centre of each of as many equal parts of the window.

    Choosing by time stamps makes this right for any frame rate, also a variable one. The decoder starts at the last
    key frame before the window and stops with it, and skips packets that no shown frame needs
    (modalities/files/skip_packets.py); each chosen frame is converted and resized in a single pass. An image file is a
    recording of one frame with no time of its own.

    Args:
        frames: how many pictures cover the window.
        size: height and width of the picture; one number means a square.
        channels: 3 (red, green, blue) or 1 (grey).
        fit: "crop" keeps the proportions and cuts off what juts out, "stretch" distorts to keep everything.
        hint: what is read along for a masking to follow: a file in `modalities/video/hints`, or a dotted name.
        boxes: read what the manifest's column `boxes` marks in the frame that is nearest to the middle of the window, a
            picture for each of at most `frames` instances (n, c, h, w), in place of `frames` frames. A window without
            boxes is absent; take a tokenizer of `tube: 1`.
        range: lowest and highest number of pictures that hold measurements (depth, temperature: 16-bit or float, grey
            mostly); they are read as float32, 0 at the lowest and 1 at the highest. None reads 8-bit levels.
    """

    pads = False

    def __init__(
        self,
        *,
        frames: int = 16,
        size: int | tuple[int, int] = 224,
        channels: int = 3,
        fit: Literal["crop", "stretch"] = "crop",
        hint: str | None = None,
        boxes: bool = False,
        range: tuple[float | int, float | int] | None = None,
    ):
        height, width = (size, size) if isinstance(size, int) else size
        if frames < 1:
            raise ValueError(f"video frames={frames}: expected at least 1")
        if min(height, width) < 1:
            raise ValueError(f"video size={size}: expected pixels, at least 1 each way")
        if channels not in (1, 3):
            raise ValueError(f"video channels={channels}: files are read as 3 (colour) or 1 (grey)")
        if fit not in ("crop", "stretch"):
            raise ValueError(f"video fit={fit!r}: expected 'crop' or 'stretch'")
        if range is not None:
            deep.require_range(range)
        if boxes and (range is not None or hint is not None):
            raise ValueError("video boxes=true: pictures of instances come in 8-bit levels and without a hint")
        self.boxes = boxes
        self.frames, self.height, self.width, self.channels, self.fit = frames, height, width, channels, fit
        self.range = None if range is None else (float(range[0]), float(range[1]))
        self.hint = None if hint is None else hints.find(hint)
        self.form = "rgb24" if channels == 3 else "gray"
        self.shots = Frames(frames, height, width, fit)

    def seconds(self, source: Any) -> float | None:
        return seconds(source)

    def still(self, source: Any) -> bool:
        return facts(path_of(source))["still"]

    def describe(self, source: Any) -> dict[str, Any]:
        path = path_of(source)
        found = {"seconds": self.seconds(path), **facts(path)}
        return {key: value for key, value in found.items() if key != "still" and value is not None}

    def thorough(self) -> VideoReader:
        reader = copy(self)
        reader.shots = Frames(self.frames, self.height, self.width, self.fit, skips=False)
        return reader

    def read(self, source: Any, start: float, duration: float) -> Reading | None:
        return self.read_windows(source, [start], duration)[0]

    def read_windows(self, source: Any, starts: Sequence[float], duration: float) -> list[Reading | None]:
        """All windows from one pass of the decoder."""
        if self.boxes:
            return self.read_boxes(source, starts, duration)
        moments = [start + duration * (i + 0.5) / self.frames for start in starts for i in range(self.frames)]
        hint = None if self.hint is None else self.hint(self.shots)
        path, remarks = path_of(source), dict[str, None]()

        def take(frame: VideoFrame, aspect: Fraction | int, note: Any) -> tuple[np.ndarray, Framing, Any]:
            framing = self.shots.framing(frame, aspect)
            picture, found = self.picture(frame, framing, path)
            remarks.update(dict.fromkeys(found))
            return picture, framing, note

        window = (min(starts), max(starts) + duration)
        taken, framings, notes = zip(*self.shots.read(path, moments, window, take, hint), strict=True)
        clips = self.empty(len(starts))
        for place, picture in zip(clips.flatten(0, 1).numpy(), taken, strict=True):
            np.copyto(place, rearrange(picture, "h w c -> c h w"))
        notes_of_file = (*assumed(path), *remarks)
        if hint is None:
            return [Reading(clip, self.frames, notes=notes_of_file) for clip in clips]
        levels = clips if self.range is None else (clips * 255).round().to(torch.uint8)
        windows = hints.DecodedWindows(source, levels, framings, notes, moments, starts, duration)
        found = zip(clips, hint.maps(windows), strict=True)
        return [Reading(clip, self.frames, hint=maps, notes=notes_of_file) for clip, maps in found]

    def read_boxes(self, source: Any, starts: Sequence[float], duration: float) -> list[Reading | None]:
        """The instances of each window; None where it has none.

        Raises:
            SampleError: a frame has more than there is room for.
        """
        windows = [instances.marked(source, start, duration) for start in starts]
        if most := max((len(boxes) for boxes in windows if len(boxes) > self.frames), default=0):
            reason = f"{most} boxes mark one frame, the recipe reads {self.frames}"
            raise SampleError(path_of(source), reason, f"set `frames={most}`, or drop some")
        there = [boxes for boxes in windows if boxes]
        found = iter(instances.read(source, there, self.shots, self.form) if there else ())
        readings: list[Reading | None] = []
        for boxes in windows:
            values = self.empty(1)[0].zero_()
            if boxes:
                values[: len(boxes)] = next(found)
            readings.append(Reading(values, len(boxes)) if boxes else None)
        return readings

    def contents(self) -> PictureContents:
        return PictureContents()

    def blank(self, duration: float) -> Reading:
        return Reading(
            self.empty(1)[0].zero_(), 0, hint=self.hint and self.hint.blank(self.frames, self.height, self.width)
        )

    def empty(self, windows: int) -> Shaped[Tensor, "windows t c h w"]:
        """Clips that are still to be filled."""
        dtype = torch.uint8 if self.range is None else torch.float32
        return torch.empty(windows, self.frames, self.channels, self.height, self.width, dtype=dtype)

    def picture(self, frame: VideoFrame, framing: Framing, source: Any) -> tuple[np.ndarray, Sequence[str]]:
        """The picture (h, w, c) of a frame, and what there is to note about it."""
        if self.range is None:
            note = deep.require_levels(frame, source)
            return framing.picture(frame, self.form), () if note is None else (note,)
        values, notes = deep.scaled(frame, self.range, self.channels, source)
        return framing.values(values), notes
