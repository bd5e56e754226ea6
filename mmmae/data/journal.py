"""A file of a run to which all its processes add, and in which everything is named once."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Generic, TypeVar


@dataclass(frozen=True)
class Entry:
    """A line of the file, a JSON object; entries of one `key` are the same."""

    @property
    def key(self) -> Hashable:
        raise NotImplementedError

    def line(self) -> str:
        return json.dumps(asdict(self)) + "\n"


Kind = TypeVar("Kind", bound=Entry)


class Journal(Generic[Kind]):
    """Writes entries to a file, each once.

    Every process of the run has one and appends to the same file under a lock, after it has looked what is in it
    already: whatever the workers, processes and resumes, an entry is written once. A line that a killed process left
    unfinished is cut off.

    Args:
        kind: of the entries.
        fresh: begin with an empty file.
    """

    def __init__(self, path: Path, kind: type[Kind], *, fresh: bool = False):
        self.path, self.kind = path, kind
        self.known: set[Hashable] = set()
        self.seen = 0  # bytes of the file that are looked through
        if fresh:
            path.unlink(missing_ok=True)
        elif path.exists():
            self.look()

    def add(self, entries: Sequence[Kind]) -> tuple[list[Kind], list[Kind]]:
        """Write those that are not in the file yet: what others have written since the last look, and what is new."""
        if all(entry.key in self.known for entry in entries):
            return self.look(), []
        with open(self.path, "a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            others = self.look()
            file.truncate(self.seen)  # no other process writes now: what lacks its newline never gets one
            new = {entry.key: entry for entry in reversed(entries) if entry.key not in self.known}
            lines = "".join(entry.line() for entry in new.values()).encode()
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
            self.known |= new.keys()
            self.seen += len(lines)
        return others, list(new.values())

    def look(self) -> list[Kind]:
        """What was added to the file since the last look."""
        if not self.path.exists() or self.path.stat().st_size == self.seen:
            return []
        with open(self.path, "rb") as file:
            file.seek(self.seen)
            lines = file.read()
        lines = lines[: lines.rfind(b"\n") + 1]
        self.seen += len(lines)
        parsed = (self.parsed(line) for line in lines.splitlines())
        found = {entry.key: entry for entry in parsed if entry is not None and entry.key not in self.known}
        self.known |= found.keys()
        return list(found.values())

    def parsed(self, line: bytes) -> Kind | None:
        """A line of the file; None where it is none."""
        try:
            return self.kind(**json.loads(line))
        except (ValueError, TypeError):
            return None
