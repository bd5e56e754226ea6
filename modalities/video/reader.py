"""Video: frames of a recording over a time window, as pictures of one size: uint8, or float32 of a stated range."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from einops import rearrange

from modalities.clock import TICK, period
from modalities.decoding import decode
from modalities.errors import SampleError
from modalities.extent import assumed, lasting
from modalities.media import film, kind_of, opened, remembered, still
from modalities.reader import Reader, Reading
from modalities.shapes import Shaped, Tensor
from modalities.video import deep, hints, tiff
from modalities.video.contents import PictureContents
from modalities.video.framing import Framing

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

    Take = Callable[[VideoFrame, Fraction | int, Any], Any]  # a frame, its pixels' aspect, what a hint noted of it


class VideoReader(Reader):
    """Reads `frames` pictures, one on display at the centre of each of as many equal parts of the window.

    Choosing by time stamps makes this right for any frame rate, also a variable one. The decoder starts at the last
    key frame before the window and stops with it, and is spared what nobody needs (modalities/sparing.py); each chosen
    frame is converted and resized in a single pass. An image file is a recording of one frame with no time of its own.

    Args:
        frames: how many pictures cover the window.
        size: height and width of the picture; one number means a square.
        channels: 3 (red, green, blue) or 1 (grey).
        fit: "crop" keeps the proportions and cuts off what juts out, "stretch" distorts to keep everything.
        hint: what is read along for a masking to follow: a file in `modalities/video/hints`, or a dotted name.
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
        self.frames, self.height, self.width, self.channels, self.fit = frames, height, width, channels, fit
        self.range = None if range is None else (float(range[0]), float(range[1]))
        self.hint = None if hint is None else hints.find(hint)
        self.form = "rgb24" if channels == 3 else "gray"
        self.spares = True  # whether frames that are not shown may be left undecoded

    def seconds(self, source: Any) -> float | None:
        found = lasting(path_of(source), "video")
        if found is None:
            facts(path_of(source))
        return found

    def describe(self, source: Any) -> dict[str, Any]:
        path = path_of(source)
        found = {"seconds": self.seconds(path), **facts(path)}
        return {key: value for key, value in found.items() if key != "still" and value is not None}

    def thorough(self) -> VideoReader:
        reader = copy(self)
        reader.spares = False
        return reader

    def read(self, source: Any, start: float, duration: float) -> Reading:
        return self.read_windows(source, [start], duration)[0]

    def read_windows(self, source: Any, starts: Sequence[float], duration: float) -> list[Reading]:
        """All windows from one pass of the decoder."""
        moments = [start + duration * (i + 0.5) / self.frames for start in starts for i in range(self.frames)]
        hint = None if self.hint is None else self.hint(self)
        path, remarks = path_of(source), dict[str, None]()

        def take(frame: VideoFrame, aspect: Fraction | int, note: Any) -> tuple[np.ndarray, Framing, Any]:
            framing = self.framing(frame, aspect)
            picture, found = self.picture(frame, framing, path)
            remarks.update(dict.fromkeys(found))
            return picture, framing, note

        window = (min(starts), max(starts) + duration)
        taken, framings, notes = zip(*self.shots(path, moments, window, take, hint), strict=True)
        clips = self.empty(len(starts))
        for place, picture in zip(clips.flatten(0, 1).numpy(), taken, strict=True):
            np.copyto(place, rearrange(picture, "h w c -> c h w"))
        told = (*assumed(path), *remarks)
        if hint is None:
            return [Reading(clip, self.frames, notes=told) for clip in clips]
        levels = clips if self.range is None else (clips * 255).round().to(torch.uint8)
        film = hints.Film(source, levels, framings, notes, moments, starts, duration)
        found = zip(clips, hint.maps(film), strict=True)
        return [Reading(clip, self.frames, hint=maps, notes=told) for clip, maps in found]

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

    def shots(
        self,
        path: Any,
        moments: Sequence[float],
        window: tuple[float, float],
        take: Take,
        hint: hints.Hint | None = None,
        still_lasts: bool = False,
    ) -> list[Any]:
        """What `take` makes of the frame on display at each moment, from one pass of the decoder.

        window: the seconds that the file must cover. still_lasts: whether an image may stand for many frames.
        """
        with opened(path) as container:
            stream = pictures(container, path)
            if hint is not None:
                hint.ask(stream)
            if still(container):
                return [take(self.only(container, stream, path, still_lasts), 1, None)] * len(moments)
            order = sorted(range(len(moments)), key=moments.__getitem__)
            shown = self.shown(container, stream, path, [moments[i] for i in order], *window, take, hint)
        return [shot for _, shot in sorted(zip(order, shown, strict=True), key=lambda pair: pair[0])]

    def only(self, container: InputContainer, stream: VideoStream, source: Any, lasts: bool) -> VideoFrame:
        """The frame of an image file."""
        if self.frames != 1 and not lasts:
            reason = f"is an image, one frame, but {self.frames} frames are read"
            raise SampleError(source, reason, "train on images with `frames=1`, or drop the row")
        frame = tiff.decode(source) if stream.codec_context.name == "tiff" else None
        frame = next(container.decode(stream), None) if frame is None else frame
        if frame is None:
            raise SampleError(source, "holds no picture", "mend the file or drop the row")
        return frame

    def shown(
        self,
        container: InputContainer,
        stream: VideoStream,
        source: Any,
        wanted: list[float],
        start: float,
        stop: float,
        take: Take,
        hint: hints.Hint | None,
    ) -> list[Any]:
        """What is on display at each wanted moment of [start, stop): the last frame stamped at or before it."""
        usual = period(stream)  # also how far a window may reach over either end
        aspect = stream.sample_aspect_ratio or 1
        chosen: list[Any] = []
        held, note, shot, begun = None, None, None, 0.0
        if start < -usual:
            raise SampleError(source, f"the window starts at {start:g} s, before the recording", "mend the row's start")
        shown = wanted if hint is None and self.spares else ()
        for time, frame in decode(container, stream, max(wanted[0], 0.0), shown, None if hint is None else hint.ask):
            if held is None and time > wanted[0] + usual + TICK:
                raise SampleError(source, f"nothing before {time:.2f} s can be decoded", "re-encode it or drop the row")
            while held is not None and len(chosen) < len(wanted) and wanted[len(chosen)] + TICK < time:
                shot = take(held, aspect, note) if shot is None else shot
                chosen.append(shot)
            held, shot = frame, shot if len(chosen) == len(wanted) else None
            note = None if hint is None else hint.note(frame)
            begun = time
            if len(chosen) == len(wanted) and begun + lasts(held, usual) >= stop - usual - TICK:
                return chosen
        end = begun if held is None else begun + lasts(held, usual)
        if held is None or end < stop - usual - TICK:
            raise self.too_short(source, start, stop, end, usual)
        shot = take(held, aspect, note) if shot is None else shot
        return chosen + [shot] * (len(wanted) - len(chosen))

    def framing(self, frame: VideoFrame, aspect: Fraction | int) -> Framing:
        """Where the picture lies in a frame. `aspect` is the width of its pixels over their height."""
        return Framing.of(frame, aspect, self.height, self.width, self.fit)

    def too_short(self, source: Any, start: float, stop: float, end: float, period: float) -> SampleError:
        """Why the decoder stopped before the window did: the recording is short, or its file is cut off."""
        says, window = self.seconds(source), f"the window [{start:g}, {stop:g}) s"
        if says is not None and says >= stop - period:
            rest = f"only what is before {end:.2f} s" if end else "nothing"
            reason = f"says it lasts {says:.2f} s, but of {window} {rest} can be decoded"
            return SampleError(source, reason, "the file is cut off or damaged: copy it again or drop the row")
        reason = f"lasts {says or end:.2f} s, which does not cover {window}"
        return SampleError(source, reason, "choose a shorter `window=...` or drop the row")


@remembered
def facts(path: Any) -> dict[str, Any]:
    """What the headers of a film or an image tell of it; `still`: whether it is an image."""
    with opened(path) as container:
        stream = pictures(container, path)
        context, rate, is_still = stream.codec_context, stream.average_rate or stream.guessed_rate, still(container)
        return {
            "still": is_still,
            "rate": float(rate) if rate and not is_still else None,
            "size": None if context is None else f"{context.width}x{context.height}",
            "codec": None if context is None else context.name,
            "container": kind_of(container),
        }


def path_of(source: Any) -> Any:
    """The film itself where a source names what belongs to it, too."""
    return source["path"] if isinstance(source, dict) else source


def pictures(container: InputContainer, source: Any) -> VideoStream:
    """The video stream of a file that must have one."""
    stream = film(container)
    if stream is None:
        raise SampleError(source, "has no video stream", "name a video, or leave the row's video empty")
    return stream


def lasts(frame: VideoFrame, period: float) -> float:
    """Seconds that a frame is on display; the period where its packet does not tell."""
    return float(frame.duration * frame.time_base) if frame.duration and frame.time_base else period
