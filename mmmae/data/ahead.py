"""Reading ahead in worker processes: one that a decoder crashes or holds for ever costs a recording, not the run."""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from mmmae.interrupt import die_with_parent
from modalities.errors import InputError

if TYPE_CHECKING:
    from mmmae.data.dataset import Clips

Place = tuple[int, int]  # (epoch, index)

LONGEST = 300.0  # seconds that a processor may be busy with one window; waiting for a slow disk does not count
CRASHES = {
    signal.SIGSEGV: "makes the decoder crash",
    signal.SIGABRT: "makes the decoder give up",
    signal.SIGBUS: "makes the decoder crash, or shrinks while it is read",
    signal.SIGFPE: "makes the decoder crash",
    signal.SIGILL: "makes the decoder crash",
    signal.SIGPROF: f"keeps the decoder busy for more than {LONGEST:g} s",
}


class Desk:
    """Where each worker shows which recording it is at, for the main process to see when the worker is dead."""

    def __init__(self, workers: int):
        self.at = torch.full((workers,), -1, dtype=torch.int64).share_memory_()

    def begin(self, index: int) -> None:
        if (worker := get_worker_info()) is not None:
            self.at[worker.id] = index
            signal.setitimer(signal.ITIMER_PROF, LONGEST)  # nobody handles SIGPROF: it ends even a loop in C

    def leave(self) -> None:
        if (worker := get_worker_info()) is not None:
            signal.setitimer(signal.ITIMER_PROF, 0)
            self.at[worker.id] = -1


def read_ahead(
    clips: Clips, dataset: Dataset, batches: Iterable[list[Place]], workers: int, collate: Callable[[list], Any]
) -> Iterator[Any]:
    """The dataset's batches at the given places, in order, read ahead by workers and pinned for the GPU.

    A recording of `clips` at which a decoder crashes a worker, or never returns, is one that cannot be read from then
    on; new workers begin again with the batch that was to come next. (Without workers such a file ends the process.)

    Raises:
        InputError: a worker was killed from outside.
    """
    batches, waiting = iter(batches), deque[list[Place]]()
    while True:
        again = list(waiting)
        waiting.clear()
        clips.desk = Desk(workers) if workers else None
        loader = DataLoader(
            dataset,
            batch_sampler=remembered(chain(again, batches), waiting),
            collate_fn=collate,
            num_workers=workers,
            worker_init_fn=follow_main,
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
            blame(clips, codes, error)
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


def blame(clips: Clips, codes: dict[int, int], error: Exception) -> None:
    """Put down the deaths of workers to the recordings that they were at.

    Raises:
        InputError: it was not the recording's doing.
    """
    assert clips.desk is not None
    for number, code in codes.items():
        index, name = int(clips.desk.at[number]), describe(-code)
        if index < 0 or -code not in CRASHES:
            place = "" if index < 0 else f" while it read row {clips.manifest[index].id!r} of {clips.manifest.path}"
            raise InputError(
                f"a loader worker died{place} ({name})\n"
                "  If memory ran out, use fewer --workers or a smaller --batch-size; the same command resumes the run."
            ) from error
        clips.refuse(index, f"{CRASHES[signal.Signals(-code)]} ({name})")


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
