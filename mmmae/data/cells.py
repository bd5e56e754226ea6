"""What may stand in a row of a manifest: each column's type, checked cell by cell so that an error names the row."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Collection, Sequence
from typing import Any

from mmmae.data import labels
from modalities.errors import InputError, SampleError

FAULT = ("path", "reason", "remedy")
HELD_OUT = ("test", "validation", "valid", "val", "dev")


def check(row: Any, modalities: Collection[str], where: str) -> dict[str, Any]:
    """The filled cells of a row, in the types that the manifest stores; empty ones (null, "", NaN, []) are left out.

    An error in the place of a cell goes into `fault`: the row is a bad sample for whoever reads that modality.

    Args:
        modalities: names of columns that hold a path (all but `text`).
        where: file and row, for messages.

    Raises:
        InputError: an unknown column, a cell of the wrong type, or a window that ends before it starts.
    """
    if not isinstance(row, dict):
        raise InputError(f'{where}: expected an object such as {{"video": "clip.mp4"}}, got {row!r:.60}')
    for column in row:
        if column not in COLUMNS and column not in modalities:
            raise InputError(unknown(column, [*modalities, *COLUMNS], where))
    cells = {}
    for column, value in row.items():
        if empty(value) and not (column == "label" and value == []):  # none of several labels
            continue
        if isinstance(value, SampleError):
            cells["fault"] = {"modality": column, **{key: getattr(value, key) for key in FAULT}}
            continue
        try:
            cell = COLUMNS.get(column, path)(value)
        except ValueError as error:
            raise InputError(
                f"{where}: column {column!r} takes {error}, got {value!r:.80}\n  Mend the cell or leave it empty."
            ) from None
        if not empty(cell):
            cells[column] = cell
    if "end" in cells and cells["end"] <= cells.get("start", 0.0):
        raise InputError(
            f"{where}: start {cells.get('start', 0.0):g} s is not before end {cells['end']:g} s\n"
            "  `start` and `end` are seconds from the beginning of the recording."
        )
    return cells


def unknown(column: object, allowed: Sequence[str], where: str) -> str:
    near = difflib.get_close_matches(str(column), allowed, 1)
    hint = f", did you mean {near[0]!r}?" if near else ""
    return f"{where}: unknown column {column!r}{hint}\n  Columns are {', '.join(allowed)}; rename or remove the others."


def empty(value: Any) -> bool:
    return value is None or value == "" or value == [] or (isinstance(value, float) and math.isnan(value))


def path(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise ValueError("a path relative to the manifest")


def name(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():  # a table with gaps turns whole numbers into floats
        value = int(value)
    if isinstance(value, (str, int)):
        return str(value)
    raise ValueError("a name or a whole number")


def split(value: Any) -> str:
    if value == "train":
        return "train"
    if value in HELD_OUT:
        return "test"
    raise ValueError("'train' or 'test'")


def number(value: Any, least: float) -> float:
    try:
        value = float(value)
    except (TypeError, ValueError):
        value = math.nan
    if not least <= value < math.inf:
        raise ValueError(f"a number from {least:g} up")
    return value


def seconds(value: Any) -> float:
    return number(value, 0.0)


def rate(value: Any) -> float:
    return number(value, 1e-3)


def edges(value: Any) -> list[list[int]]:
    if isinstance(value, str):  # a cell of a CSV
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            value = None
    pairs: list[Any] = value if isinstance(value, list) else [None]
    if not all(
        isinstance(pair, list) and len(pair) == 2 and all(type(i) is int and i >= 0 for i in pair) for pair in pairs
    ):
        raise ValueError("pairs of sensors such as [[0, 1], [1, 2]]")
    return pairs


def captions(value: Any) -> list[dict[str, Any]]:
    said = [caption(one) for one in (value if isinstance(value, list) else [value]) if not empty(one)]
    if len({len(one) for one in said}) > 1:
        raise ValueError("captions that all have `start` and `end`, or none")
    return said


def caption(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        return {"text": value}
    if isinstance(value, dict) and isinstance(value.get("text"), str) and value.keys() <= {"text", "start", "end"}:
        times = {key: seconds(value[key]) for key in ("start", "end") if not empty(value.get(key))}
        if len(times) != 1:
            return {"text": value["text"], **times}
    raise ValueError('a caption, a list of captions, or a list of {"text", "start", "end"}')


COLUMNS = {
    "id": name, "text": captions, "start": seconds, "end": seconds, "label": labels.cell, "split": split, "group": name,
    "regions": path, "imu_rate": rate, "edges": edges,
}  # fmt: skip
