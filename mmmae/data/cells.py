"""What may stand in a row of a manifest: each column's type, checked cell by cell so that an error names the row.

The rules are those of a cell's value, not of the file it comes from: the same rows as CSV, JSON, parquet or in memory
give the same manifest (modalities/manifest/spelling.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from mmmae.data import headers, kinds, labels, timeline
from mmmae.data.findings import Findings
from modalities.errors import InputError, SampleError
from modalities.manifest.cells import path, seconds, valid
from modalities.manifest.columns import Cell, Columns
from modalities.manifest.spelling import NO_VALUE, Verbatim, empty, escaped, name, plain

FAULT = ("path", "reason", "remedy")
TRAIN = ("train", "training")
HELD_OUT = ("test", "testing", "validation", "valid", "val", "dev", "eval", "evaluation")
MEASURED = re.compile(r"-?\d+[.,]\d+")

Store = Callable[[str, Any, dict[str, Any]], Any]  # column, cell and its row to the path of a file


def check(
    row: Any, known: kinds.Known, where: str, findings: Findings | None = None, store: Store | None = None,
    further: Mapping[str, Cell] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The filled cells of a row, in the types that the manifest stores; empty ones (null, "", NaN, []) are left out.

    An error in the place of a cell goes into `fault`: the row is a bad sample for whoever reads that modality.

    Args:
        known: the columns of every modality, by name.
        where: file and row, for messages.
        findings: where notes go.
        further: columns of no modality, and their cells.
        store: makes a file of a cell that is the recording itself (bytes, an array).

    Raises:
        InputError: an unknown column, a cell of the wrong type, or a window that ends before it starts.
    """
    findings = Findings() if findings is None else findings
    if not isinstance(row, dict):
        raise InputError(f'{where}: expected an object such as {{"video": "clip.mp4"}}, got {row!r:.60}')
    plan = headers.plan(tuple(row), tuple(known.values()), tuple(further or ()))
    if plan.problem is not None:
        raise InputError(f"{where}: {plan.problem}")
    for note in plan.notes:
        findings.notes.setdefault(note, (1, ""))
    cells: dict[str, Any] = {}
    columns = all_cells(known, further or {})
    for given, column in plan.pairs:
        value = row[given]
        if isinstance(value, SampleError):
            cells["fault"] = {"modality": column, **{key: getattr(value, key) for key in FAULT}}
            continue
        if isinstance(value, Verbatim):
            cells[column] = escaped(value)
            continue
        try:
            holds_path = column == headers.FILE or (column in columns and columns[column].check is path)
            if store is not None and holds_path and not isinstance(value, (str, type(None))):
                value = store(column, value, row)
            value = plain(value)
            none_of_several = column in LISTS and value == []
            if (column not in columns and column != headers.FILE) or (isinstance(value, str) and not value.strip()):
                continue
            if empty(value) and not none_of_several:
                continue
            if isinstance(value, str) and value.strip() in NO_VALUE and column != "label":
                if column not in known or not known[column].words:
                    findings.note(f"column {given!r}: {value.strip()!r} is read as an empty cell", where)
                    continue
                findings.note(f"column {given!r}: {value.strip()!r} is read as a caption, not as an empty cell", where)
            if column == headers.FILE:
                column = by_ending(value)
            cell = columns[column].check(value)
            if isinstance(cell, str) and column not in known:
                valid(cell)
        except ValueError as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"{where}: column {given!r} takes {error}, got {value!r:.80}\n  Mend the cell or leave it empty."
            ) from None
        if not empty(cell) or column in LISTS:
            if column in cells:
                raise InputError(f"{where}: columns {given!r} and {column!r} both name the {column}\n  Remove one.")
            cells[column] = cell
    if "end" in cells and cells["end"] <= cells.get("start", 0.0):
        raise InputError(
            f"{where}: start {cells.get('start', 0.0):g} s is not before end {cells['end']:g} s\n"
            "  `start` and `end` are seconds from the beginning of the recording."
        )
    return cells


def by_ending(value: Any) -> str:
    found = kinds.media(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("the path of a video, an image or a sound (else call the column as what it is, e.g. imu)")
    return found


def group(value: Any) -> str:
    """A name; a measurement is none, however it is written: nearly every row would be a group of its own."""
    found = name(value)
    if MEASURED.fullmatch(found):
        raise ValueError("a name or a whole number, not a measurement")
    return found


def split(value: Any) -> str:
    side = value.strip().lower() if isinstance(value, str) else value
    if side in TRAIN:
        return "train"
    if side in HELD_OUT:
        return "test"
    raise ValueError("'train' or 'test'")


GENERAL = {
    "id": Cell(name), "start": Cell(seconds, float), "end": Cell(seconds, float), "label": Cell(labels.cell),
    "segments": Cell(timeline.segments, [timeline.SEGMENT]), "split": Cell(split), "group": Cell(group),
}  # fmt: skip
LISTS = ("label", "segments")  # columns in which an empty list is a value: none of several


@lru_cache(maxsize=16)
def cells_of(modalities: tuple[Columns, ...]) -> dict[str, Cell]:
    """Every column that holds something, and its cells."""
    return GENERAL | {column: cell for one in modalities for column, cell in one.cells.items()}


def all_cells(known: kinds.Known, further: Mapping[str, Cell]) -> dict[str, Cell]:
    """The columns of modalities and further ones, and their cells."""
    found = cells_of(tuple(known.values()))
    return {**found, **further} if further else found


NUMBERS = [name for name, cell in cells_of(tuple(kinds.HOUSE.values())).items() if cell.kind in (float, int)]
