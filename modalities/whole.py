"""Whether a recording is all there: what a file states of its own length against what it holds.

FFmpeg shortens the stated length of a truncated WAV, AVI, W64 or CAF to the data that are left, and Matroska and FLV
state one for all their streams; a file cut off would pass as a shorter one.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from modalities.errors import SampleError

if TYPE_CHECKING:
    from av.container import InputContainer

OPEN_ENDED = 0x7FFFF000  # sizes from here up are what a recorder writes that does not know better
LOSS = 512  # bytes; a header that is wrong by less was written carelessly, nothing is missing
STATING = ("mov", "matroska", "flv", "asf", "wav", "w64", "aiff", "au", "caf", "flac", "avi", "wv", "tta", "ape")
MP3_HEADERS = (b"Xing", b"Info", b"VBRI")
REMEDY = "the file is cut off or damaged: copy it again or drop the row"


def states_length(container: InputContainer) -> bool:
    """Whether a file's length is a statement of its header; elsewhere FFmpeg derives it from what is there."""
    kind = container.format.name.partition(",")[0]
    return kind in STATING or (kind == "mp3" and has_mp3_header(path_of(container)))


def require_data(container: InputContainer) -> None:
    """Refuse a RIFF file (WAV, AVI) that ends before its data do.

    Raises:
        SampleError: says how much is missing.
    """
    if container.format.name not in ("wav", "avi"):
        return
    path = path_of(container)
    missing = missing_bytes(path)
    if missing > LOSS:
        raise SampleError(path, f"ends {missing} bytes before the end that its header states", REMEDY)


def require_end(container: InputContainer, ends: Mapping[int, float], slack: float) -> None:
    """Refuse a file none of whose streams reaches the length that it states for all of them.

    ends: seconds on the file's own clock at which the packets of each stream end; slack: seconds that may be missing.

    Raises:
        SampleError: says where the data end.
    """
    if not container.duration or container.format.name.partition(",")[0] not in ("matroska", "flv"):
        return
    says, last = container.duration / 1e6, max(ends.values(), default=0.0)
    if last < says - slack:
        raise SampleError(path_of(container), f"says it lasts {says:.2f} s, but its data end at {last:.2f} s", REMEDY)


def path_of(container: InputContainer) -> Path:
    return Path(container.name.removeprefix("file:"))


def missing_bytes(path: Path) -> int:
    """How many bytes a RIFF file lacks at the end of its data (an AVI: or its index); 0 if it states no size."""
    size, place = path.stat().st_size, 12
    with path.open("rb") as file:
        head = file.read(12)
        if len(head) < 12 or head[:4] not in (b"RIFF", b"RF64"):
            return 0
        ends = [8 + int.from_bytes(head[4:8], "little")] if head[8:] == b"AVI " else []
        for _ in range(64):  # chunks before the data
            file.seek(place)
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
    known = [end - size for end in ends if end < OPEN_ENDED]
    return max([0, *known])


def has_mp3_header(path: Path) -> bool:
    """Whether an MP3 begins with a frame that counts the others."""
    with path.open("rb") as file:
        head = file.read(10)
        if head[:3] == b"ID3" and len(head) == 10:
            file.seek(10 + sum((byte & 0x7F) << 7 * (3 - i) for i, byte in enumerate(head[6:])))
        else:
            file.seek(0)
        frame = file.read(256)
    return any(tag in frame for tag in MP3_HEADERS)
