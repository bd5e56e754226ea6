"""The CPU cores and main memory available to a run, within the limits of its container."""

from __future__ import annotations

import math
import os
import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

CGROUPS = Path("/sys/fs/cgroup")


def cores() -> int:
    """Processor cores that this process may use: those it is bound to, or fewer by its container's quota."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [math.ceil(int(parts[0]) / int(parts[1])) for folder in cgroups() if (parts := quota(folder))]
    return max(1, min([bound, *quotas]))


def free_memory() -> int:
    """Bytes of main memory that can still be taken before the kernel ends processes, or allocation fails."""
    free = [psutil.virtual_memory().available]
    for folder in cgroups():
        for limit, used in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
            most, taken = number(folder / limit), number(folder / used)
            if most is not None and taken is not None:
                free.append(most - taken + reclaimable(folder))
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY:
        free.append(limit - psutil.Process().memory_info().vms)
    return max(0, min(free))


def cgroups() -> Iterator[Path]:
    """The folders of the control groups around this process (versions 2 and 1), the innermost first."""
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            for kind in controllers.split(","):
                home = CGROUPS / kind if kind else CGROUPS
                inner = home / path.lstrip("/")
                yield from (folder for folder in (inner, *inner.parents) if folder.is_relative_to(home))


def quota(folder: Path) -> tuple[str, str] | None:
    """Microseconds of processor time in each period of so many; None without a limit."""
    with suppress(OSError, ValueError):
        most, period = (folder / "cpu.max").read_text().split()
        return None if most == "max" else (most, period)
    most, period = number(folder / "cpu.cfs_quota_us"), number(folder / "cpu.cfs_period_us")
    return None if most is None or period is None or most < 0 else (str(most), str(period))


def reclaimable(folder: Path) -> int:
    """Bytes of files in memory that the kernel gives up when a container needs room."""
    with suppress(OSError, ValueError):
        rows = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return int(rows.get("inactive_file", 0))
    return 0


def number(path: Path) -> int | None:
    """A file that holds one whole number; None where there is none ("max" is no limit)."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
