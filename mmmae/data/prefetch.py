"""Prefetching in worker processes: a decoder that crashes or blocks a worker costs a recording, not the run."""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
from multiprocessing.connection import wait
from typing import Any, Protocol, runtime_checkable

import torch
from torch.utils.data import DataLoader, Dataset

from mmmae.data.worker_status import LONGEST, WorkerStatus, install
from mmmae.parallel.signals import die_with_parent
from modalities.errors import InputError

Place = tuple[int, int]  # (epoch, index)

CRASHES = {
    signal.SIGSEGV: "makes the decoder crash",
    signal.SIGABRT: "makes the decoder give up",
    signal.SIGBUS: "makes the decoder crash, or shrinks while it is read",
    signal.SIGFPE: "makes the decoder crash",
    signal.SIGILL: "makes the decoder crash",
    signal.SIGPROF: f"keeps the decoder busy for more than {LONGEST:g} s",
}


@runtime_checkable
class Recordings(Protocol):
    """What the places of a dataset belong to."""

    def refuse(self, index: int, reason: str) -> None:
        """From now on the recording counts as one that cannot be read."""

    def describe(self, index: int) -> str:
        """What to call a recording in a message."""
        ...


def read_ahead(
    dataset: Dataset,
    batches: Iterable[list[Place]],
    workers: int,
    collate: Callable[[list], Any],
    recordings: Recordings,
) -> Iterator[Any]:
    """The dataset's batches at the given places, in order, read ahead by workers and pinned for the GPU.

    A recording at which a decoder crashes a worker, or never returns, is refused from then on (the dataset marks the
    one it reads by worker_status.reading); new workers begin again with the batch that was to come next. Without
    workers such a file ends the process.

    Raises:
        InputError: a worker was killed from outside.
    """
    batches, waiting = iter(batches), deque[list[Place]]()
    while True:
        again = list(waiting)
        waiting.clear()
        status = WorkerStatus(workers)
        loader = DataLoader(
            dataset,
            batch_sampler=remembered(chain(again, batches), waiting),
            collate_fn=collate,
            num_workers=workers,
            worker_init_fn=partial(begin, status),
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # workers are seeded from it: not from the one that the model draws from
        )
        running = started(loader)
        try:
            for batch in running:
                waiting.popleft()
                yield batch
            return
        except (RuntimeError, EOFError, OSError) as error:  # the last two where it died while it handed over a batch
            if not (codes := exits(running, patience=0.0 if isinstance(error, RuntimeError) else 10.0)):
                raise
            blame(recordings, status, codes, error)
            del running  # ends the workers that are left


def remembered(batches: Iterable[list[Place]], waiting: deque[list[Place]]) -> Iterator[list[Place]]:
    """The batches; those that are handed to workers and have not come back are in `waiting`."""
    for batch in batches:
        waiting.append(batch)
        yield batch


def exits(running: Any, patience: float) -> dict[int, int]:
    """How the dead among an iterator's workers ended; one that is dying is waited for, `patience` seconds."""
    workers = list(getattr(running, "_workers", ()))
    ended = wait([worker.sentinel for worker in workers], timeout=patience)
    for worker in workers:
        if worker.sentinel in ended:  # closed a moment before there is an exit code
            worker.join()
    return {number: worker.exitcode for number, worker in enumerate(workers) if worker.exitcode}


def blame(recordings: Recordings, status: WorkerStatus, codes: dict[int, int], error: Exception) -> None:
    """Put down the deaths of workers to the recordings that they were at.

    Raises:
        InputError: it was not the recording's doing.
    """
    for number, code in codes.items():
        index, name = int(status.reading[number]), describe(-code)
        if index < 0 or -code not in CRASHES:
            place = "" if index < 0 else f" while it read {recordings.describe(index)}"
            raise InputError(
                f"a loader worker died{place} ({name})\n"
                "  If memory ran out, use fewer --workers or a smaller --batch-size; the same command resumes the run."
            ) from error
        recordings.refuse(index, f"{CRASHES[signal.Signals(-code)]} ({name})")


def describe(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"exit code {-number}"


def started(loader: DataLoader) -> Iterator[Any]:
    """The loader's batches, its workers begun with Ctrl-C held back: one that meets it before it can ignore it dies.

    That a worker died is heard where its batch is waited for. Torch would raise it in the middle of whatever the main
    process does, for instance of saving.
    """
    children = signal.getsignal(signal.SIGCHLD)
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return iter(loader)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGCHLD, children)


def begin(status: WorkerStatus, worker: int) -> None:
    """What a worker does first."""
    install(status)
    follow_main(worker)


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
