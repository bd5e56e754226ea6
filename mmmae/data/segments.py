"""Segments of recordings from beginning to end: whole recordings without ever holding one."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from mmmae.data.bounds import bounded, extent
from mmmae.data.clips import Clips
from mmmae.data.manifest import Row
from mmmae.data.prefetch import describe, exits, follow_main, started
from mmmae.data.sample import Sample, collate, fill
from mmmae.data.substitutes import NothingThere
from modalities.errors import InputError, SampleError
from modalities.records import Batch
from modalities.shapes import Tensor

LEAST = 0.1  # share of a segment: a shorter rest at the end of a recording is left out


@dataclass(frozen=True)
class Segment:
    """One of the `total` segments of recording `index`, or why the recording cannot be read.

    start, end: seconds of the recording.
    """

    index: int
    total: int
    found: Sample | SampleError
    start: float = 0.0
    end: float = 0.0


class Segments(IterableDataset):
    """Segments of recordings in order from beginning to end; each worker reads recordings whole.

    A rest at the end of a recording that no segment has is in a shorter one, unless it lasts less than a tenth of one.
    What has no time of its own (an image, a caption) is one segment. Where a recording has nothing (silence), every
    stream of the segment is absent. At no time more than a segment is held.

    stride: seconds from the beginning of a segment to that of the next; None lays them end to end.
    """

    def __init__(self, clips: Clips, indices: Sequence[int], stride: float | None = None):
        self.clips, self.indices, self.stride = clips, indices, stride or clips.window

    def __iter__(self) -> Iterator[Segment]:
        worker = get_worker_info()
        mine = self.indices if worker is None else self.indices[worker.id :: worker.num_workers]
        for index in mine:
            try:
                yield from self.recording(index)
            except SampleError as error:
                place = f"{self.clips.manifest.path}, row {self.clips.manifest[index].id!r}: {error.path}"
                yield Segment(index, 0, SampleError(place, error.reason, error.remedy, error.modality))

    def recording(self, index: int) -> Iterator[Segment]:
        row, segment, stride = self.clips.manifest[index], self.clips.window, self.stride
        sources = self.clips.sources(row)
        row = bounded(self.clips, row, sources)
        start, end = row.start or 0.0, row.end
        if end is None:
            _, end = extent(self.clips, row, sources)
        if end <= start:
            end = start + segment
        overlap = max(segment - stride, 0.0)
        total = max(1, math.ceil((end - start - overlap) / stride - LEAST * segment / stride))
        for number in range(total):
            begin = start + number * stride
            until = min(begin + segment, end)
            yield Segment(index, total, self.segment(replace(row, start=begin, end=until)), begin, until)

    def segment(self, row: Row) -> Sample:
        """The only window of a row that lasts no longer than a segment; what padding can fill up is filled up."""
        whole = self.clips
        blanks = {m: reader.blank(whole.window) for m, reader in whole.readers.items()}
        assert row.start is not None and row.end is not None  # `recording` has set them
        seconds = row.end - row.start
        try:
            if seconds > whole.window - 1e-6:
                return whole.read(row, 0)[0]
            sample = Clips(whole.manifest, whole.readers, window=seconds, streams=whole.streams).read(row, 0)[0]
        except NothingThere:
            nothing = Sample(blanks, row.start, dict.fromkeys(blanks, 0.0), whole.spans, 0, row.id, row.label)
            return whole.aimed(row, nothing)
        short = {m: len(reading.values) < len(blanks[m].values) for m, reading in sample.readings.items()}
        readings = {m: fill(blanks[m], reading) for m, reading in sample.readings.items()}
        spans = {m: whole.window if short[m] else seconds for m in readings}
        return whole.aimed(row, replace(sample, readings=readings, spans=spans))


def read(segments: Segments, workers: int) -> Iterator[Segment]:
    """Every piece, read ahead by workers; the clips keep the notes of readers.

    Raises:
        InputError: a worker died.
    """
    running = started(DataLoader(segments, batch_size=None, num_workers=workers, worker_init_fn=follow_main))
    try:
        for piece in running:
            if isinstance(piece.found, Sample):
                segments.clips.notes.note(piece.found.notes)
            yield piece
    except (RuntimeError, EOFError, OSError) as error:
        if not (codes := exits(running, patience=0.0 if isinstance(error, RuntimeError) else 10.0)):
            raise
        names = ", ".join(describe(-code) for code in codes.values())
        raise InputError(
            f"a loader worker died ({names})\n  `mmmae check` names the recording that makes the decoder crash"
        ) from error


def encoded(
    pieces: Iterator[Segment], batch_size: int, encode: Callable[[Batch], Tensor]
) -> Iterator[tuple[int, tuple[Tensor, Tensor, Tensor] | SampleError]]:
    """What is made of the segments of each recording (n, ...) with their start and end (n,), or why it cannot be read.

    No batch reaches across recordings: what is made of one depends on no other, to the last bit.
    """
    waiting: dict[int, list[Segment]] = defaultdict(list)
    known: dict[int, list[Tensor]] = defaultdict(list)
    times: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for piece in pieces:
        index = piece.index
        if isinstance(piece.found, SampleError):
            for kept in (waiting, known, times):
                kept.pop(index, None)
            yield index, piece.found
            continue
        waiting[index].append(piece)
        times[index].append((piece.start, piece.end))
        complete = len(times[index]) == piece.total
        if complete or len(waiting[index]) == batch_size:
            found = [piece.found for piece in waiting.pop(index) if not isinstance(piece.found, SampleError)]
            known[index].append(encode(collate([found])))
        if complete:
            start, end = torch.tensor(times.pop(index), dtype=torch.float64).T.contiguous()
            yield index, (torch.cat(known.pop(index)), start, end)
