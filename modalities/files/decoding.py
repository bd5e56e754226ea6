"""Decoding video and sound from a point in time on, distinguishing lost frames from late ones and from pauses."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

from modalities.errors import SampleError
from modalities.files.clock import TICK, counted, number_of, period, reordered, unstamped, zero
from modalities.files.extent import offsets
from modalities.files.gaps import intact
from modalities.files.media import base, kind_of, opened, path_of, sound, span_of, to_byte, to_stamp, video_stream
from modalities.files.packet_count import RESTART, measured, starts_again
from modalities.files.skip_packets import Sparing
from modalities.files.truncated import REMEDY

if TYPE_CHECKING:
    from av.container import InputContainer

    from modalities.files.media import Stream

GAP = 0.01  # seconds between two frames beyond how long the first lasts: a pause, or something is lost
FRAME_BY_FRAME = ("h264", "hevc", "vp9", "av1", "mjpeg", "ffv1")  # every packet gives one frame (VP8 hides some)
STEPS_BACK = (0.0, 2.0, 20.0, float("inf"))  # seconds; an index by decoding order may lead behind the moment asked for
REORDERED = 17  # packets at most that a decoder keeps before it shows the first: the longest memory of H.264 and HEVC


def decode(
    container: InputContainer,
    stream: Stream,
    moment: float,
    shown: Sequence[float] = (),
    prepare: Callable[[Any], None] | None = None,
) -> Iterator[tuple[float, Any]]:
    """Frames with their seconds in the recording, from the last key frame at or before `moment` (or the first of all).

    Video comes in the order of display, sound in its own; a container that cannot seek is decoded from its beginning.
    Recordings that were joined in one file follow each other.

    container: the first of these. shown: ascending moments from `moment` on; where there are some, frames that are on
        display at none of them may be missing, until the last. prepare: what else to do with a stream before it is
        decoded.

    Raises:
        SampleError: something is lost from the middle of the file.
    """
    path = path_of(container)
    begins = offsets(path)
    first = max(bisect_right(begins, moment + TICK) - 1, 0)
    for number in range(first, len(begins)):
        begin = begins[number]
        later = [time - begin for time in shown if time >= begin]
        if number == 0:
            yield from decode_one(container, stream, moment, later)
            continue
        with opened(path, number) as part:
            track: Any = video_stream(part) if stream.type == "video" else sound(part)
            if track is None:
                continue
            if prepare is not None:
                prepare(track)
            for time, frame in decode_one(part, track, max(moment - begin, 0.0), later):
                if time > -TICK or (stream.type == "audio" and time + frame.samples / frame.sample_rate > 0):
                    yield begin + time, frame


def decode_one(
    container: InputContainer, stream: Stream, moment: float, shown: Sequence[float]
) -> Iterator[tuple[float, Any]]:
    """`decode` for one recording, on its own clock."""
    if stream.codec_context is None:
        reason = f"its {stream.type} is in a format that no decoder knows"
        raise SampleError(path_of(container), reason, "re-encode it or drop the row")
    stream.codec_context.thread_count = 1  # the loader's workers are the parallel ones
    # Where stamps are those of packets, some give no frame after a seek: from the beginning their order tells times.
    whole = counted(container, stream) and (reordered(stream) or unstamped(container, stream))
    for back in STEPS_BACK[-1:] if whole else STEPS_BACK:
        passed = 0
        if not whole and (back or moment > 0):  # at its beginning already: looking for it uses up a FLAC of one frame
            passed = seek(container, stream, moment - back)
        frames = stamped(container, stream, shown, passed)
        first = next(frames, None)
        if first is None and (stream.type == "audio" or back >= min(moment, STEPS_BACK[-2])):
            return  # elsewhere the last key frame of a video that has no index may have been missed
        if first is not None and (first[0] <= moment + TICK or back >= moment):
            yield first
            yield from frames
            return


def seek(container: InputContainer, stream: Stream, moment: float) -> int:
    """Go to a key frame at or before a moment of the recording, if the container can (else stay at its beginning).

    Returns how many packets of the stream are to be ignored from there.
    """
    origin, kind = zero(container), kind_of(container)
    if kind == "mpeg":  # few frames have stamps, and those of the others are right only when counted from the beginning
        keys = measured(path_of(container), number_of(container)).keys.get(stream.index, ())
        before = bisect_right(keys, origin + moment, key=lambda key: key[0]) - 1
        to_byte(container, 0)
        return keys[before][1] if before > 0 else 0
    if moment > 0:
        to_stamp(container, stream, origin + moment)
    else:  # MPEG-TS looks for its first key frame after the very stamp that it has: something earlier is safely before
        to_stamp(container, stream, min(origin - (kind == "mpegts"), 0.0))
    return 0


def stamped(
    container: InputContainer, stream: Stream, shown: Sequence[float], passed_over: int = 0
) -> Iterator[tuple[float, Any]]:
    """Frames with their seconds in the recording, from the container's current position.

    shown: see `decode`. passed_over: packets of the stream that are not decoded.
    """
    import av

    origin, path, kind = zero(container), path_of(container), kind_of(container)
    over, under = base(stream).as_integer_ratio()  # a quotient of integers is rounded like the fraction, and faster
    ordered = counted(container, stream)  # the n-th frame shown takes the n-th stamp of the packets
    usual = 0.0 if stream.type == "audio" else period(stream)
    stamps: list[int] = []
    time: float | None = None
    span, begun = 0.0, False
    due, lost = set(), 0  # stamps of packets that are still to give their frame
    shuffled = ordered and reordered(stream)
    countable = stream.type == "video" and stream.codec_context.name in FRAME_BY_FRAME
    sparing = Sparing(stream.codec_context, shown, TICK) if shown and not ordered else None
    spared: dict[int, float] = {}  # stamps and seconds of frames that are left out
    raw, after, first = unstamped(container, stream), 0, None

    def come(moment: float, lasts: float) -> None:
        nonlocal time, span
        if begun and time is not None:
            if moment < time - RESTART - span:
                raise starts_again(path, time)
            if moment - time > max(span, usual) + GAP and not intact(path, kind, span_of(container)):
                raise SampleError(path, f"lacks what lies between {time:.2f} s and {moment:.2f} s", REMEDY)
        time, span = moment, lasts

    for packet in container.demux(stream):
        if packet.size and passed_over:
            passed_over -= 1
            continue
        if raw and packet.size:
            if after == 0 and not packet.is_keyframe:
                continue
            heappush(stamps, after)
            after += packet.duration or 0
        elif packet.dts is not None:
            if packet.size == 0:  # "the same picture again"
                continue
            if ordered:
                heappush(stamps, packet.dts)
            if countable and not shuffled and packet.pts is not None and not packet.is_discard:
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
            stamp = heappop(stamps) if ordered and stamps else frame.pts
            if shuffled and kind == "asf":
                first = stamp if first is None else first
                stamp, origin = stamp - first, 0.0
            if stamp is None and time is None:
                remedy = "put it into a container: `ffmpeg -i FILE -c copy FILE.mp4`"
                raise SampleError(path, "its frames carry no time stamps", remedy)
            for passed in sorted(before for before in spared if stamp is not None and before < stamp):
                come(passed * over / under - origin, spared.pop(passed))
            # ASF stamps only the first frame of a packet.
            moment = (time or 0.0) + span if stamp is None else stamp * over / under - origin
            sounds = stream.type == "audio"
            come(moment, frame.samples / frame.sample_rate if sounds else (frame.duration or 0) * over / under)
            if countable and not shuffled and frame.pts is not None:
                passed = {stamp for stamp in due if stamp <= frame.pts}
                due -= passed
                lost += len(passed - {frame.pts}) * (begun and not frame.interlaced_frame)
                if lost > 1:  # a field may be a packet of its own, which interlaced frames own up to
                    raise SampleError(path, f"lacks {lost} frames before {moment:.2f} s", REMEDY)
            if not frame.is_corrupt:
                begun = True
                yield moment, frame
            elif begun:  # before that it only lacks what lies before the key frame
                raise SampleError(path, f"is damaged at {moment:.2f} s", "copy it again, re-encode it or drop the row")
        late = len(stamps) - (REORDERED if packet.size else 0)  # the last packet is empty and brings out all the rest
        if shuffled and countable and begun and late > 1 and not (frames and frames[-1].interlaced_frame):
            raise SampleError(path, f"lacks {late} frames before {(time or 0.0) + span * late:.2f} s", REMEDY)
