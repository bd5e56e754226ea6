"""Detection of data lost from a container, from the headers of its parts and without decoding.

Where a video has a gap in time either the camera paused or data was lost; a broken packet structure decides.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable
from pathlib import Path

from modalities.files.cache import remembered
from modalities.files.transport import Packets

# Elements of Matroska: inside a segment, and inside its clusters (RFC 9559).
SEGMENT, CLUSTER = 0x18538067, 0x1F43B675
TOP = {0x1A45DFA3, SEGMENT, 0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367}
INNER = {0xE7, 0xA3, 0xA0, 0xA7, 0xAB, 0xAF, 0x5854, 0xEC, 0xBF}
PACK, PROGRAM_END = 0xBA, 0xB9  # start codes of MPEG-PS
# Objects of ASF (Advanced Systems Format 01.20.03, section 10).
ASF_HEADER = bytes.fromhex("3026B2758E66CF11A6D900AA0062CE6C")
ASF_PROPERTIES = bytes.fromhex("A1DCAB8C47A9CF118EE400C00C205365")
ASF_DATA = bytes.fromhex("3626B2758E66CF11A6D900AA0062CE6C")


def intact(path: Path, kind: str, span: tuple[int, int] | None = None) -> bool:
    """Whether nothing was lost from the middle of a file, as far as a container (FFmpeg's name for it) can tell.

    span: the bytes [begin, end) that the container has of it; None: all.
    """
    return walked(path, kind.partition(",")[0], span or (0, path.stat().st_size))


@remembered
def walked(path: str, kind: str, span: tuple[int, int]) -> bool:
    """`intact`, computed once for a file of this size and age."""
    walk, (begin, end) = WALKS.get(kind), span
    if walk is None or end <= begin:
        return True
    with (
        open(path, "rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        memoryview(data) as view,
        view[begin:end] as part,
    ):
        return walk(part)


def matroska(data: memoryview) -> bool:
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


def number(data: mmap.mmap | memoryview, place: int, marked: bool) -> tuple[int, bool, int]:
    """A number of variable length: its value, whether it is not the one for "unknown", and where it ends.

    marked: whether the bit that tells its length counts (as in names).
    """
    first = data[place] if place < len(data) else 0
    length = 9 - first.bit_length()
    value = int.from_bytes(data[place : place + length], "big")
    mask = (1 << 7 * length) - 1
    return (value if marked else value & mask), value & mask != mask, place + length


def flv(data: memoryview) -> bool:
    """Tag after tag, each followed by its size."""
    place = int.from_bytes(data[5:9], "big") + 4
    while place + 11 <= len(data):
        size = 11 + int.from_bytes(data[place + 1 : place + 4], "big")
        if data[place] & 0x1F not in (8, 9, 18) or int.from_bytes(data[place + size : place + size + 4], "big") != size:
            return False
        place += size + 4
    return place == len(data)


def transport(data: memoryview) -> bool:
    """Packet after packet, the payloads of each stream counted."""
    packets = Packets(data)
    return packets.clean and packets.continuous()


def program(data: memoryview) -> bool:
    """Packet after packet of MPEG-PS (ISO/IEC 13818-1, 2.5), each as long as it says."""
    place = 0
    while place + 14 <= len(data) and data[place : place + 3] == b"\0\0\1":
        kind = data[place + 3]
        if kind == PACK:
            place += 14 + (data[place + 13] & 7) if data[place + 4] & 0xC0 else 12
        else:
            place += 4 if kind == PROGRAM_END else 6 + int.from_bytes(data[place + 4 : place + 6], "big")
    return place == len(data) or data[place : place + 4] == b"\0\0\1\xb9"


def asf(data: memoryview) -> bool:
    """Object after object; the packets of the data, all of one size, begin alike (with how errors are corrected)."""
    place, size = 0, 0
    while place + 24 <= len(data) and (length := int.from_bytes(data[place + 16 : place + 24], "little")) >= 24:
        if data[place : place + 16] == ASF_HEADER and (head := bytes(data[place : place + length])):
            found = head.find(ASF_PROPERTIES)
            size = int.from_bytes(head[found + 92 : found + 96], "little") if found >= 0 else 0
        if data[place : place + 16] == ASF_DATA and size:
            begins = [data[packet] for packet in range(place + 50, min(place + length, len(data)) - size + 1, size)]
            if len(set(begins)) > 1:
                return False
        place += length
    return place == len(data)


WALKS: dict[str, Callable[[memoryview], bool]] = {
    "matroska": matroska, "flv": flv, "mpegts": transport, "asf": asf, "mpeg": program,
}  # fmt: skip
