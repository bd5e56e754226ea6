"""Whether the parts of a container follow each other as they should, read from their headers without decoding.

Where a film has a gap in time nobody can tell whether the camera paused or the disk failed; a broken chain tells.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from modalities.transport import Packets

# Elements of Matroska: inside a segment, and inside its clusters (RFC 9559).
SEGMENT, CLUSTER = 0x18538067, 0x1F43B675
TOP = {0x1A45DFA3, SEGMENT, 0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367}
INNER = {0xE7, 0xA3, 0xA0, 0xA7, 0xAB, 0xAF, 0x5854, 0xEC, 0xBF}

Bytes = mmap.mmap | bytes


def intact(path: Path, kind: str, span: tuple[int, int] | None = None) -> bool:
    """Whether nothing was lost from the middle of a file, as far as a container (FFmpeg's name for it) can tell.

    span: the bytes [begin, end) that the container has of it; None: all.
    """
    state = path.stat()
    return checked(path, kind.partition(",")[0], span or (0, state.st_size), state.st_mtime_ns)


@lru_cache(maxsize=1024)
def checked(path: Path, kind: str, span: tuple[int, int], changed: int) -> bool:
    """`intact`, remembered for a file of this size and age."""
    walk, (begin, end) = WALKS.get(kind), span
    if walk is None or end <= begin:
        return True
    if begin:  # a part begins where it likes, a map at a page
        with path.open("rb") as file:
            file.seek(begin)
            return walk(file.read(end - begin))
    with path.open("rb") as file, mmap.mmap(file.fileno(), end, access=mmap.ACCESS_READ) as data:
        return walk(data)


def matroska(data: Bytes) -> bool:
    """Element after element; segments and clusters are entered."""
    place = 0
    while place < len(data):
        name, _, after = number(data, place, marked=True)
        size, known, after = number(data, after, marked=False)
        if name not in TOP | INNER | {CLUSTER}:
            return False
        if not known and name not in (SEGMENT, CLUSTER):
            return True  # a live stream: nothing to go by
        place = after if name in (SEGMENT, CLUSTER) else after + size
    return place == len(data)


def number(data: Bytes, place: int, marked: bool) -> tuple[int, bool, int]:
    """A number of variable length: its value, whether it is not the one for "unknown", and where it ends.

    marked: whether the bit that tells its length counts (as in names).
    """
    first = data[place] if place < len(data) else 0
    length = 9 - first.bit_length()
    value = int.from_bytes(data[place : place + length], "big")
    mask = (1 << 7 * length) - 1
    return (value if marked else value & mask), value & mask != mask, place + length


def flv(data: Bytes) -> bool:
    """Tag after tag, each followed by its size."""
    place = int.from_bytes(data[5:9], "big") + 4
    while place + 11 <= len(data):
        size = 11 + int.from_bytes(data[place + 1 : place + 4], "big")
        if data[place] & 0x1F not in (8, 9, 18) or int.from_bytes(data[place + size : place + size + 4], "big") != size:
            return False
        place += size + 4
    return place == len(data)


def transport(data: Bytes) -> bool:
    """Packet after packet, the payloads of each stream counted."""
    packets = Packets(data)
    return packets.clean and packets.continuous()


WALKS: dict[str, Callable[[Bytes], bool]] = {"matroska": matroska, "flv": flv, "mpegts": transport}
