"""The frames of a file on display at given times, from one pass of the decoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from modalities.errors import SampleError
from modalities.files.cache import remembered
from modalities.files.clock import TICK, period
from modalities.files.decoding import decode
from modalities.files.extent import lasting
from modalities.files.media import kind_of, opened, still, video_stream
from modalities.video import tiff
from modalities.video.framing import Framing

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

    Take = Callable[[VideoFrame, Fraction | int, Any], Any]  # a frame, its pixels' aspect, what was noted of it


@runtime_checkable
class Along(Protocol):
    """Something that is read along with the frames, such as the codec's motion vectors."""

    def ask(self, stream: VideoStream) -> None:
        """Prepare the decoder, before it starts."""

    def note(self, frame: VideoFrame) -> Any:
        """What to keep of a frame; every decoded one comes by, in the order of display."""


class Frames:
    """Finds frames by time stamps, and where in them the picture of `height` x `width` pixels lies.

    Args:
        count: frames of a window.
        fit: see VideoReader.
        skips: whether packets of frames that are not shown may be left undecoded.
    """

    def __init__(self, count: int, height: int, width: int, fit: str, skips: bool = True):
        self.frames, self.height, self.width, self.fit, self.skips = count, height, width, fit, skips

    def read(
        self,
        path: Any,
        moments: Sequence[float],
        window: tuple[float, float],
        take: Take,
        along: Along | None = None,
        still_lasts: bool = False,
    ) -> list[Any]:
        """What `take` makes of the frame on display at each moment, from one pass of the decoder.

        window: the seconds that the file must cover. still_lasts: whether an image may be used for many frames.
        """
        with opened(path) as container:
            stream = pictures(container, path)
            if along is not None:
                along.ask(stream)
            if still(container):
                return [take(self.only(container, stream, path, still_lasts), 1, None)] * len(moments)
            order = sorted(range(len(moments)), key=moments.__getitem__)
            shown = self.shown(container, stream, path, [moments[i] for i in order], *window, take, along)
        return [shot for _, shot in sorted(zip(order, shown, strict=True), key=lambda pair: pair[0])]

    def only(self, container: InputContainer, stream: VideoStream, source: Any, lasts: bool) -> VideoFrame:
        """The frame of an image file."""
        if self.frames != 1 and not lasts:
            reason = f"is an image, one frame, but {self.frames} frames are read"
            raise SampleError(source, reason, "train on images with `frames=1`, or drop the row")
        frame = tiff.decode(source) if stream.codec_context.name == "tiff" else None
        frame = next(container.decode(stream), None) if frame is None else frame
        if frame is None:
            raise SampleError(source, "holds no picture", "correct the file or drop the row")
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
        along: Along | None,
    ) -> list[Any]:
        """What is on display at each wanted moment of [start, stop): the last frame stamped at or before it."""
        usual = period(stream)  # also how far a window may reach over either end
        aspect = stream.sample_aspect_ratio or 1
        chosen: list[Any] = []
        held, note, shot, begun = None, None, None, 0.0
        if start < -usual:
            raise SampleError(source, f"the window starts at {start:g} s, before the recording", "correct its start")
        shown = wanted if along is None and self.skips else ()
        for time, frame in decode(container, stream, max(wanted[0], 0.0), shown, None if along is None else along.ask):
            if held is None and time > wanted[0] + usual + TICK:
                raise SampleError(source, f"nothing before {time:.2f} s can be decoded", "re-encode it or drop the row")
            while held is not None and len(chosen) < len(wanted) and wanted[len(chosen)] + TICK < time:
                shot = take(held, aspect, note) if shot is None else shot
                chosen.append(shot)
            held, shot = frame, shot if len(chosen) == len(wanted) else None
            note = None if along is None else along.note(frame)
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
        stated, window = seconds(source), f"the window [{start:g}, {stop:g}) s"
        if stated is not None and stated >= stop - period:
            rest = f"only what is before {end:.2f} s" if end else "nothing"
            reason = f"states a length of {stated:.2f} s, but of {window} {rest} can be decoded"
            return SampleError(source, reason, "the file is cut off or damaged: copy it again or drop the row")
        reason = f"lasts {stated or end:.2f} s, which does not cover {window}"
        return SampleError(source, reason, "choose a shorter `window=...` or drop the row")


def seconds(source: Any) -> float | None:
    """How long a video lasts; None for an image.

    Raises:
        SampleError: the file has no video stream.
    """
    found = lasting(path_of(source), "video")
    if found is None:
        facts(path_of(source))
    return found


@remembered
def facts(path: Any) -> dict[str, Any]:
    """Facts about a video or an image from its headers; `still`: whether it is an image."""
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
    """The video itself where a source names what belongs to it, too."""
    return source["path"] if isinstance(source, dict) else source


def pictures(container: InputContainer, source: Any) -> VideoStream:
    """The video stream of a file that must have one."""
    stream = video_stream(container)
    if stream is None:
        raise SampleError(source, "has no video stream", "name a video, or leave the row's video empty")
    return stream


def lasts(frame: VideoFrame, period: float) -> float:
    """Seconds that a frame is on display; the period if its packet does not state it."""
    return float(frame.duration * frame.time_base) if frame.duration and frame.time_base else period
