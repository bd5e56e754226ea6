"""Counting the packets of a recording whose headers state neither its length nor its key frames."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modalities.errors import SampleError
from modalities.files.cache import remembered
from modalities.files.clock import counted, unstamped
from modalities.files.media import kind_of, opened, path_of, sound, to_byte, video_stream

if TYPE_CHECKING:
    from av import Packet
    from av.container import InputContainer

TAIL = 4_000_000  # bytes at the end of MPEG-TS in which the ends of all streams are looked for first
RESTART = 1.0  # seconds by which stamps run back where they start again
KEPT = 0.25  # seconds at least between key frames that are remembered


@dataclass(frozen=True)
class Extent:
    """The extent of a recording by its packets, in seconds on its file's own clock.

    All by the index of a stream. keys: moments of key frames, ascending, and how many packets come before each.
    """

    begins: Mapping[int, float]
    ends: Mapping[int, float]
    keys: Mapping[int, list[tuple[float, int]]]


@remembered
def measured(source: Any, number: int) -> Extent:
    """Count the packets of one recording.

    Raises:
        SampleError: time stamps start again somewhere.
    """
    for tail in (True, False):
        with opened(source, number) as container:
            wanted = {stream.index for stream in (video_stream(container), sound(container)) if stream is not None}
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
    decoded: dict[int, float] = {}
    for index, time, lasts, packet in timed(container):
        if packet.dts is not None and packet.time_base is not None:
            order = float(packet.dts * packet.time_base)
            if order < decoded.get(index, order) - RESTART:
                raise starts_again(path_of(container), decoded[index])
            decoded[index] = order
        begins[index] = min(begins.get(index, time), time)
        ends[index] = max(ends.get(index, time), time + lasts)
        found = keys.setdefault(index, [])
        if packet.is_keyframe and (not found or time >= found[-1][0] + KEPT):
            found.append((time, numbers[index]))
        numbers[index] += 1
    return Extent(begins, ends, keys)


def timed(container: InputContainer) -> Iterator[tuple[int, float, float, Packet]]:
    """The index of a stream, the moment and the seconds of each packet of video and sound."""
    streams = [stream for stream in (video_stream(container), sound(container)) if stream is not None]
    raw = {stream.index for stream in streams if unstamped(container, stream)}
    ordered = {stream.index for stream in streams if counted(container, stream)}
    waits = set(raw)
    after: dict[int, float] = {}
    for packet in container.demux(*streams):
        index = packet.stream_index
        if not packet.size or packet.time_base is None or (index in waits and not packet.is_keyframe):
            continue
        stamp = None if index in raw else packet.dts if index in ordered else packet.pts
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
