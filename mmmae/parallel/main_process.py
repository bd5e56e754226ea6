"""Work of the main process with its outcome on all ranks; if one rank fails, all end."""

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
    """The result of work in the main process, broadcast to every process.

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
    """Processes that work independently between barriers; if one fails, the others are notified and end.

    They wait outside of collectives, so that a slow one runs into no time limit. (A process that is killed notifies
    none: its launcher ends the others.)

    store: which all of them see.
    """

    def __init__(self, store: dist.Store, world: int):
        self.store, self.world = store, world
        self.meetings = self.done = 0

    def fails(self) -> bool:
        """Notify the others that this process fails; True if it is the first, which reports the error to the user."""
        try:
            return self.store.add(FAILED, 1) == 1
        except dist.DistError:  # the process that kept the store (main or launcher) has ended and reported why
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
        """Wait until all processes are here; `tick` is called meanwhile with the work that the others report.

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
