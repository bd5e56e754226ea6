"""Opening media files with PyAV: one container, or each of several recordings that were joined in one file.

PyAV is imported where a file is opened, so that tokenizers work on machines that have torch but no decoder.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modalities.errors import InputError, SampleError
from modalities.files import limits
from modalities.files.cache import remembered
from modalities.files.joined import parts
from modalities.files.transport import is_transport

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
PART = "subfile"  # FFmpeg's protocol that opens some bytes of a file as if they were all of it


@dataclass(frozen=True)
class Layout:
    """How a file is built: FFmpeg's name of its container, and the names by which each recording in it is opened."""

    kind: str
    names: tuple[str, ...]


@remembered
def layout(source: Any) -> Layout:
    """Look at a file without decoding anything, and refuse it if its headers claim too much.

    Raises:
        SampleError: they do; or it is no recording.
    """
    name = f"file:{source}"  # "file:": a colon is no protocol
    with explained(source):
        # Where parts of MPEG-TS have other streams, their headers cannot be read as those of one file.
        spans = parts(Path(source), "mpegts") if is_transport(Path(source)) else ()
        kind = "mpegts" if len(spans) > 1 else check_headers(name, source)
        spans, names = spans or parts(Path(source), kind), (name,)
        if len(spans) > 1:
            names = tuple(f"{PART},,start,{begin},end,{end},,:{name}" for begin, end in spans)
            for part in names:
                check_headers(part, source)
        return Layout(kind, names)


@contextmanager
def explained(source: Any) -> Iterator[None]:
    """Whatever FFmpeg stumbles over inside becomes a SampleError."""
    import av

    try:
        yield
    except InputError:
        raise
    except (av.FFmpegError, OSError, ValueError, OverflowError) as error:
        reason = f"cannot be decoded ({getattr(error, 'strerror', None) or error})"
        remedy = "play it to see whether it is a whole recording in a usual format; re-encode it or drop the row"
        if Path(source).suffix.lower() in PICTURES:
            remedy = f"view it: it is damaged, or has more than {limits.PIXELS} pixels; save it anew or drop the row"
        raise SampleError(source, reason, remedy) from error


def check_headers(name: str, source: Any) -> str:
    """The kind of a container whose headers claim nothing impossible."""
    import av

    with av.open(name, options=options(name, codec_whitelist="none"), metadata_errors="replace") as headers:
        limits.refuse_claims(headers, source)
        return headers.format.name.partition(",")[0]


def options(name: str, **more: str) -> dict[str, str]:
    """What FFmpeg may do while it opens a file of this name."""
    return OPTIONS | ({"protocol_whitelist": f"file,{PART}"} if name.startswith(PART) else {}) | more


@contextmanager
def opened(source: Any, number: int = 0) -> Iterator[InputContainer]:
    """A media file, closed afterwards; whatever the decoder stumbles over inside becomes a SampleError.

    Only demuxers of OPTIONS are tried and nothing but the file itself is opened. What its headers claim is checked
    before anything is decoded, and the decoder is told the largest picture: headers may lie.

    number: which of several recordings that were joined in the file.
    """
    import av

    name = layout(source).names[number]
    with explained(source), av.open(name, options=options(name), metadata_errors="replace") as container:
        limits.refuse_claims(container, source)
        for stream in container.streams:
            if stream.codec_context is not None:
                stream.codec_context.options = {"max_pixels": OPTIONS["max_pixels"]}
        yield container


def kind_of(container: InputContainer) -> str:
    """FFmpeg's name of a container, the first where it has several."""
    return container.format.name.partition(",")[0]


def path_of(container: InputContainer) -> Path:
    """The file that a container, or a part of it, was opened from."""
    _, _, name = container.name.partition("file:")  # "subfile,,start,0,end,1,,:file:" comes first in a part's
    return Path(name)


def span_of(container: InputContainer) -> tuple[int, int]:
    """The bytes [begin, end) of its file that a container has."""
    if not container.name.startswith(PART):
        return 0, path_of(container).stat().st_size
    begin, end = container.name.split(",")[3:6:2]
    return int(begin), int(end)


def video_stream(container: InputContainer) -> VideoStream | None:
    """The first video stream that is no cover picture of a song."""
    from av.stream import Disposition

    return next((s for s in container.streams.video if not s.disposition & Disposition.attached_pic), None)


def sound(container: InputContainer) -> AudioStream | None:
    """The sound track that a player would choose, if there is one that can be decoded."""
    track: Any = container.streams.best("audio")
    return track if track is not None and track.codec_context is not None else None


def still(container: InputContainer) -> bool:
    """Whether the file is an image."""
    return container.format.name == "image2" or container.format.name.endswith("_pipe")


def to_stamp(container: InputContainer, stream: Stream, stamp: float) -> None:
    """Go to a key frame at or before a stamp (seconds on the file's own clock), if the container can."""
    import av

    with contextlib.suppress(av.FFmpegError):
        container.seek(int(stamp / base(stream)), stream=stream)


def to_byte(container: InputContainer, place: int) -> None:
    """Go to a place in the file, if the container can."""
    import av

    with contextlib.suppress(av.FFmpegError):
        container.seek(place, any_frame=True, unsupported_byte_offset=True)


def base(stream: Stream) -> Fraction:
    """Seconds per unit of a stream's stamps."""
    return stream.time_base or Fraction(1, 1_000_000)
