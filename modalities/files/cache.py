"""A cache of file contents: many windows are cut from one recording, and a text table takes long to parse."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import lru_cache, wraps
from pathlib import Path
from typing import Any, Generic, TypeVar

from modalities.errors import InputError, SampleError

REMEMBERED = 4096  # files of which a measure is remembered

T = TypeVar("T")


def existing(source: Any) -> Path:
    """The path that a manifest row names.

    Raises:
        SampleError: it is no path, or no file is there.
    """
    if not isinstance(source, (str, os.PathLike)):
        raise SampleError(repr(source), f"expected a path, got {type(source).__name__}", "write the path as a string")
    try:
        if Path(source).is_file():
            if not Path(source).stat().st_size:
                raise SampleError(source, "is empty: it has 0 bytes", "copy or download it again, or drop the row")
            return Path(source)
    except InputError:
        raise
    except ValueError:  # a NUL character
        pass
    remedy = "correct the path (relative ones start at the manifest's folder) or drop the row"
    raise SampleError(source, "a folder, not a file" if Path(source).is_dir() else "no such file", remedy)


def remembered(measure: Callable[..., T]) -> Callable[..., T]:
    """What is measured of a file, computed once as long as its size and age stay. Errors are not kept."""

    @lru_cache(maxsize=REMEMBERED)  # which threads may share
    def known(path: str, size: int, changed: int, *more: Any) -> T:
        return measure(path, *more)

    @wraps(measure)
    def recalled(source: Any, *more: Any) -> T:
        state = existing(source).stat()
        return known(os.fspath(source), state.st_size, state.st_mtime_ns, *more)

    return recalled


class Recent(Generic[T]):
    """Reads files and keeps the most recently used results of this process; a file that has changed is read again.

    Args:
        read: what to make of a file, given how it is to be read. Its errors are raised, and not kept.
        size: bytes that a result takes.
        room: bytes that all of them may take; a result that is larger than that is not kept.
    """

    def __init__(self, read: Callable[..., T], size: Callable[[T], int], room: int):
        self.read, self.size, self.room = read, size, room
        self.kept: OrderedDict[tuple[Hashable, ...], T] = OrderedDict()
        self.taken = 0

    def __call__(self, path: Path, *how: Hashable) -> T:
        state = path.stat()
        key = (str(path.absolute()), state.st_ino, state.st_mtime_ns, state.st_size, *how)
        if key in self.kept:
            self.kept.move_to_end(key)
            return self.kept[key]
        found = self.read(path, *how)
        if self.size(found) <= self.room:
            self.kept[key] = found
            self.taken += self.size(found)
            while self.taken > self.room:
                self.taken -= self.size(self.kept.popitem(last=False)[1])
        return found
