"""Batches by the step: what a step reads is a function of the seed alone, so a run resumes exactly from one integer."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterable, Iterator
from functools import lru_cache, partial
from itertools import count
from typing import Any

import torch
from torch.utils.data import DataLoader

from mmmae.data.dataset import Clips, Sample, collate
from mmmae.interrupt import die_with_parent
from modalities.errors import InputError, SampleError
from modalities.noise import permutation
from modalities.records import Batch

Place = tuple[int, int]  # (epoch, index)


class Schedule:
    """Which recordings each rank reads at each step: the next stretch of the epoch's order, cut into one part per rank.

    What a step holds over all ranks and pieces depends on their number times `batch_size` only. Each recording comes
    at most once per epoch; those that do not fill a batch of all ranks are left out, and the next epoch orders
    them anew.

    Args:
        samples: how many recordings there are.
        batch_size: recordings per rank and piece.
        pieces: into which each rank's share of a step is cut (gradient accumulation).

    Raises:
        InputError: a batch of all ranks holds more recordings than there are.
    """

    def __init__(self, samples: int, batch_size: int, *, world: int = 1, pieces: int = 1, seed: int = 0):
        if batch_size < 1:
            raise InputError(f"a batch of {batch_size} recordings: expected 1 or more\n  Use --batch-size 1 or more.")
        parts = world * pieces
        if samples < batch_size * parts:
            raise InputError(
                f"a batch of {batch_size * parts} recordings ({parts} x {batch_size}) is more than the {samples} there "
                "are to train on\n  Use a smaller --batch-size, or more data."
            )
        self.samples, self.batch_size, self.world, self.pieces = samples, batch_size, world, pieces
        self.steps_per_epoch = samples // (batch_size * parts)
        self.order = lru_cache(maxsize=1)(partial(permutation, seed, count=samples))

    def places(self, step: int, rank: int, piece: int = 0) -> list[Place]:
        """The (epoch, index) of the recordings that a rank reads for a piece of a step."""
        epoch, step = divmod(step, self.steps_per_epoch)
        first = ((step * self.pieces + piece) * self.world + rank) * self.batch_size
        return [(epoch, index) for index in self.order(epoch)[first : first + self.batch_size].tolist()]


class Loader:
    """Endless batches for one rank, `pieces` for each step, read ahead by `workers` processes (0: by this one).

    It begins at `start_step`, and so goes on exactly where a run stopped. A batch holds `batch_size` recordings, each
    in as many windows as the clips repeat it.

    Raises:
        InputError: see Schedule; while iterating SampleError, for a recording that cannot be read.
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
    ):
        self.schedule = Schedule(len(clips), batch_size, world=world, pieces=pieces, seed=clips.seed)
        self.clips, self.workers, self.rank, self.start_step = clips, workers, rank, start_step

    @property
    def steps_per_epoch(self) -> int:
        return self.schedule.steps_per_epoch

    def __iter__(self) -> Iterator[Batch]:
        pieces = range(self.schedule.pieces)
        places = (self.schedule.places(step, self.rank, piece) for step in count(self.start_step) for piece in pieces)
        return stream(self.clips, places, self.workers)


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
    clips: Clips, batch_size: int, *, workers: int = 0, rank: int = 0, world: int = 1, even: bool = False
) -> Iterator[Batch]:
    """Every recording once and in order; each batch of all ranks is cut into one part per rank, the last may be short.

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
    return stream(clips, batches, workers)


def stream(clips: Clips, batches: Iterable[list[Place]], workers: int) -> Iterator[Batch]:
    """The batches at the given places, read ahead by workers (torch gives each one thread) and pinned for the GPU.

    Raises:
        SampleError: a recording of the batch cannot be read.
    """
    loader = DataLoader(
        clips,
        batch_sampler=batches,
        collate_fn=collate,
        num_workers=workers,
        worker_init_fn=follow_main,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # the loader seeds its workers: not from the generator that the model draws from
    )
    for batch in started(loader):
        if isinstance(batch, SampleError):
            raise batch
        yield batch


def started(loader: DataLoader) -> Iterator[Any]:
    """The loader's batches, its workers begun with Ctrl-C held back: one that meets it before it can ignore it dies."""
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return iter(loader)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


def follow_main(worker: int) -> None:
    """Leave signals to the main process, which may want to finish its step and save; end when it ends or says so."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=heed_main, args=[os.getppid()], daemon=True).start()
    die_with_parent(signal.SIGKILL)


def heed_main(main: int) -> None:
    """End at the main process's SIGTERM, and not at one that was sent to a whole group of processes."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != main:
        pass
    os._exit(128 + signal.SIGTERM)


def inspect_all(clips: Clips, workers: int) -> Iterator[tuple[list[Sample], SampleError | None]]:
    """Every recording once and in order, read as training reads it: its samples, or the error training would meet."""
    places = [[(0, index)] for index in range(len(clips))]
    loader = DataLoader(clips, batch_sampler=places, collate_fn=one, num_workers=workers, worker_init_fn=follow_main)
    for found in started(loader):
        yield ([], found) if isinstance(found, SampleError) else (found, None)


def one(found: list[list[Sample] | SampleError]) -> list[Sample] | SampleError:
    """The only recording of a batch of one."""
    return found[0]
