"""Batches by the step: what a step reads is a function of the seed alone, so a run resumes exactly from one integer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache, partial
from itertools import count

import torch

from mmmae.data.bad_samples import Fault
from mmmae.data.clips import Clips
from mmmae.data.mixture import Mixture
from mmmae.data.notes import ReaderNote, distinct
from mmmae.data.prefetch import Place, read_ahead
from mmmae.data.sample import Sample, collate
from mmmae.data.substitutes import NoSubstitute
from modalities.errors import InputError
from modalities.noise import permutation
from modalities.records import Batch
from modalities.shapes import Int, Tensor

Note = Callable[[Sequence[Fault]], None]  # is told of the bad recordings of every batch
Remark = Callable[[Sequence[ReaderNote]], None]  # gets what the readers of a batch noted, each sentence once


class Schedule:
    """Which recordings each rank reads at each step: the next stretch of the epoch's order, cut into one part per rank.

    What a step holds over all ranks and pieces depends on their number times `batch_size` only. Each recording comes
    at most once per epoch; those that do not fill a batch of all ranks are left out, and the next epoch orders
    them anew. Of several corpora, a mixture says how often each comes (see Mixture); an epoch has as many steps.

    Args:
        samples: how many recordings there are.
        batch_size: recordings per rank and piece.
        pieces: into which each rank's share of a step is cut (gradient accumulation).
        mixture: the shares of several corpora.

    Raises:
        InputError: a batch of all ranks holds more recordings than there are, or cannot hold the shares.
    """

    def __init__(
        self,
        samples: int,
        batch_size: int,
        *,
        world: int = 1,
        pieces: int = 1,
        seed: int = 0,
        mixture: Mixture | None = None,
    ):
        if batch_size < 1:
            raise InputError(f"a batch of {batch_size} recordings: expected 1 or more\n  Use --batch-size 1 or more.")
        parts = world * pieces
        if mixture is not None:
            mixture.require(batch_size * parts, batch_size)
        if samples < batch_size * parts:
            raise InputError(
                f"a batch of {batch_size * parts} recordings ({parts} x {batch_size}) is more than the {samples} there "
                "are to train on\n  Use a smaller --batch-size, leave it away for one that fits, or take more data."
            )
        self.samples, self.batch_size, self.world, self.pieces = samples, batch_size, world, pieces
        self.steps_per_epoch = samples // (batch_size * parts)
        slots = self.steps_per_epoch * batch_size * parts
        self.order = lru_cache(maxsize=1)(partial(order, seed, samples, slots, mixture))

    def places(self, step: int, rank: int, piece: int = 0) -> list[Place]:
        """The (epoch, index) of the recordings that a rank reads for a piece of a step; of a mixture (pass, index)."""
        epoch, step = divmod(step, self.steps_per_epoch)
        first = ((step * self.pieces + piece) * self.world + rank) * self.batch_size
        return [(turn, index) for turn, index in self.order(epoch)[first : first + self.batch_size].tolist()]


def order(seed: int, samples: int, slots: int, mixture: Mixture | None, epoch: int) -> Int[Tensor, "slots 2"]:
    """The pass over its corpus and the index of the recording at each place of an epoch."""
    if mixture is not None:
        return mixture.order(seed, epoch, slots)
    index = permutation(seed, epoch, samples)[:slots]
    return torch.stack([torch.full_like(index, epoch), index], 1)


class Loader:
    """Endless batches for one rank, `pieces` for each step, read ahead by `workers` processes (0: by this one).

    It begins at `start_step`, and so goes on exactly where a run stopped. A batch holds `batch_size` recordings, each
    in as many windows as the clips repeat it.

    Raises:
        InputError: see Schedule and stream; by default every bad recording is one.
    """

    def __init__(
        self,
        clips: Clips,
        batch_size: int,
        *,
        workers: int = 0,
        rank: int = 0,
        world: int = 1,
        pieces: int = 1,
        start_step: int = 0,
        note: Note | None = None,
        remark: Remark | None = None,
    ):
        self.schedule = Schedule(
            len(clips), batch_size, world=world, pieces=pieces, seed=clips.seed, mixture=clips.mixture
        )
        self.clips, self.workers, self.rank, self.start_step = clips, workers, rank, start_step
        self.note, self.remark = note or refuse, remark

    @property
    def steps_per_epoch(self) -> int:
        return self.schedule.steps_per_epoch

    def __iter__(self) -> Iterator[Batch]:
        pieces = range(self.schedule.pieces)
        places = (self.schedule.places(step, self.rank, piece) for step in count(self.start_step) for piece in pieces)
        return stream(self.clips, places, self.workers, self.note, self.remark)


def share(batch_size: int, *, world: int, pieces: int, repeats: int) -> int:
    """Recordings that one rank reads for one piece of a step of `batch_size` samples.

    Raises:
        InputError: the batch cannot be cut so.
    """
    parts = world * pieces * repeats
    if batch_size % parts:
        raise InputError(
            f"a batch of {batch_size} cannot be cut for {world} processes x {pieces} pieces x {repeats} repeats\n"
            f"  choose --batch-size as a multiple of {parts}"
        )
    return batch_size // parts


def evaluation(
    clips: Clips,
    batch_size: int,
    *,
    workers: int = 0,
    rank: int = 0,
    world: int = 1,
    even: bool = False,
    note: Note | None = None,
    remark: Remark | None = None,
) -> Iterator[Batch]:
    """Every recording once and in order; each batch of all ranks is cut into one part per rank, the last may be short.

    In the place of a bad recording comes its substitute: batches keep their sizes.

    even: leave out the last `len(clips) % world` recordings, so that all ranks see as many batches of the same sizes
        and may talk to each other inside the model (a contrastive loss that gathers would wait for ever otherwise).
    """
    samples = len(clips) - (len(clips) % world if even else 0)
    batches = []
    for first in range(0, samples, batch_size * world):
        size = min(batch_size * world, samples - first)
        here, there = first + size * rank // world, first + size * (rank + 1) // world
        if here < there:
            batches.append([(0, index) for index in range(here, there)])
    return stream(clips, batches, workers, note or refuse, remark)


def stream(
    clips: Clips, batches: Iterable[list[Place]], workers: int, note: Note, remark: Remark | None = None
) -> Iterator[Batch]:
    """The batches at the given places, read ahead by workers; what could not be read is noted before its batch comes.

    remark: gets the notes of readers; by default the clips keep them.

    Raises:
        InputError: nothing stands in for a bad recording, or `note` has had enough.
    """
    for batch, faults, notes in read_ahead(clips, batches, workers, together, clips):
        note(faults)
        (remark or clips.notes.note)(notes)
        if isinstance(batch, NoSubstitute):
            raise batch
        yield batch


def together(
    items: Sequence[list[Sample] | NoSubstitute],
) -> tuple[Batch | NoSubstitute, list[Fault], list[ReaderNote]]:
    """One batch of all samples (or the first of the errors), the faults of what they stand in for, and the notes."""
    errors = [item for item in items if isinstance(item, NoSubstitute)]
    faults = [f for item in items for f in (item.faults if isinstance(item, NoSubstitute) else item[0].faults)]
    read = [item for item in items if isinstance(item, list)]
    notes = distinct(*(sample.notes for item in read for sample in item))
    return errors[0] if errors else collate(read), faults, notes


def refuse(faults: Sequence[Fault]) -> None:
    """Go on with nothing that stands in for something else.

    Raises:
        InputError: there is a fault.
    """
    if faults:
        raise InputError(f"{faults[0]}\n  {faults[0].remedy}")
