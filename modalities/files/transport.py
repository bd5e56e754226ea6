"""Packets of an MPEG transport stream (ISO/IEC 13818-1, 2.4): where they lie, their counters and their clock."""

from __future__ import annotations

import mmap
from itertools import pairwise
from pathlib import Path

import numpy as np

SYNC, NULL, TABLES = 0x47, 0x1FFF, 0x20  # PIDs below TABLES hold tables of programs, none of their contents
SIZES = {188: 0, 192: 4, 204: 0}  # bytes of a packet (plain, Blu-ray and camcorders, with parity) to those before it
HEAD = 12  # bytes of a packet that hold its header and clock
SIZE_MAX = max(SIZES)
LOCK = 5  # packets in a row that make a byte 0x47 a beginning of one


class Packets:
    """The heads of all packets of a file.

    places (n,): where each begins; heads (n, 12): its first bytes; clean: whether nothing but packets is there.
    """

    def __init__(self, data: mmap.mmap | memoryview):
        buffer = np.frombuffer(data, np.uint8)
        runs, place, self.clean = [], 0, True
        while (found := aligned(buffer, place)) is not None:
            begin, size = found
            self.clean &= begin == SIZES[size]  # again later: something else is between packets
            count = (len(buffer) - begin - HEAD) // size + 1
            wrong = np.flatnonzero(buffer[begin::size][:count] != SYNC)
            count = int(wrong[0]) if len(wrong) else count
            runs.append(begin + size * np.arange(count))
            place = begin + size * count - SIZES[size]
            if len(wrong):  # the last may be cut off, and the next begin inside it
                place -= size - 1
        self.clean &= place == len(buffer)
        self.places = np.concatenate(runs) if runs else np.zeros(0, int)
        self.heads = np.empty((len(self.places), HEAD), np.uint8)
        for column in range(HEAD):
            self.heads[:, column] = buffer[self.places + column]
        del buffer
        head = self.heads
        self.stream = (head[:, 1].astype(int) & 0x1F) << 8 | head[:, 2]
        self.begins = (head[:, 1] & 0x40) > 0  # a table or a frame begins in it
        self.filled = (head[:, 3] & 0x10) > 0
        self.adapted = (head[:, 3] & 0x20 > 0) & (head[:, 4] > 0)

    def continuous(self) -> bool:
        """Whether the payloads of each stream are counted modulo 16 without a break that is not announced."""
        for name in np.unique(self.stream):
            mine = self.filled & (self.stream == name)
            steps = np.diff(self.heads[mine, 3] & 0x0F) % 16
            announced = self.adapted[mine][1:] & (self.heads[mine][1:, 5] & 0x80 > 0)
            if name != NULL and ((steps > 1) & ~announced).any():
                return False
        return True

    def clock(self) -> tuple[np.ndarray, np.ndarray]:
        """Which packets carry the clock of the program, and its ticks of 1/90000 s, modulo 2**33.

        Programs that run side by side have a clock each: then that of the one with the most.
        """
        head = self.heads
        carries = np.flatnonzero(self.adapted & (head[:, 4] >= 7) & (head[:, 5] & 0x10 > 0))
        names, counts = np.unique(self.stream[carries], return_counts=True)
        spans = sorted((found[0], found[-1]) for n in names if len(found := carries[self.stream[carries] == n]))
        if any(after[0] < before[1] for before, after in pairwise(spans)):
            carries = carries[self.stream[carries] == names[counts.argmax()]]
        ticks = np.zeros(len(carries), np.int64)
        for column, shift in ((6, 25), (7, 17), (8, 9), (9, 1)):
            ticks += head[carries, column].astype(np.int64) << shift
        return carries, ticks + (head[carries, 10] >> 7)


def is_transport(path: Path) -> bool:
    """Whether a file begins like an MPEG transport stream."""
    with path.open("rb") as file:
        head = file.read(SIZE_MAX * LOCK)
    return any(len(marks := head[first::size][:LOCK]) == LOCK and set(marks) == {SYNC} for size, first in SIZES.items())


def aligned(buffer: np.ndarray, place: int) -> tuple[int, int] | None:
    """Where the next packets begin, and the bytes from one to the next; None where there are none."""
    while place < len(buffer):
        for begin in place + np.flatnonzero(buffer[place : place + 2**16] == SYNC):
            for size in SIZES:
                marks = buffer[begin : begin + LOCK * size : size]
                ends = begin + len(marks) * size >= len(buffer) >= begin + HEAD
                if (marks == SYNC).all() and (len(marks) == LOCK or ends):
                    return int(begin), size
        place += 2**16
    return None
