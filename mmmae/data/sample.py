"""One window of one recording, and batches of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import torch

from mmmae.data.bad_samples import Fault
from mmmae.data.notes import ReaderNote
from mmmae.data.targets import Encoded, batched
from mmmae.data.window_targets import stacked
from modalities.reader import Reader, Reading
from modalities.records import Batch, Signal


@dataclass(frozen=True)
class Sample:
    """One window of one recording: a reading of every stream, blank where the recording lacks it.

    start: of the window, in seconds of the recording; lags: by how much each stream begins after it.
    targets: what else is learned of it, see mmmae/data/window_targets.py.
    faults: of the recordings that it stands in for; notes: of its readers.
    """

    readings: dict[str, Reading]
    start: float
    lags: dict[str, float]
    spans: dict[str, float]
    key: int
    id: str
    label: Encoded | None
    targets: dict[str, torch.Tensor] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()
    notes: tuple[ReaderNote, ...] = ()


def fill(blank: Reading, reading: Reading) -> Reading:
    """The reading in the shape of a whole window: one of fewer seconds is followed by zeros."""
    steps = len(reading.values)
    if steps == len(blank.values):
        return reading
    values, hint = padded(reading.values, blank.values), reading.hint
    if hint is not None and blank.hint is not None:
        hint = padded(hint, blank.hint)
    observed = reading.observed
    if observed is not None:
        observed = torch.cat([observed, observed.new_zeros(len(values) - steps, *observed.shape[1:])])
    return replace(reading, values=values, observed=observed, hint=hint)


def covered(reader: Reader, longest: float, span: float) -> float:
    """Seconds that all steps of a sample cover where `span` of the `longest` seconds are read.

    A reader that takes as many steps of any span (the frames of a clip) covers the span, so a longer one is faster; one
    that takes more steps of a longer span (the samples of a sound) fills a shorter one up to the longest.
    """
    if span == longest:
        return span
    alike = len(reader.blank(span).values) == len(reader.blank(longest).values)
    return span if alike else longest


def padded(steps: torch.Tensor, blank: torch.Tensor) -> torch.Tensor:
    """As many steps as the blank has: the given ones, then the blank's."""
    return torch.cat([steps, blank[len(steps) :]])


def collate(items: Iterable[Sequence[Sample]]) -> Batch:
    """One batch of all samples."""
    samples = [sample for item in items for sample in item]
    signals = {m: stack(samples, m) for m in samples[0].readings}
    key = torch.tensor([sample.key for sample in samples])
    label = batched([sample.label for sample in samples])
    targets = stacked([sample.targets for sample in samples])
    return Batch(signals, key, [sample.id for sample in samples], label, targets=targets)


def stack(samples: Sequence[Sample], stream: str) -> Signal:
    """The signal of one stream; what says nothing (every step valid, every reading observed, no lag) is None."""
    readings = [sample.readings[stream] for sample in samples]
    start = torch.tensor([sample.start + sample.lags[stream] for sample in samples], dtype=torch.float32)
    duration = torch.tensor([sample.spans[stream] for sample in samples], dtype=torch.float32)
    lag = torch.tensor([sample.lags[stream] for sample in samples], dtype=torch.float32)
    values = torch.stack([reading.values for reading in readings])
    length = torch.tensor([reading.length for reading in readings])
    observed = edges = None
    if any(reading.observed is not None and not reading.observed.all() for reading in readings):
        whole = next(torch.ones_like(reading.observed) for reading in readings if reading.observed is not None)
        observed = torch.stack([whole if reading.observed is None else reading.observed for reading in readings])
    if known := [reading.edges for reading in readings if reading.edges is not None]:
        alone = torch.zeros_like(known[0])
        edges = torch.stack([alone if reading.edges is None else reading.edges for reading in readings])
    hints = [reading.hint for reading in readings if reading.hint is not None]
    hint = torch.stack(hints) if hints else None
    length = None if (length == values.shape[1]).all() else length
    return Signal(values, length, start, duration, observed, edges, lag if lag.any() else None, hint)
