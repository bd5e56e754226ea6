"""The table of recordings: which files and captions belong together."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmmae.data import in_memory as memory
from mmmae.data import kinds, rows
from mmmae.data.allowed_paths import Enclosure
from mmmae.data.classes import Classes
from mmmae.data.findings import Findings
from mmmae.data.holdout import held_out
from mmmae.data.labels import LabelColumn
from mmmae.data.stored import Store
from mmmae.data.table import collect
from mmmae.data.targets import Encoded, Target
from modalities.errors import InputError, SampleError
from modalities.manifest.columns import Cell
from modalities.manifest.spelling import unescaped

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class Row:
    """One recording (or one part of it): `sources` is what each modality's reader is asked to read.

    A SampleError among the sources says why that modality cannot be read.
    start, end: the part of the recording in seconds; None leaves it to the recording.
    label: as the manifest's target encodes it; None where there is none.
    notes: what was assumed of it, for the readings of its windows.
    cells: those of the columns that the manifest was asked to give.
    """

    id: str
    sources: dict[str, Any]
    start: float | None = None
    end: float | None = None
    label: Encoded | None = None
    notes: tuple[str, ...] = ()
    cells: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Corpus:
    """One of several corpora that a manifest joins: its name, and what relative paths of its rows start from."""

    name: str
    folder: Path


@dataclass(frozen=True)
class Manifest(LabelColumn):
    """Rows of recordings, kept in Arrow so that a million of them cost no Python objects.

    path: what was opened, or what to call the rows in memory ("the DataFrame"); folder: what relative paths start from.
    labels: every different one in the file, as text (mmmae/data/labels.py).
    modalities: those that at least one row has, counting the sound track of a video as audio.
    target: what rows give for their label; by default its place among the names, those that are lists left out.
    notes: what was assumed, converted or ignored while the rows were read, a plain sentence each.
    known: the columns of every modality, by name. given: further columns, whose cells rows give.
    whole: the table with all of its rows, where this holds some.
    corpora: those that it joins (mmmae/data/joined.py), whose number the column `corpus` holds; none of a single one.
    """

    path: Path | str
    folder: Path
    table: Dataset = field(repr=False)
    labels: tuple[str, ...]
    modalities: tuple[str, ...]
    target: Target
    notes: tuple[str, ...] = ()
    known: kinds.Known = field(default_factory=lambda: kinds.HOUSE, repr=False)
    given: tuple[str, ...] = ()
    whole: Dataset | None = field(default=None, repr=False)
    corpora: tuple[Corpus, ...] = ()

    @classmethod
    def open(
        cls,
        data: Any,
        *,
        modalities: Sequence[str] | None = None,
        columns: Mapping[str, str] | Sequence[str] = (),
        further: Mapping[str, Cell] | None = None,
        bad: float = 0.0,
        outside: bool = False,
        cache: str | os.PathLike | None = None,
    ) -> Manifest:
        """Read and check a manifest, a saved Hugging Face dataset, a folder of recordings, or rows in memory.

        With `modalities`, rows that have none of them are left out, and only files of those are looked for.

        Args:
            data: a path, or a datasets.Dataset or DatasetDict, a pandas DataFrame, a list of dicts, or columns such as
                {"imu": X, "imu_rate": 50, "label": y}: paths, bytes or arrays (docs/data.md).
            columns: of further modalities that rows may have; as a mapping, each with the modality that it is read as.
            further: columns that objectives learn from, and their cells.
            bad: share of the rows whose files may be missing: whoever reads such a row meets the error.
            outside: whether files may lie elsewhere than in the manifest's folder and below.
            cache: folder for recordings that the rows hold themselves; the user's cache by default.

        Raises:
            InputError: names file, row and column of what is wrong, and what to do about it.
        """
        data, enclosure = rows.locate(data, outside)
        path, findings = memory.called(data), Findings()
        uses = columns if isinstance(columns, Mapping) else dict.fromkeys(columns, "")
        known = kinds.known(dict.fromkeys(modalities or (), "") | dict(uses))
        asked = None if modalities is None else set(modalities)
        store = Store(findings, cache, asked, known)
        table, present = collect(
            path,
            rows.read(data, enclosure, findings, asked, store, known),
            known,
            asked,
            findings,
            store,
            further or {},
        )
        store.report()
        enclosure.also = os.path.realpath(store.folder) if store.files else None
        labels = tuple(sorted(set(table.unique("label")) - {None}))
        folder = Path(enclosure.folder)
        manifest = cls(
            path, folder, table, labels, tuple(m for m in known if m in present), Classes.plain(labels),
            findings.sentences(), known,
        )  # fmt: skip
        manifest.require_files(modalities or manifest.modalities, enclosure, bad)
        return manifest

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> Row:
        row = self.table[index]
        found = {m: source for m in self.modalities if (source := self.locate(row, m)) is not None}
        label = None if row["label"] is None else self.target.encode(row["label"])
        cells = {column: row[column] for column in self.given}
        return Row(row["id"], found, row["start"], row["end"], label, cells=cells)

    def __iter__(self) -> Iterator[Row]:
        return (self[index] for index in range(len(self)))

    def has(self, modality: str) -> bool:
        """Whether any row has the modality."""
        return modality in self.modalities

    def source(self, index: int, modality: str) -> Any | None:
        """What the modality's reader reads of a row; None where the row lacks it."""
        return self.locate(self.table[index], modality)

    def sources(self, modality: str) -> Iterator[Any]:
        """What the modality's reader reads of each row that has it."""
        return (source for i in range(len(self)) if (source := self.source(i, modality)) is not None)

    def captions(self) -> Iterator[str]:
        """Every caption of every row, e.g. to learn a vocabulary from."""
        for row in self.columns(*self.inline):
            yield from self.texts_of(row)

    def texts_of(self, row: Mapping[str, Any]) -> Iterator[str]:
        """The captions of a row that has the columns `inline`."""
        return (text for name in self.inline for text in self.known[name].texts(row))

    @property
    def inline(self) -> list[str]:
        """The columns of modalities that hold contents themselves, and no paths."""
        return [name for name, columns in self.known.items() if name not in columns.paths]

    @property
    def media(self) -> list[str]:
        """The columns that name the files of recordings."""
        return [name for name, columns in self.known.items() if name in columns.paths]

    def split(self, holdout: float) -> tuple[Manifest, Manifest]:
        """The rows to train on and the rows held out: by the column `split` where there is one, else by a hash.

        The hash is that of `group` (a subject, a camera) or of the id, so rows of one group stay together, and a row
        stays on its side when others are added. Without the column `split`, `holdout` is the share to hold out; each
        side then gets at least one group where there are two.

        Raises:
            ValueError: `holdout` is not in [0, 1).
            InputError: the column `split` leaves nothing of a corpus to train on.
        """
        if not 0 <= holdout < 1:
            raise ValueError(f"holdout is the share of rows kept for testing, in [0, 1), got {holdout}")
        test: list[bool] = []
        for name, places in self.groups().items():
            table = self.table.select(list(places))
            before = len(f"{name}:") if self.corpora else 0  # a row is on one side whatever its corpus is joined to
            sides = zip(table["group"][:], table["id"][:], strict=True)
            test += held_out(name, table["split"][:], [group or id[before:] for group, id in sides], holdout)
        train = [i for i, held in enumerate(test) if not held]
        return self.select(train), self.select([i for i, held in enumerate(test) if held])

    def groups(self) -> dict[str, range]:
        """Where the rows of each corpus stand, by its name; all of a single one.

        Raises:
            ValueError: they do not stand one corpus after the other.
        """
        if not self.corpora:
            return {str(self.path): range(len(self))}
        numbers = np.asarray(self.table["corpus"][:], dtype=np.int64)
        if (np.diff(numbers) < 0).any():
            raise ValueError("the rows of several corpora are mixed; select them in their order")
        ends = np.searchsorted(numbers, range(len(self.corpora) + 1)).tolist()
        return {corpus.name: range(*ends[n : n + 2]) for n, corpus in enumerate(self.corpora)}

    def parts(self) -> list[Manifest]:
        """The rows of each corpus by themselves; the manifest itself where it is a single one."""
        if not self.corpora:
            return [self]
        return [replace(self.select(places), path=name) for name, places in self.groups().items() if places]

    def select(self, indices: Sequence[int]) -> Manifest:
        """The manifest of some of the rows, with the same target."""
        return replace(self, table=self.table.select(indices), whole=self.whole or self.table)

    def aimed(self, target: Target | None) -> Manifest:
        """The same rows, their labels encoded by a target; None leaves them as they are."""
        return self if target is None else replace(self, target=target)

    def giving(self, columns: Sequence[str]) -> Manifest:
        """The same rows, which also give the cells of some columns."""
        return replace(self, given=tuple(dict.fromkeys([*self.given, *columns])))

    def every(self, column: str) -> Iterator[Any]:
        """The cells of a column in the whole file, also where this holds some of its rows."""
        return (row[column] for row in memory.plain((self.whole or self.table).select_columns([column])))

    def texts(self) -> list[str | None]:
        """The label of each row, as text."""
        return self.table["label"][:]

    def place(self, label: str) -> str:
        """Where a label stands first, for messages."""
        rows = self.columns("label", "place")
        return f"{self.path}, {next((r['place'] for r in rows if r['label'] == label), 'a row')}: column 'label'"

    def columns(self, *names: str) -> Iterator[dict[str, Any]]:
        """Some columns of every row, without building the others."""
        return memory.plain(self.table.select_columns(list(names)))

    def locate(self, row: dict[str, Any], modality: str) -> Any | None:
        """The reader's source in a row of the table."""
        fault = row["fault"]
        if fault is not None and fault["modality"] == modality:
            return SampleError(**fault)
        folder = self.corpora[row["corpus"]].folder if self.corpora else self.folder
        return self.known[modality].source(row, partial(self.file, folder=folder)) if modality in self.known else None

    def file(self, path: str, folder: Path | None = None) -> str:
        """Where the file lies that a cell names; `folder`: that relative paths of its corpus start from."""
        return os.path.join(folder or self.folder, unescaped(path))

    def require_files(self, modalities: Sequence[str], enclosure: Enclosure, bad: float) -> None:
        """Look for every file at once: a run must not die hours later of a typing error, nor read what is not its own.

        Raises:
            InputError: a file lies outside, or more than the share `bad` of the rows lack a file.
        """
        wanted = [self.known[modality] for modality in modalities if modality in self.known]
        columns = dict.fromkeys(column for one in wanted for column in one.reads)

        def named() -> Iterator[tuple[str, str, str]]:
            for row in self.columns("place", *columns):
                for column, path in (found for one in wanted for found in one.named(row)):
                    yield path, row["place"], column

        places: dict[str, tuple[str, str]] = {}
        for path, place, column in named():
            places.setdefault(path, (place, column))

        def look(path: str) -> tuple[bool, bool]:
            inside = enclosure.holds(unescaped(path))
            return inside, inside and os.path.isfile(self.file(path))

        with ThreadPoolExecutor(32) as pool:
            looks = dict(zip(places, pool.map(look, places), strict=True))
        for path, (inside, _) in looks.items():
            if not inside:
                place, column = places[path]
                raise enclosure.leads_out(unescaped(path), f"{self.path}, {place}: column {column!r}")
        missing = [path for path, (_, exists) in looks.items() if not exists]
        rows_without = {place for path, place, _ in named() if not looks[path][1]} if missing else ()
        if len(rows_without) > bad * len(self):
            place, column = places[missing[0]]
            path = self.file(missing[0])
            others = f" ({len(missing)} of {len(places)} files are missing)" if len(missing) > 1 else ""
            raise InputError(
                f"{self.path}, {place}: column {column!r}: no such file: {path}{others}\n"
                f"  Paths are relative to {self.folder}; mend them or leave the cell empty."
            )
