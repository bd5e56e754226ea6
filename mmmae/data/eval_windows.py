"""Windows for evaluation: the same every time, without substitutes for bad recordings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from torch.utils.data import Dataset

from mmmae.data.bad_samples import Fault
from mmmae.data.clips import Clips
from mmmae.data.notes import ReaderNote, distinct
from mmmae.data.prefetch import Place, read_ahead
from mmmae.data.sample import Sample, collate
from modalities.errors import SampleError
from modalities.noise import sample_key
from modalities.records import Batch


@dataclass(frozen=True)
class Views:
    """The windows of some recordings.

    indices: of the recordings in their manifest.
    batch: all windows of the first recording, then those of the next; None where all recordings are bad.
    faults: of those that are bad.
    notes: of the readers, one for each sentence.
    """

    indices: list[int]
    batch: Batch | None
    faults: list[Fault]
    notes: list[ReaderNote]


class Recordings(Dataset):
    """All windows of a recording, or why it cannot be read; the clips say how many windows and where they lie."""

    def __init__(self, clips: Clips):
        self.clips = clips

    def __getitem__(self, place: Place) -> tuple[int, list[Sample] | Fault]:
        epoch, index = place
        clips, key = self.clips, sample_key(self.clips.seed, epoch, index)
        try:
            with clips.reading(index):
                samples = clips.views(clips.manifest[index], key)
        except SampleError as error:
            return index, clips.fault(index, error) or clips.nothing(index)
        if not any(reading.length for sample in samples for reading in sample.readings.values()):
            names = ", ".join(dict.fromkeys(stream.source for stream in clips.streams.values()))
            return index, replace(clips.nothing(index), reason=f"has no {names} in the windows that are read")
        return index, samples


def views(clips: Clips, indices: Sequence[int], batch_size: int, workers: int) -> Iterator[Views]:
    """`batch_size` recordings at a time, in the order of `indices`, read ahead by workers.

    A window in which a recording has nothing has every stream absent; a recording that has nothing in any is bad. The
    clips keep the notes of readers.

    Raises:
        InputError: a worker was killed from outside.
    """
    places = ([(0, index) for index in indices[n : n + batch_size]] for n in range(0, len(indices), batch_size))
    for found in read_ahead(Recordings(clips), places, workers, together, clips):
        clips.notes.note(found.notes)
        yield found


def together(found: Sequence[tuple[int, list[Sample] | Fault]]) -> Views:
    """One batch of the windows of all recordings that could be read."""
    read = [(index, samples) for index, samples in found if isinstance(samples, list)]
    batch = collate(samples for _, samples in read) if read else None
    faults = [fault for _, fault in found if isinstance(fault, Fault)]
    notes = distinct(*(sample.notes for _, samples in read for sample in samples))
    return Views([index for index, _ in read], batch, faults, notes)
