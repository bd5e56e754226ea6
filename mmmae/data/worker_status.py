"""The recording that each loader worker is reading, shared with the main process for when a worker dies."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.utils.data import get_worker_info

LONGEST = 300.0  # seconds that a processor may be busy with one window; waiting for a slow disk does not count


class WorkerStatus:
    """The index of the recording that each worker is reading, -1 for none; in memory that all processes share."""

    def __init__(self, workers: int):
        self.reading = torch.full((workers,), -1, dtype=torch.int64).share_memory_()


own: WorkerStatus | None = None  # of this process, where it is a worker


def install(status: WorkerStatus) -> None:
    """Make this worker write to `status`."""
    global own
    own = status


@contextmanager
def reading(index: int) -> Iterator[None]:
    """Inside, this worker reads a recording, and ends if that keeps a processor busy for more than LONGEST seconds.

    Without workers nothing is watched.
    """
    worker = get_worker_info()
    if own is None or worker is None:
        yield
        return
    own.reading[worker.id] = index
    signal.setitimer(signal.ITIMER_PROF, LONGEST)  # nobody handles SIGPROF: it ends even a loop in C
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        own.reading[worker.id] = -1
