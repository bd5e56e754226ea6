"""What a modality says of itself to a table of recordings: its columns and their cells, its files, its sources."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from modalities.manifest import cells

Keep = Callable[[bytes, str, Callable[[], bytes]], str]  # what identifies contents, ending, contents: a file's path


class Cell(NamedTuple):
    """How the cells of a column are checked, and the type in which a table holds them.

    check: the value in its type; a ValueError says what was expected ("a number from 0 up").
    kind: str, float or int; a list of one kind, `[int]`; or a mapping of names to kinds.
    """

    check: Callable[[Any], Any]
    kind: Any = str


PATH = Cell(cells.path)


@dataclass(frozen=True)
class Files:
    """One kind of file that a modality has in a folder of recordings.

    suffixes: endings in order of preference. called, several: one of them and more, for messages.
    rank: the lowest of a folder decides what its rows are (0 videos, 1 images, 2 sounds and sensors, 3 captions); a row
        also has the files of its name of the kinds from rank 2 up. Kinds of one rank make rows together.
    certain: whether the ending alone tells the modality (.mp4, but not .csv).
    lists: whether such a file may be a table of recordings instead of one.
    read: makes a cell of a file; None where the cell is its path.
    """

    suffixes: Sequence[str]
    called: str
    several: str
    rank: int = 2
    certain: bool = False
    lists: bool = False
    read: Callable[[Path], Any] | None = None


class Columns:
    """The columns of one modality in a manifest; by default one that holds the path of a file.

    A modality states what differs in a subclass, in its module `manifest`, which loads none of its reader's libraries.

    name: of the column: that of the modality, or another that a recipe reads as this modality.
    own: whether it is that of the modality, to which its `extras` belong.

    cell: of the column itself. extras: further columns and their cells. rates: further columns that come with arrays
        in memory, until these are files.
    files: kinds of files in a folder, by name. suffixes: what the reader opens, where these are others.
    borrows: the column that is read where its own is empty (a video's sound).
    tables: whether a DataFrame of readings is a recording of this modality. window: the extra that numbers windows
        within one array, where it has one.
    words: whether what tables write for a missing value ("NA") is a value here.
    same: further names of the columns. maybe: names that may mean one, with which a manifest is refused; reasons: why.
    """

    cell: ClassVar[Cell] = PATH
    extras: ClassVar[Mapping[str, Cell]] = {}
    rates: ClassVar[Sequence[str]] = ()
    files: ClassVar[Mapping[str, Files]] = {}
    suffixes: ClassVar[Sequence[str]] = ()
    borrows: ClassVar[str | None] = None
    tables: ClassVar[bool] = False
    window: ClassVar[str | None] = None
    words: ClassVar[bool] = False
    same: ClassVar[Mapping[str, str]] = {}
    maybe: ClassVar[Mapping[str, str]] = {}
    reasons: ClassVar[Mapping[str, str]] = {}

    def __init__(self, name: str, own: bool = True):
        self.name, self.own, self.lender = name, own, self.borrows if own else None

    @property
    def cells(self) -> dict[str, Cell]:
        """Its columns and their cells."""
        return {self.name: self.cell, **(self.extras if self.own else {})}

    @property
    def reads(self) -> list[str]:
        """The columns that a source is made of."""
        return [*self.cells, *([self.lender] if self.lender else ())]

    @property
    def paths(self) -> list[str]:
        """Its columns that hold paths."""
        return [column for column, cell in self.cells.items() if cell.check is cells.path]

    @property
    def opened(self) -> Sequence[str]:
        """Endings of the files that its reader opens."""
        return self.suffixes or [ending for kind in self.files.values() for ending in kind.suffixes]

    def present(self, row: Mapping[str, Any]) -> bool:
        """Whether a row of filled cells has the modality."""
        return row.get(self.name) is not None

    def source(self, row: Mapping[str, Any], path: Callable[[str], str]) -> Any | None:
        """What the reader reads of a row of the table; None where the row lacks the modality.

        path: where the file lies that a cell names.
        """
        return None if row[self.name] is None else path(row[self.name])

    def named(self, row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """The files that a row's cells name, each after its column."""
        return ((column, row[column]) for column in self.paths if row[column] is not None)

    def texts(self, row: Mapping[str, Any]) -> Iterator[str]:
        """Texts that a row holds itself."""
        return iter(())

    def stored(self, array: Any, rate: Any, keep: Keep) -> str:
        """The path of a file that holds an array of numbers.

        rate: what the row gives as `NAME_rate`, or None. keep: writes a file of contents that are not there yet.

        Raises:
            ValueError: says which arrays the column takes.
        """
        return as_npy(array, keep)


def as_npy(array: Any, keep: Keep) -> str:
    """The path of a .npy file of numbers."""

    def npy() -> bytes:
        import numpy as np

        file = io.BytesIO()
        np.save(file, array, allow_pickle=False)
        return file.getvalue()

    return keep(fingerprint(array), ".npy", npy)


def fingerprint(array: Any, rate: float | int = 0) -> bytes:
    """What identifies an array, for a hash."""
    import numpy as np

    head = f"{array.dtype.str} {array.shape} {rate:g} ".encode()
    return head + np.ascontiguousarray(array).tobytes()
