"""Whole recordings looked through for what training would meet in some window of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from torch.utils.data import Dataset

from mmmae.data.bad_samples import Fault
from mmmae.data.clips import Clips
from mmmae.data.manifest import Row
from mmmae.data.notes import ReaderNote, distinct, noted
from mmmae.data.prefetch import Place, read_ahead
from mmmae.data.scan import scan
from mmmae.data.windows import SLACK
from modalities.errors import SampleError
from modalities.reader import Contents

SHORT = "shorter than the window"  # whether a recording is, and is padded


@dataclass(frozen=True)
class Verdict:
    """The streams that a recording has at some time, and what is wrong with it.

    facts: by stream, from headers and contents; of a recording that can be read. notes: of the readers.
    """

    id: str
    streams: set[str]
    fault: Fault | None
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: tuple[ReaderNote, ...] = ()


class Inspection(Dataset):
    """Verdicts on recordings, each looked through from beginning to end."""

    def __init__(self, clips: Clips):
        self.clips = clips
        streams = {(id(clips.readers[m]), stream.source): m for m, stream in reversed(clips.streams.items())}
        self.described = [m for m in clips.streams if m in streams.values()]  # of those that read alike the first

    def __getitem__(self, place: Place) -> Verdict:
        clips, (_, index) = self.clips, place
        row, streams, notes = clips.manifest[index], set(), []
        try:
            sources = clips.sources(row)
            looks = {m: clips.readers[m].contents() for m in self.described if m in sources}
            origins = {m: (clips.called({m: source}), clips.streams[m].source) for m, source in sources.items()}
            for start, found in scan(clips, row, lambda: clips.reading(index)):
                streams |= found.keys()
                notes = distinct(notes, noted(row.id, found, origins.__getitem__))
                for m, look in looks.items():
                    look.add(found.get(m), start)
            with clips.reading(index):
                facts = {m: known for m, look in looks.items() if (known := self.facts(row, m, sources[m], look))}
        except SampleError as error:
            return Verdict(row.id, streams, clips.fault(index, error))
        return Verdict(row.id, streams, None if streams else clips.nothing(index), facts, tuple(notes))

    def facts(self, row: Row, stream: str, source: Any, look: Contents) -> dict[str, Any]:
        """What is known of one stream of a recording, the row's part of it; nothing where the file does not have it."""
        reader = self.clips.readers[stream]
        with self.clips.blaming(stream, source):
            found = dict(reader.describe(source))
            seconds = found.pop("seconds", None) or reader.seconds(source)
        if seconds is not None:
            seconds = max(min(seconds, row.end or seconds) - (row.start or 0.0), 0.0)
            found = {"seconds": seconds, **found}
            if reader.pads:
                found[SHORT] = seconds < self.clips.spans[stream] - SLACK
        return found | look.findings() if found else {}


def inspect_all(clips: Clips, workers: int) -> Iterator[Verdict]:
    """A verdict on every recording, in order.

    Raises:
        InputError: a worker was killed from outside.
    """
    places = ([(0, index)] for index in range(len(clips)))
    yield from read_ahead(Inspection(clips), places, workers, only, clips)


def only(verdicts: list[Verdict]) -> Verdict:
    """That of a batch of one."""
    return verdicts[0]
