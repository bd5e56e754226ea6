"""Detection of truncated files: the length that a file states against what it holds.

FFmpeg shortens the stated length of a truncated WAV, AVI, W64 or CAF to the data that are left, and Matroska and FLV
state one for all their streams; a file cut off would pass as a shorter one.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, BinaryIO

from modalities.errors import SampleError
from modalities.files.gaps import ASF_PROPERTIES
from modalities.files.media import kind_of, path_of, span_of

if TYPE_CHECKING:
    from av.container import InputContainer

OPEN_ENDED = 0x7FFFF000  # sizes from here up are what a recorder writes that does not know better
LOSS = 512  # bytes; a header that is wrong by less was written carelessly, nothing is missing
STATING = ("mov", "matroska", "flv", "asf", "wav", "w64", "aiff", "au", "caf", "flac", "avi", "wv", "tta", "ape")
REMEDY = "the file is cut off or damaged: copy it again or drop the row"


def states_length(container: InputContainer) -> bool:
    """Whether a file's length is a statement of its header; elsewhere FFmpeg derives or guesses it."""
    kind = kind_of(container)
    return kind in STATING or (kind == "mp3" and counts_frames(container))


def require_data(container: InputContainer) -> None:
    """Refuse a RIFF file (WAV, AVI) or an ASF that ends before its data do.

    Raises:
        SampleError: says how much is missing.
    """
    kind = kind_of(container)
    if kind not in ("wav", "avi", "asf"):
        return
    begin, end = span_of(container)
    with path_of(container).open("rb") as file:
        file.seek(begin)
        missing = (asf_end(file) if kind == "asf" else riff_end(file)) - (end - begin)
    if missing > LOSS:
        raise SampleError(path_of(container), f"ends {missing} bytes before the end that its header states", REMEDY)


def require_end(container: InputContainer, ends: Mapping[int, float], slack: float) -> None:
    """Refuse a file none of whose streams reaches the length that it states for all of them.

    ends: seconds on the file's own clock at which the packets of each stream end; slack: seconds that may be missing.

    Raises:
        SampleError: says where the data end.
    """
    if not container.duration or kind_of(container) not in ("matroska", "flv"):
        return
    says, last = container.duration / 1e6, max(ends.values(), default=0.0)
    if last < says - slack:
        raise SampleError(path_of(container), f"says it lasts {says:.2f} s, but its data end at {last:.2f} s", REMEDY)


def riff_end(file: BinaryIO) -> int:
    """Bytes that a RIFF file states to have up to the end of its data (an AVI: of its index); 0 if it states none."""
    origin, place = file.tell(), 12
    head = file.read(12)
    if len(head) < 12 or head[:4] not in (b"RIFF", b"RF64"):
        return 0
    ends = [8 + int.from_bytes(head[4:8], "little")] if head[8:] == b"AVI " else []
    for _ in range(64):  # chunks before the data
        file.seek(origin + place)
        head = file.read(12)
        if len(head) < 8:
            ends.append(place)
            break
        tag, length = struct.unpack("<4sI", head[:8])
        place += 8 + length
        if tag == b"data" or (tag == b"LIST" and head[8:] == b"movi"):
            ends.append(place)
            break
        place += length % 2
    return max([0, *(end for end in ends if end < OPEN_ENDED)])


def asf_end(file: BinaryIO) -> int:
    """Bytes that an ASF states to have (its file properties, section 3.2); 0 if it was broadcast and states none."""
    head = file.read(2**16)
    place = head.find(ASF_PROPERTIES)
    if place < 0 or len(head) < place + 92:
        return 0
    broadcast = head[place + 88] & 1
    return 0 if broadcast else int.from_bytes(head[place + 40 : place + 48], "little")


def counts_frames(container: InputContainer) -> bool:
    """Whether an MP3 begins with a frame that counts the others, and bytes follow for no more than those."""
    begin, end = span_of(container)
    with path_of(container).open("rb") as file:
        file.seek(begin)
        head = file.read(10)
        if head[:3] == b"ID3" and len(head) == 10:
            begin += 10 + sum((byte & 0x7F) << 7 * (3 - i) for i, byte in enumerate(head[6:]))
        file.seek(begin)
        frame = file.read(256)
    place = max(frame.find(b"Xing"), frame.find(b"Info"))
    if place >= 0:
        flags, frames, size = struct.unpack(">III", frame[place + 4 : place + 16].ljust(12, b"\0"))
        return flags & 1 > 0 and frames > 0 and (not flags & 2 or end - begin - size <= LOSS)
    place = frame.find(b"VBRI")
    return place >= 0 and end - begin - int.from_bytes(frame[place + 10 : place + 14], "big") <= LOSS
