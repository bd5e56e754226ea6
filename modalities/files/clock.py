"""The clock of a recording: where its second 0 lies, and what the stamps of its packets mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modalities.files.cache import remembered
from modalities.files.media import base, kind_of, layout, opened, path_of, sound, video_stream

if TYPE_CHECKING:
    from av.container import InputContainer

    from modalities.files.media import Stream

TICK = 1e-3  # seconds; Matroska and FLV round their stamps to a millisecond
RAW = ("h264", "hevc", "mpegvideo", "m4v", "obu", "vc1", "mjpeg")  # video and nothing else: no stamps
LATE = ("mpegts", "mpeg", "flv")  # may begin in the middle of a group of pictures


def period(stream: Stream) -> float:
    """Seconds from one frame of a video to the next, as far as the file states it."""
    rate = stream.average_rate or stream.guessed_rate
    return float(1 / rate) if rate else 0.04


def counted(container: InputContainer, stream: Stream) -> bool:
    """Whether stamps belong to packets in the order of decoding, and frames take them in the order of display.

    AVI has no others, raw video none at all; ASF has one for each packet, of which FFmpeg makes up the rest.
    """
    kind = kind_of(container)
    return kind == "avi" or (kind == "asf" and reordered(stream)) or unstamped(container, stream)


def reordered(stream: Stream) -> bool:
    """Whether frames of a video are shown in another order than they are decoded in."""
    return stream.type == "video" and stream.codec_context is not None and stream.codec_context.has_b_frames


def unstamped(container: InputContainer, stream: Stream) -> bool:
    """Whether frames have no stamps at all: then they are counted, from the first key frame on."""
    return stream.type == "video" and kind_of(container) in RAW


def zero(container: InputContainer) -> float:
    """Where the recording's second 0 lies among the stamps of its file: at the first frame, else the first sample.

    Stamps need not begin at 0 (MPEG-TS), and sound may begin before or after the video: one zero keeps them in sync.
    """
    stream = video_stream(container) or sound(container)
    if stream is None:
        return 0.0
    kind = kind_of(container)
    if stream.type == "video" and (kind in LATE or (kind == "asf" and reordered(stream))):
        return first_shown(path_of(container), number_of(container))
    return starting(stream)


def starting(stream: Stream) -> float:
    """The first stamp of a stream."""
    return float((stream.start_time or 0) * base(stream))


def number_of(container: InputContainer) -> int:
    """Which of the recordings in its file a container is."""
    return layout(path_of(container)).names.index(container.name)


@remembered
def first_shown(source: Any, number: int) -> float:
    """The stamp of the first frame that can be decoded, in seconds on the file's own clock."""
    import av

    with opened(source, number) as container:
        stream: Any = video_stream(container)
        if stream.codec_context is None:
            return starting(stream)
        stream.codec_context.thread_count = 1
        fed = []
        for packet in container.demux(stream):
            if packet.dts is not None:
                fed.append(packet.dts)
            try:
                frames: list[Any] = packet.decode()
            except av.FFmpegError:
                continue
            for frame in frames:
                if frame.is_corrupt or frame.pts is None:
                    continue
                if kind_of(container) != "asf":
                    return float(frame.pts * base(stream))
                # Times of decoding ascend, and the packet that brings a frame out is decoded when that is shown.
                return float((fed[-1] if fed == sorted(fed) else fed[0]) * base(stream))
        return starting(stream)
