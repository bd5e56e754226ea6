"""Recordings that cannot be read: each is named once in `bad_samples.jsonl`, and a few of them do not end a run."""

from __future__ import annotations

import fcntl
import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from modalities.errors import InputError

FILE = "bad_samples.jsonl"
SAID = 10  # bad recordings that are named on the terminal; the file names all


@dataclass(frozen=True)
class Fault:
    """Why a recording cannot be read: its id, the file at fault (for a caption, the manifest), its modality."""

    id: str
    path: str
    modality: str | None
    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"row {self.id!r}: {self.path}: {self.reason}"

    def line(self) -> str:
        return json.dumps(asdict(self)) + "\n"


class BadSamples:
    """Writes the bad recordings of a run to a file, a JSON object each, and stops the run where they are too many.

    Every process of the run has one and appends to the same file under a lock, after it has looked who is in it
    already: whatever the workers, processes and resumes, a recording is named once. A line that a killed process left
    unfinished is cut off.

    Args:
        recordings: how many there are in all.
        share: of them that may be bad.
        say: tells a person of bad recordings, also of those that other processes found; None stays silent.
        fresh: begin with an empty file. What was bad in a run that left nothing to resume may be mended by now.
    """

    def __init__(
        self,
        path: Path,
        *,
        recordings: int,
        share: float,
        say: Callable[[str], None] | None = None,
        fresh: bool = False,
    ):
        self.path, self.recordings, self.share, self.say = path, recordings, share, say
        self.known: set[str] = set()
        self.seen = 0  # bytes of the file that are looked through
        if fresh:
            path.unlink(missing_ok=True)
        elif path.exists():
            self.look()

    def note(self, faults: Sequence[Fault]) -> None:
        """Write down those that nobody has named yet.

        Raises:
            InputError: there are more than the share.
        """
        if all(fault.id in self.known for fault in faults):
            if self.say is not None:
                self.tell(self.look())
            return
        with open(self.path, "a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            said = self.look()
            file.truncate(self.seen)  # nobody else writes now: what lacks its newline never gets one
            new = {fault.id: fault for fault in reversed(faults) if fault.id not in self.known}
            lines = "".join(fault.line() for fault in new.values()).encode()
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
            self.known |= new.keys()
            self.seen += len(lines)
        self.tell([*said, *new.values()])
        if new and len(self.known) > self.share * self.recordings:
            raise self.too_many(next(reversed(new.values())))

    def look(self) -> list[Fault]:
        """What the file says since the last look."""
        if not self.path.exists() or self.path.stat().st_size == self.seen:
            return []
        with open(self.path, "rb") as file:
            file.seek(self.seen)
            lines = file.read()
        lines = lines[: lines.rfind(b"\n") + 1]
        self.seen += len(lines)
        found = [fault for fault in map(parsed, lines.splitlines()) if fault is not None and fault.id not in self.known]
        self.known |= {fault.id for fault in found}
        return found

    def tell(self, faults: Sequence[Fault]) -> None:
        """Name them to the person at the terminal, the first few of them."""
        if self.say is None:
            return
        for number, fault in enumerate(faults, len(self.known) - len(faults)):
            if number < SAID:
                self.say(f"bad: {fault}; another recording stands in for it")
            elif number == SAID:
                self.say(f"further bad recordings are named in {self.path} only")

    def too_many(self, last: Fault) -> InputError:
        allowed = f"data.bad={self.share:g} of them"
        more = min(1.0, max(0.2, math.ceil(20 * len(self.known) / self.recordings) / 10))
        return InputError(
            f"{len(self.known)} of {self.recordings} recordings cannot be read, which is more than {allowed}: "
            f"see {self.path}\n  The last was {last}; {last.remedy.rstrip('.')}.\n"
            f"  `mmmae check` finds all: mend or drop them, then delete that file; or go on with "
            f"data.bad={more:g}"
        )


def parsed(line: bytes) -> Fault | None:
    """A line of the file; None where it is none."""
    try:
        return Fault(**json.loads(line))
    except (ValueError, TypeError):
        return None
