"""Processes of one run wait for each other: which one died or hangs is found out and named, and none waits for ever."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil

from mmmae.launch import HALTED
from mmmae.parallel.signals import Interrupt

BEAT = 0.25  # seconds between signs of life
STARTING, COMPUTING, ENDED = "starting", "computing", "ended"
SILENCE = 3.0  # seconds without one after which a process that the others miss counts as dead
LEAVING = 10.0  # seconds that the watch itself gets to end


def here() -> str:
    """Where numbers of processes mean the same: this host, and what counts its processes."""
    spaces = Path("/proc/self/ns/pid")
    return f"{socket.gethostname()} {spaces.readlink() if spaces.is_symlink() else ''}"


@dataclass
class Process:
    """What is known of a process: the steps it has taken, what it does, when it was heard of and when it moved on.

    `number` is its number if it lives here, so that its end shows at once.
    """

    step: int = 0
    doing: str = STARTING
    beat: int = 0
    heard: float = field(default_factory=time.monotonic)
    moved: float = field(default_factory=time.monotonic)
    number: int | None = None

    def receive(self, beat: int, step: int, doing: str, where: str, number: int) -> None:
        now = time.monotonic()
        self.heard = now if beat != self.beat else self.heard
        self.moved = now if (step, doing) != (self.step, self.doing) else self.moved
        self.beat, self.step, self.doing = beat, step, doing
        self.number = number if where == here() else None

    def silent(self) -> bool:
        """Whether it has ended without saying so, or gives no sign of life."""
        if self.doing == ENDED:
            return False
        try:
            ended = self.number is not None and psutil.Process(self.number).status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            ended = True
        return ended or time.monotonic() - self.heard > SILENCE


class Watch(threading.Thread):
    """Exchanges heartbeats with the other processes, which carry the step and the position of this one.

    The main thread may wait inside a collective for ever, so the watch ends this process itself: when one is missing
    and the launcher has begun to end the others, and when, from the first step on, none moves for `timeout` seconds.

    Args:
        timeout: seconds.
        interrupt: how the launcher's signal shows.
    """

    def __init__(self, rank: int, world: int, *, timeout: float, interrupt: Interrupt):
        super().__init__(name="watch", daemon=True)
        self.rank, self.timeout, self.interrupt = rank, timeout, interrupt
        self.processes = [Process() for _ in range(world)]
        self.place = (0, STARTING)
        self.ended = threading.Event()

    def at(self, step: int, doing: str) -> None:
        """The current position of the main thread."""
        self.place = (step, doing)

    def close(self) -> None:
        """End the watch, and wait for that: a thread inside the store when Python ends would abort the process."""
        self.ended.set()
        self.join(LEAVING)

    def run(self) -> None:
        if len(self.processes) == 1:
            return
        from torch.distributed import DistError, TCPStore

        try:
            meeting = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
            store = TCPStore(*meeting, is_master=False, wait_for_workers=False, timeout=timedelta(seconds=60))
            while not self.ended.wait(BEAT):
                self.exchange(store)
                if message := self.verdict():
                    self.leave(message)
            self.exchange(store)
        except DistError:  # the store ended with its process: the launcher, whose end signals us anyway, or rank 0
            kept = self.rank and not os.environ.get("TORCHELASTIC_USE_AGENT_STORE")
            if kept and not self.ended.is_set() and self.processes[0].doing != ENDED:
                self.leave(self.report([0], "died"))

    def exchange(self, store: Any) -> None:
        """Send a heartbeat and receive those of the others."""
        own = self.processes[self.rank]
        store.set(f"mmmae/watch/{self.rank}", json.dumps([own.beat + 1, *self.place, here(), os.getpid()]))
        for rank, process in enumerate(self.processes):
            if store.check([f"mmmae/watch/{rank}"]):
                process.receive(*json.loads(store.get(f"mmmae/watch/{rank}")))

    def verdict(self) -> str | None:
        """Why this process has to end now, if it has."""
        if self.interrupt.signal is not None and (message := self.dead()):
            return message
        if any(process.doing == STARTING for process in self.processes):
            return None  # reading a large manifest takes its time
        if time.monotonic() - max(process.moved for process in self.processes) < self.timeout:
            return None
        places = [(process.step, process.doing == COMPUTING) for process in self.processes]  # where all meet
        behind = [rank for rank, place in enumerate(places) if place == min(places)]
        return self.report(self.silent() or behind, f"has not moved on for {self.timeout:g} s")

    def silent(self) -> list[int]:
        return [rank for rank, process in enumerate(self.processes) if process.silent()]

    def dead(self, patience: float = 0.0) -> str | None:
        """Which processes give no sign of life, looked at for up to `patience` seconds; None if all do."""
        until = time.monotonic() + patience
        while not (missing := self.silent()) and time.monotonic() < until:
            time.sleep(BEAT)
        return self.report(missing, "died") if missing else None

    def report(self, ranks: list[int], what: str) -> str:
        """Name processes, what happened to them and where they stood."""
        stood = [(rank, self.processes[rank]) for rank in ranks]
        named = "; ".join(f"rank {rank} {what} (after step {p.step}, {p.doing})" for rank, p in stood)
        return f"{named}\n  the other processes end; launch again to resume from the newest checkpoint"

    def leave(self, message: str) -> None:
        print(f"mmmae: {message}", file=sys.stderr, flush=True)
        os._exit(HALTED)
