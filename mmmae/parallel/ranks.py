"""The processes of one evaluation, by Accelerate: each encodes a shard, the main one does the rest.

accelerate launch --num_processes 4 -m mmmae probe RUN --data DIR
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

import torch

from mmmae.launch import Elsewhere, check_processes, precision
from mmmae.parallel.main_process import Company
from mmmae.parallel.signals import launched

if TYPE_CHECKING:
    from accelerate import Accelerator

T = TypeVar("T")
PATIENCE = timedelta(days=1)  # of a collective; all are there when one begins, but what it carries may be large


class Ranks:
    """This process among those of its command; alone, unless it is entered (`with`) in one of several.

    Inside, a process that fails ends all of them, with a single message. Nothing but bytes in main
    memory goes from one to another, so the group is of gloo's kind, also where the model is on a GPU.

    number, world: which of how many. main: whether it gathers, prints and writes. device: its own.
    """

    number, world = 0, 1

    def __init__(self):
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.company: Company | None = None

    @property
    def main(self) -> bool:
        return self.number == 0

    def __enter__(self) -> Ranks:
        if int(os.environ.get("WORLD_SIZE", 1)) > 1 and "LOCAL_RANK" in os.environ:
            from accelerate import PartialState
            from accelerate.utils import parse_flag_from_env
            from torch.distributed.distributed_c10d import _get_default_store

            cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.cuda.is_available()
            state = PartialState(cpu=cpu, backend="gloo", timeout=PATIENCE)
            self.number, self.world, self.device = state.process_index, state.num_processes, state.device
            self.company = Company(_get_default_store(), self.world)
        if launched() and self.main and (warning := check_processes(self.world, "-m mmmae " + " ".join(sys.argv[1:]))):
            print(f"mmmae: warning: {warning}", file=sys.stderr)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.company is None:
            return
        from accelerate import PartialState

        tells = not isinstance(error, Exception) or isinstance(error, Elsewhere) or self.company.fails()
        PartialState().destroy_process_group()
        if not tells:
            raise Elsewhere("another process has failed before") from error

    def accelerator(self) -> Accelerator:
        """Accelerate for a model that this process trains by itself, in bf16 where the device has it."""
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState

        if not launched():
            AcceleratorState._reset_state()  # a run before in the same process may have had another precision
        return Accelerator(mixed_precision=precision("auto"))

    def first(self, work: Callable[[], T]) -> T:
        """What every process makes of some work; the main one before the others, which may read what it has written."""
        if self.company is None:
            return work()
        if self.main:
            made = work()
            self.company.meet()
            return made
        self.company.meet()
        return work()

    def share(self, indices: Sequence[int], size: int) -> Sequence[int]:
        """The part of some recordings that this process encodes, in whole batches of `size`: those of one process."""
        batches = -(-len(indices) // size)
        begin, end = (batches * number // self.world for number in (self.number, self.number + 1))
        return indices[begin * size : end * size]

    def counted(self, count: int) -> int:
        """Report so many recordings as done; how many all processes have reported since this one last asked."""
        return count if self.company is None else self.company.counted(count)

    def gathered(self, value: T, tick: Callable[[int], object] | None = None) -> list[T]:
        """What each process has, in their order; nothing in others than the main one.

        tick: called, while this process waits, with the number of recordings that the others have done.
        """
        if self.company is None:
            return [value]
        self.company.meet(tick)
        values: list = [None] * self.world
        # Accelerate's own `gather_object` would give all of it to every process: the tokens of a corpus many times.
        torch.distributed.gather_object(value, values if self.main else None)
        return values if self.main else []
