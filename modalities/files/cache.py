"""A cache of file contents: many windows are cut from one recording, and a text table takes long to parse."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")


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
