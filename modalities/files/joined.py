"""Where one file holds several recordings, written one after the other (`cat a.ts b.ts`, chained Ogg).

Each is a recording of its own, whose time starts again. Players show the first, or mix the stamps of both; cut apart
here, they lie one after the other on one timeline.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np

from modalities.files.gaps import ASF_HEADER, SEGMENT, number
from modalities.files.transport import NULL, TABLES, Packets

BACK, FORWARD = -0.1, 10.0  # seconds from one reading of a clock to the next beyond which it is another clock
TICKS, WRAP = 90_000, 2**33  # of the clocks of MPEG: per second, and after how many they start at 0 again
OPEN = 0xFFFFFFFF  # the size that a recorder states which does not know it
ID3 = rb"ID3[\x02-\x04][\x00-\x0F][\x00-\xF0][\x00-\x7F]{4}"


def parts(path: Path, kind: str) -> tuple[tuple[int, int], ...]:
    """The bytes [begin, end) of each recording in a file of a container (FFmpeg's name for it)."""
    size, find = path.stat().st_size, SCANS.get(kind.partition(",")[0])
    if find is None or not size:
        return ((0, size),)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        places = [0, *find(data), size]
    return tuple(pairwise(places))


def restarts(ticks: np.ndarray) -> Iterable[tuple[int, float]]:
    """Where a clock becomes another one, and by how many seconds it differs; a single wrong reading is none."""
    away = (np.diff(ticks) + WRAP // 2) % WRAP - WRAP // 2
    seconds = away / TICKS
    regular = np.pad((seconds >= BACK) & (seconds <= FORWARD), 1, constant_values=True)
    for index in np.flatnonzero(~regular[1:-1]):
        if regular[index] and regular[index + 2]:
            yield int(index) + 1, float(seconds[index])


def transport(data: mmap.mmap) -> list[int]:
    """MPEG-TS: where the program's clock starts again; a gap forward counts only where a new file seems to begin."""
    packets, found = Packets(data), []
    carries, ticks = packets.clock()
    for index, seconds in restarts(ticks):
        before, first = carries[index - 1 : index + 1]
        tables = before + 1 + np.flatnonzero((packets.stream == 0)[before + 1 : first + 1])
        cut = int(tables[-1]) if len(tables) else int(first)
        while cut > before + 1 and packets.stream[cut - 1] < TABLES:
            cut -= 1
        if seconds < 0 or (len(tables) and fresh(packets, cut)):
            found.append(int(packets.places[cut]))
    return found


def fresh(packets: Packets, cut: int) -> bool:
    """Whether every stream behind a place begins there, with the beginning of a frame and a counter at 0."""
    here = slice(cut, cut + 2000)
    names, firsts = np.unique(np.where(packets.filled, packets.stream, -1)[here], return_index=True)
    firsts = firsts[(names >= 0) & (names != NULL)]
    return bool((packets.begins[here][firsts] & (packets.heads[here][firsts, 3] & 0x0F == 0)).all())


def program(data: mmap.mmap) -> list[int]:
    """MPEG-PS (DVD): where the clock of its packs starts again."""
    places, ticks, headed = [], [], []
    for match in re.finditer(rb"\x00\x00\x01\xba", data):
        place, head = match.start(), data[match.start() + 4 : match.start() + 14]
        if len(head) < 10:
            break
        if head[0] & 0xC4 == 0x44 and head[2] & 4 and head[4] & 4:  # MPEG-2
            tick = (head[0] >> 3 & 7) << 30 | (head[0] & 3) << 28 | head[1] << 20 | (head[2] >> 3) << 15
            tick |= (head[2] & 3) << 13 | head[3] << 5 | head[4] >> 3
            after = place + 14 + (head[9] & 7)
        elif head[0] & 0xF1 == 0x21 and head[2] & 1 and head[4] & 1:  # MPEG-1
            tick = (head[0] >> 1 & 7) << 30 | head[1] << 22 | (head[2] >> 1) << 15 | head[3] << 7 | head[4] >> 1
            after = place + 12
        else:
            continue
        places.append(place)
        ticks.append(tick)
        headed.append(data[after : after + 4] == b"\0\0\1\xbb")
    found = restarts(np.array(ticks, np.int64))
    return [places[index] for index, seconds in found if seconds < 0 or headed[index]]


def flash(data: mmap.mmap) -> list[int]:
    """FLV: tag after tag; a header behind a tag begins another file."""
    found, place = [], 0
    while place + 11 <= len(data):
        if data[place : place + 4] == b"FLV\x01":
            found.append(place)
            place += int.from_bytes(data[place + 5 : place + 9], "big") + 4
        else:
            place += 15 + int.from_bytes(data[place + 1 : place + 4], "big")
    return found[1:]


def ogg(data: mmap.mmap) -> list[int]:
    """Ogg: page after page (RFC 3533); a stream that begins after others have gone on begins another link."""
    found, place, going = [], data.find(b"OggS"), False
    while 0 <= place <= len(data) - 27:
        begins = data[place + 5] & 2 > 0
        if begins and going:
            found.append(place)
        going = not begins
        segments = data[place + 26]
        after = place + 27 + segments + sum(data[place + 27 : place + 27 + segments])
        place = after if data[after : after + 4] == b"OggS" else data.find(b"OggS", after)
    return found


def matroska(data: mmap.mmap) -> list[int]:
    """Matroska and WebM: a header behind the end of a segment."""
    found, place = [], 0
    while place < len(data):
        name, _, after = number(data, place, marked=True)
        size, known, after = number(data, after, marked=False)
        if not known or name not in (0x1A45DFA3, SEGMENT, 0xEC, 0xBF):
            break
        if name == 0x1A45DFA3:
            found.append(place)
        place = after + size
    return found[1:]


def riff(data: mmap.mmap) -> list[int]:
    """WAV and AVI: a second file behind the end that the first states (an AVI may go on in parts called AVIX)."""
    found, place = [], 0
    while data[place : place + 4] == b"RIFF" and (size := int.from_bytes(data[place + 4 : place + 8], "little")) < OPEN:
        if data[place + 8 : place + 12] in (b"AVI ", b"WAVE"):
            found.append(place)
        place += 8 + size + size % 2
    return found[1:]


def boxes(data: mmap.mmap) -> list[int]:
    """MP4 and MOV: box after box; another file type begins another file."""
    found, place, files = [], 0, [set()]
    while place + 8 <= len(data):
        size, name = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
        if size == 1:
            size = int.from_bytes(data[place + 8 : place + 16], "big")
        if name == b"ftyp" and b"moov" in files[-1]:
            found.append(place)
            files.append(set())
        files[-1].add(name)
        if size < 8:
            break
        place += size
    return found if all(b"moov" in names for names in files) else []


def objects(data: mmap.mmap) -> list[int]:
    """ASF and WMV: object after object; another header begins another file."""
    found, place = [], 0
    while place + 24 <= len(data) and (size := int.from_bytes(data[place + 16 : place + 24], "little")) >= 24:
        if data[place : place + 16] == ASF_HEADER and place:
            found.append(place)
        place += size
    return found


def flac(data: mmap.mmap) -> list[int]:
    """FLAC: a second mark with the block that always follows it."""
    return [match.start() for match in re.finditer(rb"fLaC[\0\x80]\0\0\x22", data)][1:]


def mp3(data: mmap.mmap) -> list[int]:
    """MP3: a tag that a frame follows, or a frame that counts others, behind the first frame."""
    found, frames = [], 0
    if re.match(ID3, data[:10], re.DOTALL):
        frames = after_tag(data, 0)
    for match in re.finditer(rb"(?s)" + ID3 + rb"|Xing\0\0\0[\x01-\x0F]|Info\0\0\0[\x01-\x0F]|VBRI\0\x01", data):
        place = match.start()
        if data[place : place + 3] == b"ID3":
            if (after := after_tag(data, place)) <= frames or not starts_frame(data, after):
                continue
        else:
            heads = (place - back for back in (36, 21, 13, 38, 23, 15) if starts_frame(data, place - back))
            place = after = next(heads, 0)
        if place > frames and starts_frame(data, frames):
            found.append(place)
        frames = max(frames, after)
    return found


def after_tag(data: mmap.mmap, place: int) -> int:
    """Where an ID3v2 tag ends."""
    return place + 10 + sum((byte & 0x7F) << 7 * (3 - i) for i, byte in enumerate(data[place + 6 : place + 10]))


def starts_frame(data: mmap.mmap, place: int) -> bool:
    """Whether a frame of MPEG audio, layer III, may begin there."""
    if not 0 <= place <= len(data) - 4:
        return False
    head = data[place : place + 4]
    return head[0] == 0xFF and head[1] & 0xE6 == 0xE2 and 0 < head[2] >> 4 < 15 and head[2] & 0x0C != 0x0C


SCANS: dict[str, Callable[[mmap.mmap], list[int]]] = {
    "mpegts": transport, "mpeg": program, "flv": flash, "ogg": ogg, "matroska": matroska, "avi": riff, "wav": riff,
    "mov": boxes, "asf": objects, "flac": flac, "mp3": mp3,
}  # fmt: skip
