"""What only the main process does, and all must know the outcome of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch.distributed as dist

from modalities.errors import InputError

T = TypeVar("T")


def agreed(work: Callable[[], T]) -> T:
    """What the main process makes of some work, in every process.

    Its error is raised in all of them: the others would wait for ever for a process that has ended.
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
        raise InputError(outcome[1])
    return outcome[0]
