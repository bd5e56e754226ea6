"""What several processes do as one: all know the outcome of what the main one does, and where one fails, all end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import torch.distributed as dist

from mmmae.launch import Elsewhere
from modalities.errors import InputError

T = TypeVar("T")
BEAT = 0.05  # seconds between looks at how far the others are
FAILED, DONE, MET = "mmmae/failed", "mmmae/done", "mmmae/met"


def agreed(work: Callable[[], T]) -> T:
    """What the main process makes of some work, in every process.

    Its error ends all of them: the others would wait for ever for a process that has ended.

    Raises:
        Elsewhere: in the others, if the work fails.
    """
    if not dist.is_available() or not dist.is_initialized():
        return work()
    outcome: list[Any] = [None, None]
    failed = None
    if dist.get_rank() == 0:
        try:
            outcome[0] = work()
        except Exception as error:
            failed = error
            outcome[1] = str(error) if isinstance(error, InputError) else f"the main process failed: {error!r}"
    dist.broadcast_object_list(outcome)
    if failed is not None:
        raise failed
    if outcome[1] is not None:
        raise Elsewhere(outcome[1])
    return outcome[0]


class Company:
    """Processes that work apart and meet now and then; whoever fails on the way, the others hear of it and end.

    They wait outside of collectives, so that a slow one runs into no time limit. (A process that is killed tells
    nobody: its launcher ends the others.)

    store: which all of them see.
    """

    def __init__(self, store: dist.Store, world: int):
        self.store, self.world = store, world
        self.meetings = self.done = 0

    def fails(self) -> bool:
        """Let the others know that this process fails; whether it is the first to do so, who tells the user why."""
        try:
            return self.store.add(FAILED, 1) == 1
        except dist.DistError:  # whoever kept the store, the main process or the launcher, has ended and said why
            return False

    def counted(self, count: int) -> int:
        """Report so much work as done; how much all have reported since this process last asked.

        Raises:
            Elsewhere: another process has failed.
        """
        try:
            failed = self.store.check([FAILED])
            total = self.store.add(DONE, count)
        except dist.DistError as error:
            raise Elsewhere("the main process or the launcher has ended") from error
        if failed:
            raise Elsewhere("another process has failed")
        new, self.done = total - self.done, total
        return new

    def meet(self, tick: Callable[[int], object] | None = None) -> None:
        """Wait until all are here; `tick` is told meanwhile what the others report as done.

        Raises:
            Elsewhere: another process has failed.
        """
        self.meetings += 1
        place = f"{MET}/{self.meetings}"
        here = self.arrived(place, 1)
        while here < self.world:
            time.sleep(BEAT)
            new = self.counted(0)
            if tick is not None:
                tick(new)
            here = self.arrived(place, 0)

    def arrived(self, place: str, count: int) -> int:
        try:
            return self.store.add(place, count)
        except dist.DistError as error:
            raise Elsewhere("the main process or the launcher has ended") from error
