"""What the files of a folder mean: which modality each is of, and which of them make rows."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from mmmae.data import kinds
from modalities.files.suffixes import ending


class Layout:
    """What the files of a folder mean to some modalities.

    files: what the kinds of files are, by name; columns: the column of each. of: kinds by ending.
    """

    def __init__(self, known: kinds.Known):
        found = kinds.files(known)
        self.known = known
        self.files = {kind: of for kind, (_, of) in found.items()}
        self.columns = {kind: column for kind, (column, _) in found.items()}
        self.of = {ending: kind for kind, of in self.files.items() for ending in of.suffixes}
        self.order = {ending: number for number, ending in enumerate(self.of)}

    def kind(self, file: Path) -> str | None:
        return self.of.get(ending(file))

    def groups(self, asked: Collection[str] | None) -> list[tuple[str, ...]]:
        """Kinds of files of which each may be a row, the first groups first."""
        ranks = sorted({of.rank for of in self.files.values()})
        groups = [tuple(kind for kind, of in self.files.items() if of.rank == rank) for rank in ranks]
        if asked is None or any(self.rows(kind) and self.columns[kind] in asked for kind in self.files):
            return groups
        beside = [kind for kind in self.files if self.companion(kind) and self.columns[kind] in asked]
        lent = {self.known[self.columns[kind]].lender for kind in beside}
        lenders = [kind for kind, column in self.columns.items() if column in lent and self.first(kind)]
        return [tuple(dict.fromkeys([*lenders, *beside])), *groups] if beside else groups

    def rows(self, kind: str) -> bool:
        """Whether each of several files of one name is a row."""
        return self.files[kind].rank < 2

    def companion(self, kind: str) -> bool:
        """Whether files of this kind make rows only where there are none of those that always do."""
        return self.files[kind].rank == 2

    def first(self, kind: str) -> bool:
        """Whether a kind is the first of its column."""
        return kind == next(other for other, column in self.columns.items() if column == self.columns[kind])

    def called(self, kind: str, count: int = 1) -> str:
        return self.files[kind].several if count > 1 else self.files[kind].called

    def preference(self, file: Path) -> tuple[int, str]:
        """Of several files of one kind and name, those whose endings stand first are preferred."""
        return self.order[ending(file)], file.name
