"""Notes of readers on assumptions and conversions, each reported once per run with an example recording."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmmae.data.journal import Entry, Journal
from modalities.reader import Reading

FILE = "notes.jsonl"


@dataclass(frozen=True)
class ReaderNote(Entry):
    """A reader's note (`Reading.notes`) on a recording: its id, file and modality, and the sentence."""

    id: str
    path: str
    modality: str
    note: str

    @property
    def key(self) -> Hashable:
        return self.modality, self.note

    def __str__(self) -> str:
        return f"{self.modality}: {self.note} (for example row {self.id!r}: {self.path})"


def noted(
    row: str, readings: Mapping[str, Reading], origin: Callable[[str], tuple[str, str]]
) -> tuple[ReaderNote, ...]:
    """What the readers of a window of a row noted; `origin` gives the file and the modality of a stream."""
    return tuple(ReaderNote(row, *origin(name), note) for name, found in readings.items() for note in found.notes)


def distinct(*notes: Iterable[ReaderNote]) -> list[ReaderNote]:
    """One for each sentence: of the recordings that it is about, that with the least id, whatever the order."""
    found: dict[Hashable, ReaderNote] = {}
    for some in notes:
        for note in some:
            if note.key not in found or note.id < found[note.key].id:
                found[note.key] = note
    return list(found.values())


class Notes:
    """Keeps one note for each sentence."""

    def __init__(self):
        self.kept: list[ReaderNote] = []

    def note(self, notes: Iterable[ReaderNote]) -> None:
        self.kept = distinct(self.kept, notes)

    @staticmethod
    def lines(processes: Iterable[Notes]) -> list[str]:
        """The sentences that several processes have kept, in alphabetical order."""
        return sorted(str(note) for note in distinct(*(own.kept for own in processes)))


class RunNotes(Journal[ReaderNote]):
    """Writes the notes of a run to `notes.jsonl`, each sentence once, and shows them at the terminal.

    say: shows a line, also of notes that other processes wrote; None stays silent.
    fresh: begin with an empty file, as a run that resumes nothing does.
    """

    def __init__(self, path: Path, *, say: Callable[[str], None] | None = None, fresh: bool = False):
        super().__init__(path, ReaderNote, fresh=fresh)
        self.say = say

    def note(self, notes: Sequence[ReaderNote]) -> None:
        """Write and show those that are not known yet."""
        others, new = self.add(notes)
        if self.say is not None:
            for note in [*others, *new]:
                self.say(f"note: {note}")
