"""Recordings that cannot be read: each is named once in `bad_samples.jsonl`, and a few of them do not end a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmmae.data.journal import Entry, Journal
from modalities.errors import InputError

FILE = "bad_samples.jsonl"
SAID = 10  # bad recordings that are named on the terminal; the file names all


@dataclass(frozen=True)
class Fault(Entry):
    """Why a recording cannot be read: its id, the file at fault (for a caption, the manifest), its modality."""

    id: str
    path: str
    modality: str | None
    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"row {self.id!r}: {self.path}: {self.reason}"

    @property
    def key(self) -> str:
        return self.id


class BadSamples(Journal[Fault]):
    """Writes the bad recordings of a run to a file (see `Journal`) and stops the run where they are too many.

    Args:
        recordings: how many there are in all.
        share: of them that may be bad.
        say: shows a line to a person, also on bad recordings that other processes found; None stays silent.
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
        super().__init__(path, Fault, fresh=fresh)
        self.recordings, self.share, self.say = recordings, share, say

    def note(self, faults: Sequence[Fault]) -> None:
        """Write down those that are not in the file yet.

        Raises:
            InputError: there are more than the share.
        """
        others, new = self.add(faults)
        self.tell([*others, *new])
        if new and len(self.known) > self.share * self.recordings:
            raise self.too_many(new[-1])

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
