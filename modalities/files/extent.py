"""Where a recording begins and ends: how long its video and its sound last on the clock that they share.

What a container states is believed; where it states nothing and FFmpeg would estimate from the bit rate (MP3 without a
header, ADTS, raw streams) or from a few stamps (MPEG-TS and PS), packets are counted, once for each file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modalities.errors import SampleError
from modalities.files.cache import remembered
from modalities.files.clock import LATE, RAW, TICK, counted, number_of, period, reordered, starting, zero
from modalities.files.media import base, kind_of, layout, opened, path_of, sound, still, to_stamp, video_stream
from modalities.files.packet_count import measured
from modalities.files.truncated import require_data, require_end, states_length

if TYPE_CHECKING:
    from av.container import InputContainer

    from modalities.files.media import Stream

UNSTATED = (*RAW, "mp3", "aac", "ac3", "eac3", "dts", "truehd", "amr", "ivf", "mpegts", "mpeg")
OVERHANG = 0.15  # seconds by which sound may outlast the video of a part before it delays the next part: codecs pad
REGROUPED = "starts in the middle of a group of pictures: second 0 is the first frame that can be decoded"
JOINED = "several recordings are joined in the file: put on one timeline, one after the other"
TIMELESS = "its frames carry no time stamps: counted at the frame rate of the stream, else at 25 per second"


def length(container: InputContainer, stream: Stream) -> float:
    """Seconds from the zero of one recording to the end of one of its streams, without decoding.

    Raises:
        SampleError: the file states a length that its data do not reach (see modalities/files/truncated.py).
    """
    require_data(container)
    if guessed(container, stream):
        extent, ordered = measured(path_of(container), number_of(container)), counted(container, stream)
        begin = extent.begins.get(stream.index, 0.0) if ordered else zero(container)
        return extent.ends.get(stream.index, begin) - begin
    if stream.duration:
        return float(((stream.start_time or 0) + stream.duration) * base(stream)) - zero(container)
    to_stamp(container, stream, zero(container) + (container.duration or 0) / 1e6 - 1)
    ends: dict[int, float] = {}
    spans = [TICK if stream.type == "audio" else period(stream)]
    for packet in container.demux():
        if packet.pts is not None and packet.time_base is not None:
            span, index = float((packet.duration or 0) * packet.time_base), packet.stream.index
            ends[index] = max(ends.get(index, 0.0), float(packet.pts * packet.time_base) + span)
            spans.append(span)
    require_end(container, ends, max(spans) + 2 * TICK)
    return ends.get(stream.index, 0.0) - zero(container)


def guessed(container: InputContainer, stream: Stream) -> bool:
    """Whether FFmpeg's length of a stream is an estimate or missing."""
    kind = kind_of(container)
    # Its header states the length of the file; FFmpeg passes that on to streams in which it has met no stamp.
    if kind == "matroska" and stream.duration and stream.start_time is not None:
        return True
    if kind == "asf" and reordered(stream):  # it states the end of the last stamp that FFmpeg made up
        return True
    return not (stream.duration or container.duration) or (kind in UNSTATED and not states_length(container))


@remembered
def part_length(source: Any, number: int, kind: str) -> float | None:
    """`length` of the "video" or "audio" of one of the recordings in a file; None where it has none, or is an image."""
    with opened(source, number) as container:
        stream = video_stream(container) if kind == "video" else sound(container)
        return None if stream is None or (kind == "video" and still(container)) else length(container, stream)


@remembered
def offsets(source: Any) -> tuple[float, ...]:
    """Seconds of the whole recording at which each recording that was joined in the file begins.

    Raises:
        SampleError: one of them has no pictures or no sound, and another has.
    """
    places, count = [0.0], len(layout(source).names)
    if count == 1:
        return (0.0,)
    first: tuple[float | None, ...] = ()
    for number in range(count):
        found = seen, heard = part_length(source, number, "video"), part_length(source, number, "audio")
        first = first or found
        for name, now, before in zip(("pictures", "sound"), found, first, strict=True):
            if (now is None) != (before is None):
                has = f"has no {name}" if now is None else f"has {name}, and the first has none"
                reason = f"holds several recordings, of which the one at {places[-1]:.2f} s {has}"
                raise SampleError(source, reason, "cut it into them, and name each in a row of its own")
        seen, heard = seen or 0.0, heard or 0.0
        places.append(places[-1] + (seen if seen and heard <= seen + OVERHANG else max(seen, heard)))
    return tuple(places[:-1])


@remembered
def lasting(source: Any, kind: str) -> float | None:
    """Seconds from the first frame to the end of the "video" or "audio" of a file; None where it has none.

    Raises:
        SampleError: it cannot be opened, or ends before it should.
    """
    lengths = ((offset, part_length(source, number, kind)) for number, offset in enumerate(offsets(source)))
    return max((offset + seconds for offset, seconds in lengths if seconds is not None), default=None)


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
            stream = video_stream(container)
            if stream is not None and zero(container) > starting(stream) + 1.5 * period(stream):
                return True
    return False
