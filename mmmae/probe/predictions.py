"""Predictions of a run's own head for recordings or segments: one record each, bad ones included."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from mmmae.api import MaskedAutoencoder
from mmmae.data.clips import Clips
from mmmae.data.eval_windows import views
from mmmae.data.segments import Segments, encoded, read
from mmmae.data.targets import Target
from mmmae.parallel.ranks import Ranks
from mmmae.probe.own_head import averages, head_of
from modalities.errors import SampleError
from modalities.records import Batch

Record = dict[str, Any]


def predictions(
    model: MaskedAutoencoder,
    clips: Clips,
    segment: float | None,
    stride: float | None,
    batch_size: int,
    workers: int,
    ranks: Ranks,
    tick: Callable[[int], object] = lambda count: None,
) -> list[Record]:
    """The records of all recordings, in order; in the main process."""
    size = batch_size if segment is None else 1
    own = ranks.share(range(len(clips)), size)
    work = by_recording(model, clips, own, batch_size, workers) if segment is None else (
        by_segment(model, clips, own, stride, batch_size, workers)
    )  # fmt: skip
    found: list[tuple[int, list[Record]]] = []
    for index, records in work:
        found.append((index, records))
        tick(ranks.counted(1))
    gathered = ranks.gathered(found, tick)
    return [record for _, records in sorted((pair for part in gathered for pair in part), key=lambda pair: pair[0])
            for record in records]  # fmt: skip


def by_recording(
    model: MaskedAutoencoder, clips: Clips, indices: Sequence[int], batch_size: int, workers: int
) -> Iterator[tuple[int, list[Record]]]:
    """One record for each recording, averaged over its windows."""
    target = head_of(model).target
    for number, part in enumerate(views(clips, indices, batch_size, workers)):
        asked = indices[number * batch_size : (number + 1) * batch_size]
        bad = [index for index in asked if index not in part.indices]
        for index, fault in zip(bad, part.faults, strict=True):
            yield index, [failed(fault.id, f"{fault.path}: {fault.reason}")]
        if part.batch is None:
            continue
        count = len(part.indices)
        times = spans(model, part.batch, count)
        for index, name, values, (start, end) in zip(
            part.indices, part.batch.ids[:: len(part.batch.ids) // count], averages(model, part.batch, count), times,
            strict=True,
        ):  # fmt: skip
            yield index, [record(target, name, values, start, end)]


def by_segment(
    model: MaskedAutoencoder,
    clips: Clips,
    indices: Sequence[int],
    stride: float | None,
    batch_size: int,
    workers: int,
) -> Iterator[tuple[int, list[Record]]]:
    """A record for each segment of each recording."""
    target, names = head_of(model).target, [row["id"] for row in clips.manifest.columns("id")]
    encode = lambda batch: torch.from_numpy(averages(model, batch, len(batch.key)))  # noqa: E731
    for index, found in encoded(read(Segments(clips, indices, stride), workers), batch_size, encode):
        if isinstance(found, SampleError):
            yield index, [failed(names[index], f"{found.path}: {found.reason}")]
            continue
        values, start, end = (x.numpy() for x in found)
        rows = zip(values, start.tolist(), end.tolist(), strict=True)
        yield index, [record(target, names[index], *row) for row in rows]


def spans(model: MaskedAutoencoder, batch: Batch, count: int) -> list[tuple[float | None, float | None]]:
    """From where to where each recording was looked at, in seconds; None where nothing has a time of its own."""
    first, last = [], []
    for name, signal in batch.signals.items():
        steps = signal.values.shape[1]
        if steps == 1 or model.tokenizers[name].words is not None or signal.start is None:
            continue
        length = torch.full_like(signal.start, steps) if signal.length is None else signal.length
        seconds, absent = signal.seconds() * length / steps, length == 0
        first.append(signal.start.masked_fill(absent, torch.inf).unflatten(0, (count, -1)).amin(1))
        last.append((signal.start + seconds).masked_fill(absent, -torch.inf).unflatten(0, (count, -1)).amax(1))
    if not first:
        return [(None, None)] * count
    pairs = zip(torch.stack(first).amin(0).tolist(), torch.stack(last).amax(0).tolist(), strict=True)
    return [(round(start, 4), round(end, 4)) if start < end else (None, None) for start, end in pairs]


def record(target: Target, name: str, values: np.ndarray, start: float | None, end: float | None) -> Record:
    """What is predicted of one recording or segment, from `averages` of it; NaN where it has nothing."""
    if values[0] != values[0]:
        return failed(name, "has nothing here", start, end)
    return {"id": name, "start": start, "end": end, **target.answer(values), "error": None}


def failed(name: str, reason: str, start: float | None = None, end: float | None = None) -> Record:
    return {"id": name, "start": start, "end": end, "label": None, "score": None, "scores": None, "error": reason}
