"""SIGTERM and SIGINT while training: the first saves a checkpoint and ends the run, a second one ends it at once."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from types import FrameType

CAUGHT = (signal.SIGTERM, signal.SIGINT)
ECHO = 1.0  # seconds; Ctrl-C reaches a process from the terminal and again from its launcher
PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


class Interrupt:
    """Inside `with`, remembers the first SIGTERM or SIGINT instead of dying of it; `signal` is None until then.

    A second one, later than its echo, ends the process at once with exit code 128 + its number.
    """

    def __init__(self):
        self.signal: int | None = None
        self.since = 0.0

    def __enter__(self) -> Interrupt:
        mine = threading.current_thread() is threading.main_thread()  # no other may set handlers
        self.before = {number: signal.signal(number, self.handle) for number in CAUGHT if mine}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal is None:
            self.signal, self.since = number, time.monotonic()
        elif time.monotonic() - self.since > ECHO:
            os._exit(128 + number)


def die_with_parent(number: int) -> None:
    """Let the kernel send this process a signal when the one that began it ends, however that comes about (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)


def launched() -> bool:
    """Whether a launcher (accelerate or torchrun) began this process, which has no reason to outlive it."""
    return "ACCELERATE_MIXED_PRECISION" in os.environ or "TORCHELASTIC_RUN_ID" in os.environ
