"""Where a recording begins and ends: the clock that its film and its sound share, and how long they last on it.

What a container states is believed; where it states nothing and FFmpeg would estimate from the bit rate (MP3 without a
header, ADTS, raw streams) or from a few stamps (MPEG-TS and PS), packets are counted, once for each file.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from modalities.errors import SampleError
from modalities.media import film, kind_of, layout, opened, path_of, remembered, sound
from modalities.whole import require_data, require_end, states_length

if TYPE_CHECKING:
    from av import Packet
    from av.container import InputContainer

    from modalities.media import Stream

TICK = 1e-3  # Matroska and FLV round their stamps to a millisecond
RAW = ("h264", "hevc", "mpegvideo", "m4v", "obu", "vc1", "mjpeg")  # film and nothing else: no stamps
UNSTATED = (*RAW, "mp3", "aac", "ac3", "eac3", "dts", "truehd", "amr", "ivf", "mpegts", "mpeg")
LATE = ("mpegts", "mpeg", "flv")  # may begin in the middle of a group of pictures
TAIL = 4_000_000  # bytes at the end of MPEG-TS in which the ends of all streams are looked for first
OVERHANG = 0.15  # seconds by which sound may outlast the film of a part, before it delays the next part: codecs pad
RESTART = 1.0  # seconds by which stamps run back where they start again
KEPT = 0.25  # seconds at least between key frames that are remembered
REGROUPED = "starts in the middle of a group of pictures: second 0 is the first frame that can be decoded"
JOINED = "several recordings are joined in the file: put on one timeline, one after the other"
TIMELESS = "its frames carry no time stamps: counted at the frame rate of the stream, else at 25 per second"


@dataclass(frozen=True)
class Extent:
    """What the packets of a recording say, in seconds on its file's own clock.

    All by the index of a stream. keys: moments of key frames, ascending, and how many packets come before each.
    """

    begins: Mapping[int, float]
    ends: Mapping[int, float]
    keys: Mapping[int, list[tuple[float, int]]]


def base(stream: Stream) -> Fraction:
    """Seconds per unit of a stream's stamps."""
    return stream.time_base or Fraction(1, 1_000_000)


def period(stream: Stream) -> float:
    """Seconds from one frame of a film to the next, as far as the file tells."""
    rate = stream.average_rate or stream.guessed_rate
    return float(1 / rate) if rate else 0.04


def counted(container: InputContainer, stream: Stream) -> bool:
    """Whether stamps belong to packets in the order of decoding, and frames take them in the order of display.

    AVI has no others, raw film none at all; ASF has one for each packet, of which FFmpeg makes up the rest.
    """
    kind = kind_of(container)
    reordered = stream.type == "video" and stream.codec_context.has_b_frames
    return kind == "avi" or (kind == "asf" and reordered) or (kind in RAW and stream.type == "video")


def keyed(container: InputContainer, stream: Stream) -> bool:
    """Whether packets before the first key frame must be left out: their decoder would show grey for what they lack."""
    raw = kind_of(container) in RAW
    return stream.type == "video" and (raw or stream.codec_context.name in ("mpeg1video", "mpeg2video"))


def zero(container: InputContainer) -> float:
    """Where the recording's second 0 lies among the stamps of its file: at the first frame, else the first sample.

    Stamps need not begin at 0 (MPEG-TS), and sound may begin before or after the film: one zero keeps them in sync.
    """
    stream = film(container) or sound(container)
    if stream is None:
        return 0.0
    if stream.type == "video" and (kind_of(container) in LATE or (kind_of(container) == "asf" and counted(container, stream))):
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
        stream: Any = film(container)
        if stream.codec_context is None:
            return starting(stream)
        stream.codec_context.thread_count = 1
        waits, fed = keyed(container, stream), []
        for packet in container.demux(stream):
            waits &= not packet.is_keyframe
            if waits and packet.size:
                continue
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


def length(container: InputContainer, stream: Stream) -> float:
    """Seconds from the zero of one recording to the end of one of its streams, without decoding.

    Raises:
        SampleError: the file states a length that its data do not reach (see modalities/whole.py).
    """
    require_data(container)
    kind, ordered = kind_of(container), counted(container, stream)
    guessed = kind == "matroska" and bool(stream.duration)  # its header states that of the file, never of a stream
    if guessed or (kind in UNSTATED and not states_length(container)) or (kind == "asf" and ordered):
        extent = measured(path_of(container), number_of(container))
        begin = extent.begins.get(stream.index, 0.0) if ordered else zero(container)
        return extent.ends.get(stream.index, begin) - begin
    if stream.duration:
        return float(((stream.start_time or 0) + stream.duration) * base(stream)) - zero(container)
    if container.duration:
        to_stamp(container, stream, zero(container) + container.duration / 1e6 - 1)
    ends: dict[int, float] = {}
    spans = [TICK if stream.type == "audio" else period(stream)]
    for packet in container.demux():
        if packet.pts is not None and packet.time_base is not None:
            span, index = float((packet.duration or 0) * packet.time_base), packet.stream.index
            ends[index] = max(ends.get(index, 0.0), float(packet.pts * packet.time_base) + span)
            spans.append(span)
    require_end(container, ends, max(spans) + 2 * TICK)
    return ends.get(stream.index, 0.0) - zero(container)


def to_stamp(container: InputContainer, stream: Stream, stamp: float) -> None:
    """Go to a key frame at or before a stamp (seconds on the file's own clock), if the container can."""
    import av

    with contextlib.suppress(av.FFmpegError):
        container.seek(int(stamp / base(stream)), stream=stream)


def to_byte(container: InputContainer, place: int) -> None:
    """Go to a place in the file."""
    import av

    with contextlib.suppress(av.FFmpegError):
        container.seek(place, any_frame=True, unsupported_byte_offset=True)


@remembered
def measured(source: Any, number: int) -> Extent:
    """Count the packets of one recording.

    Raises:
        SampleError: time stamps start again somewhere.
    """
    for tail in (True, False):
        with opened(source, number) as container:
            wanted = {stream.index for stream in (film(container), sound(container)) if stream is not None}
            if tail and (kind_of(container) != "mpegts" or container.size < 2 * TAIL):
                continue
            if tail:
                to_byte(container, container.size - TAIL)
            extent = count(container)
            if not tail or wanted <= extent.ends.keys():
                return extent
    raise AssertionError("the second turn reads the whole file")


def count(container: InputContainer) -> Extent:
    """The extent of what is left of a container."""
    begins: dict[int, float] = {}
    ends: dict[int, float] = {}
    keys: dict[int, list[tuple[float, int]]] = {}
    numbers: Counter[int] = Counter()
    for index, time, lasts, packet in timed(container):
        if time < ends.get(index, time) - RESTART - lasts:
            raise starts_again(path_of(container), time)
        begins[index] = min(begins.get(index, time), time)
        ends[index] = max(ends.get(index, time), time + lasts)
        found = keys.setdefault(index, [])
        if packet.is_keyframe and (not found or time >= found[-1][0] + KEPT):
            found.append((time, numbers[index]))
        numbers[index] += 1
    return Extent(begins, ends, keys)


def timed(container: InputContainer) -> Iterator[tuple[int, float, float, Packet]]:
    """The index of a stream, the moment and the seconds of each packet of film and sound."""
    streams = [stream for stream in (film(container), sound(container)) if stream is not None]
    ordered = {stream.index for stream in streams if counted(container, stream)}
    waits = {stream.index for stream in streams if kind_of(container) in RAW and stream.type == "video"}
    after: dict[int, float] = {}
    for packet in container.demux(*streams):
        index = packet.stream_index
        if not packet.size or packet.time_base is None or (index in waits and not packet.is_keyframe):
            continue
        stamp = None if kind_of(container) in RAW else packet.dts if index in ordered else packet.pts
        time = after.get(index, 0.0) if stamp is None else float(stamp * packet.time_base)
        lasts = float((packet.duration or 0) * packet.time_base)
        waits.discard(index)
        after[index] = time + lasts
        yield index, time, lasts, packet


def starts_again(source: Any, moment: float) -> SampleError:
    """What to say of a file whose stamps run back, where nothing tells its parts from each other."""
    return SampleError(
        source,
        f"time stamps start again at {moment:.2f} s: several recordings are joined in the file",
        "name each recording in a row of its own, or join them with `ffmpeg -f concat -i LIST -c copy OUT.mp4`",
    )


@remembered
def offsets(source: Any) -> tuple[float, ...]:
    """Seconds of the whole recording at which each recording that was joined in the file begins.

    Raises:
        SampleError: one of them has no pictures, and another has.
    """
    places, names = [0.0], layout(source).names
    for number in range(len(names) if len(names) > 1 else 0):
        with opened(source, number) as container:
            pictures, track = film(container), sound(container)
            seen = 0.0 if pictures is None else length(container, pictures)
        heard = 0.0
        if track is not None:
            with opened(source, number) as container:
                track = sound(container)
                heard = 0.0 if track is None else length(container, track)
        if number == 0:
            first = pictures is not None
        elif (pictures is not None) != first:
            reason = f"holds several recordings, of which the one at {places[-1]:.2f} s has {'no ' * first}pictures"
            raise SampleError(source, reason, "cut it into them, and name each in a row of its own")
        places.append(places[-1] + (seen if seen and heard <= seen + OVERHANG else max(seen, heard)))
    return tuple(places[:-1]) or (0.0,)


@remembered
def lasting(source: Any, kind: str) -> float | None:
    """Seconds from the first frame to the end of the "video" or "audio" of a file; None where it has none.

    Raises:
        SampleError: it cannot be opened, or ends before it should.
    """
    ends = []
    for number, offset in enumerate(offsets(source)):
        with opened(source, number) as container:
            stream = film(container) if kind == "video" else sound(container)
            if stream is not None:
                ends.append(offset + length(container, stream))
    return max(ends, default=None)


def assumed(source: Any) -> tuple[str, ...]:
    """What was assumed of the clock of a file, a sentence each (see `Reading.notes`)."""
    found = layout(source)
    notes = (JOINED,) if len(found.names) > 1 else ()
    if found.kind in RAW:
        return (*notes, TIMELESS)
    return (*notes, REGROUPED) if found.kind in LATE and begins_late(source) else notes


@remembered
def begins_late(source: Any) -> bool:
    """Whether the first frames of a recording in the file cannot be decoded."""
    for number in range(len(layout(source).names)):
        with opened(source, number) as container:
            stream = film(container)
            if stream is not None and zero(container) > starting(stream) + 1.5 * period(stream):
                return True
    return False
