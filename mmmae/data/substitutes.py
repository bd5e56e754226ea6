"""Substitutes for recordings that cannot be read, drawn by the sample's key."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from mmmae.data.bad_samples import Fault
from modalities.errors import SampleError
from modalities.noise import WORD, mix

ATTEMPTS = 20  # draws of another recording: where a share of 5 % is bad, all of them fail once in 10^26


class NoSubstitute(SampleError):
    """A recording that cannot be read, as none of those drawn in its place; `faults` are all of theirs."""

    def __init__(self, path: object, reason: str, remedy: str, modality: str | None, faults: tuple[Fault, ...]):
        super().__init__(path, reason, remedy, modality)
        self.faults = faults

    def __reduce__(self):
        return type(self), (self.path, self.reason, self.remedy, self.modality, self.faults)


class NothingThere(SampleError):
    """A window in which a recording has none of the streams: the sound is silent, no sensor was read."""


def candidates(index: int, key: int, group: range) -> Iterator[int]:
    """The recording itself, then those of its group that its key draws in its place, each once."""
    tried = {index}
    yield index
    for attempt in range(ATTEMPTS if len(group) > 1 else 0):
        drawn = group[mix(mix((key & WORD) ^ zlib.crc32(b"substitute")) + attempt) % len(group)]
        if drawn not in tried:
            tried.add(drawn)
            yield drawn
