"""Opening media files with PyAV, and the clock that the film and the sound of one file share.

PyAV is imported where a file is opened, so that tokenizers work on machines that have torch but no decoder.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from functools import lru_cache, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from modalities import limits
from modalities.errors import InputError, SampleError
from modalities.sparing import Sparing
from modalities.structure import intact
from modalities.whole import REMEDY, require_data, require_end

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.video.stream import VideoStream

    Stream = AudioStream | VideoStream

# What is accepted as a recording: neither playlists nor whatever else makes FFmpeg open a second file or the network.
FILMS = (
    "mov matroska avi ogg mpeg mpegts mpegvideo flv asf mxf nut ivf dv rm h264 hevc obu m4v mjpeg yuv4mpegpipe vc1 wtv"
)
SOUNDS = "wav w64 aiff au caf flac mp3 aac ac3 eac3 amr dts tta wv ape tak dsf iff mpc mpc8 voc nistsphere sox truehd"
STILLS = "image2 gif apng png_pipe jpeg_pipe webp_pipe bmp_pipe tiff_pipe gif_pipe ppm_pipe pgm_pipe pbm_pipe pam_pipe"
STILLS += " j2k_pipe jpegxl_pipe jpegls_pipe exr_pipe dpx_pipe psd_pipe hdr_pipe qoi_pipe"
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")
OPTIONS = {
    "format_whitelist": ",".join([*FILMS.split(), *SOUNDS.split(), *STILLS.split()]),
    "protocol_whitelist": "file",
    "pattern_type": "none",  # "%d" in the name of an image is a percent sign and a d
    "max_pixels": str(limits.PIXELS),
}
GAP = 0.01  # seconds between two frames beyond how long the first lasts: a pause, or something is lost
TICK = 1e-3  # Matroska and FLV round their stamps to a millisecond
FRAME_BY_FRAME = ("h264", "hevc", "vp9", "av1", "mjpeg", "ffv1")  # every packet gives one frame (VP8 hides some)
REMEMBERED = 4096  # files of which something is remembered
STEPS_BACK = (0.0, 2.0, 20.0, float("inf"))  # seconds; an index by decoding order may lead behind the moment asked for

Found = TypeVar("Found")


def existing(source: Any) -> Path:
    """The path that a manifest row names.

    Raises:
        SampleError: it is no path, or no file is there.
    """
    if not isinstance(source, (str, os.PathLike)):
        raise SampleError(repr(source), f"expected a path, got {type(source).__name__}", "write the path as a string")
    try:
        if Path(source).is_file():
            if not Path(source).stat().st_size:
                raise SampleError(source, "is empty: it has 0 bytes", "copy or download it again, or drop the row")
            return Path(source)
    except InputError:
        raise
    except ValueError:  # a NUL character
        pass
    remedy = "mend the path (relative ones start at the manifest's folder) or drop the row"
    raise SampleError(source, "a folder, not a file" if Path(source).is_dir() else "no such file", remedy)


def remembered(measure: Callable[[Any], Found]) -> Callable[[Any], Found]:
    """What is measured of a file, asked once as long as its size and age stay; what it raises, it raises again."""

    @lru_cache(maxsize=REMEMBERED)
    def known(path: str, size: int, changed: int) -> Found:
        return measure(path)

    @wraps(measure)
    def asked(source: Any) -> Found:
        state = existing(source).stat()
        return known(os.fspath(source), state.st_size, state.st_mtime_ns)

    return asked


@remembered
def inspect_headers(source: Any) -> None:
    """Refuse a file whose headers claim too much, before any decoder sees it."""
    import av

    with av.open(f"file:{source}", options=OPTIONS | {"codec_whitelist": "none"}, metadata_errors="replace") as headers:
        limits.refuse_claims(headers, source)


@contextmanager
def opened(source: Any) -> Iterator[InputContainer]:
    """A media file, closed afterwards; whatever the decoder stumbles over inside becomes a SampleError.

    Only demuxers of FORMATS are tried and nothing but the file itself is opened. What its headers claim is checked
    before anything is decoded, and the decoder is told the largest picture: headers may lie.
    """
    import av

    path = existing(source)
    name = f"file:{path}"  # "file:": a colon is no protocol
    try:
        inspect_headers(source)
        with av.open(name, options=OPTIONS, metadata_errors="replace") as container:
            limits.refuse_claims(container, source)
            for stream in container.streams:
                if stream.codec_context is not None:
                    stream.codec_context.options = {"max_pixels": OPTIONS["max_pixels"]}
            yield container
    except InputError:
        raise
    except (av.FFmpegError, OSError, ValueError, OverflowError) as error:
        reason = f"cannot be decoded ({getattr(error, 'strerror', None) or error})"
        remedy = "play it to see whether it is a whole recording in a usual format; re-encode it or drop the row"
        if path.suffix.lower() in PICTURES:
            remedy = f"view it: it is damaged, or has more than {limits.PIXELS} pixels; save it anew or drop the row"
        raise SampleError(source, reason, remedy) from error


def film(container: InputContainer) -> VideoStream | None:
    """The first video stream that is no cover picture of a song."""
    from av.stream import Disposition

    return next((s for s in container.streams.video if not s.disposition & Disposition.attached_pic), None)


def sound(container: InputContainer) -> AudioStream | None:
    """The sound track that a player would choose, if there is one that can be decoded."""
    track: Any = container.streams.best("audio")
    return track if track is not None and track.codec_context is not None else None


def zero(container: InputContainer) -> float:
    """Where the recording's second 0 lies among the stamps of its file: at the first frame, else the first sample.

    Stamps need not begin at 0 (MPEG-TS), and sound may begin before or after the film: one zero keeps them in sync.
    """
    stream = film(container) or sound(container)
    return 0.0 if stream is None else float((stream.start_time or 0) * base(stream))


def base(stream: Stream) -> Fraction:
    """Seconds per unit of a stream's stamps."""
    return stream.time_base or Fraction(1, 1_000_000)


def length(container: InputContainer, stream: Stream) -> float:
    """Seconds from the recording's zero to the end of one of its streams, without decoding.

    Some containers (Matroska) only tell the end of their longest stream: there the last packets are looked at.

    Raises:
        SampleError: the file states a length that its data do not reach (see modalities/whole.py).
    """
    require_data(container)
    if stream.duration:
        return float(((stream.start_time or 0) + stream.duration) * base(stream)) - zero(container)
    if container.duration:
        seek(container, stream, container.duration / 1e6 - 1)
    ends: dict[int, float] = {}
    spans = [TICK if stream.type == "audio" else period(stream)]
    for packet in container.demux():
        if packet.pts is not None and packet.time_base is not None:
            span, number = float((packet.duration or 0) * packet.time_base), packet.stream.index
            ends[number] = max(ends.get(number, 0.0), float(packet.pts * packet.time_base) + span)
            spans.append(span)
    require_end(container, ends, max(spans) + 2 * TICK)
    return ends.get(stream.index, 0.0) - zero(container)


def period(stream: VideoStream) -> float:
    """Seconds from one frame to the next, as far as the file tells."""
    rate = stream.average_rate or stream.guessed_rate
    return float(1 / rate) if rate else 0.04


def seek(container: InputContainer, stream: Stream, moment: float) -> None:
    """Go to a key frame at or before a moment of the recording, if the container can (else stay at its beginning)."""
    import av

    # MPEG-TS looks for its first key frame after the very stamp that it has: stamp 0 is safely before.
    stamp = zero(container) + moment if moment > 0 else min(zero(container), 0.0)
    with contextlib.suppress(av.FFmpegError):
        container.seek(int(stamp / base(stream)), stream=stream)


def decode(
    container: InputContainer, stream: Stream, moment: float, shown: Sequence[float] = ()
) -> Iterator[tuple[float, Any]]:
    """Frames with their seconds in the recording, from the last key frame at or before `moment` (or the first of all).

    Film comes in the order of display, sound in its own; a container that cannot seek is decoded from its beginning.

    shown: ascending moments from `moment` on; where there are some, frames that are on display at none of them may be
        missing, until the last.

    Raises:
        SampleError: frames carry no time stamps.
    """
    if stream.codec_context is None:
        name = container.name.removeprefix("file:")
        raise SampleError(
            name, f"its {stream.type} is in a format that no decoder knows", "re-encode it or drop the row"
        )
    stream.codec_context.thread_count = 1  # the loader's workers are the parallel ones
    # AVI stamps only packets, and after a seek some give no frame: from the beginning their order tells the times.
    countable = container.format.name == "avi" and stream.type == "video" and stream.codec_context.has_b_frames
    for back in STEPS_BACK[-1:] if countable else STEPS_BACK:
        if back or moment > 0:  # it stands at its beginning, and a FLAC of one frame is used up by looking for it
            seek(container, stream, moment - back)
        frames = stamped(container, stream, shown)
        first = next(frames, None)
        if first is None and (stream.type == "audio" or back >= min(moment, STEPS_BACK[-2])):
            return  # elsewhere the last key frame of a film that has no index may have been missed
        if first is not None and (first[0] <= moment + TICK or back >= moment):
            yield first
            yield from frames
            return


def stamped(container: InputContainer, stream: Stream, shown: Sequence[float]) -> Iterator[tuple[float, Any]]:
    """Frames with their seconds in the recording, from where the container stands. shown: see `decode`."""
    import av

    origin, name = zero(container), container.name.removeprefix("file:")
    over, under = base(stream).as_integer_ratio()  # a quotient of integers is rounded like the fraction, and faster
    packets_only = container.format.name == "avi"  # the n-th frame shown takes the stamp of the n-th packet
    usual = 0.0 if stream.type == "audio" else period(stream)
    stamps: deque[int] = deque()
    time: float | None = None
    span, begun = 0.0, False
    due, lost = set(), 0  # stamps of packets that are still to give their frame
    countable = stream.type == "video" and stream.codec_context.name in FRAME_BY_FRAME
    sparing = Sparing(stream.codec_context, shown, TICK) if shown and not packets_only else None
    spared: dict[int, float] = {}  # stamps and seconds of frames that are left out

    def come(moment: float, lasts: float) -> None:
        nonlocal time, span
        paused = begun and time is not None and moment - time > max(span, usual) + GAP
        if paused and not intact(Path(name), container.format.name):
            raise SampleError(name, f"lacks what lies between {time:.2f} s and {moment:.2f} s", REMEDY)
        time, span = moment, lasts

    for packet in container.demux(stream):
        if packet.dts is not None:
            if packet.size == 0:  # "the same picture again"
                continue
            stamps.append(packet.dts)
            if countable and packet.pts is not None and not packet.is_discard:
                if sparing is not None and sparing.spares(packet, packet.pts * over / under - origin):
                    spared[packet.pts] = (packet.duration or 0) * over / under
                    continue
                due.add(packet.pts)
        try:
            frames: list[Any] = packet.decode()
        except av.FFmpegError:
            if begun:
                raise
            continue  # a seek may land in the middle of a packet
        for frame in frames:
            stamp = stamps.popleft() if packets_only and stamps else frame.pts
            if stamp is None and time is None:
                remedy = "put it into a container: `ffmpeg -i FILE -c copy FILE.mp4`"
                raise SampleError(name, "its frames carry no time stamps", remedy)
            for passed in sorted(before for before in spared if stamp is not None and before < stamp):
                come(passed * over / under - origin, spared.pop(passed))
            # ASF stamps only the first frame of a packet.
            moment = (time or 0.0) + span if stamp is None else stamp * over / under - origin
            sounds = stream.type == "audio"
            come(moment, frame.samples / frame.sample_rate if sounds else (frame.duration or 0) * over / under)
            if countable and frame.pts is not None:
                passed = {stamp for stamp in due if stamp <= frame.pts}
                due -= passed
                lost += len(passed - {frame.pts}) * (begun and not frame.interlaced_frame)
                if lost > 1:  # a field may be a packet of its own, which interlaced frames own up to
                    raise SampleError(name, f"lacks {lost} frames before {moment:.2f} s", REMEDY)
            if not frame.is_corrupt:
                begun = True
                yield moment, frame
            elif begun:  # before that it only lacks what lies before the key frame
                raise SampleError(name, f"is damaged at {moment:.2f} s", "copy it again, re-encode it or drop the row")
