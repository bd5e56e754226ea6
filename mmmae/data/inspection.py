"""Whole recordings looked through for what training would meet in some window of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch.utils.data import Dataset

from mmmae.data.ahead import Place, read_ahead
from mmmae.data.dataset import Clips
from mmmae.data.faults import Fault
from mmmae.data.passes import look_through
from modalities.errors import SampleError


@dataclass(frozen=True)
class Verdict:
    """The streams that a recording has at some time, and what is wrong with it."""

    streams: set[str]
    fault: Fault | None


class Inspection(Dataset):
    """Verdicts on recordings, each looked through from beginning to end."""

    def __init__(self, clips: Clips):
        self.clips = clips

    def __getitem__(self, place: Place) -> Verdict:
        _, index = place
        streams: set[str] = set()
        try:
            for found in look_through(self.clips, index):
                streams |= found
        except SampleError as error:
            return Verdict(streams, self.clips.fault(index, error))
        return Verdict(streams, None if streams else self.clips.nothing(index))


def inspect_all(clips: Clips, workers: int) -> Iterator[Verdict]:
    """A verdict on every recording, in order.

    Raises:
        InputError: a worker was killed from outside.
    """
    places = ([(0, index)] for index in range(len(clips)))
    yield from read_ahead(clips, Inspection(clips), places, workers, only)


def only(verdicts: list[Verdict]) -> Verdict:
    """That of a batch of one."""
    return verdicts[0]
