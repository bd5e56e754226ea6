"""What may stand in a row of a manifest: each column's type, checked cell by cell so that an error names the row.

The rules are those of a cell's value, not of the file it comes from: the same rows as CSV, JSON, parquet or in memory
give the same manifest (mmmae/data/spelling.py).
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any

from mmmae.data import headers, kinds, labels
from mmmae.data.findings import Findings
from mmmae.data.spelling import NO_VALUE, Verbatim, empty, escaped, name, plain
from modalities.errors import InputError, SampleError

FAULT = ("path", "reason", "remedy")
TRAIN = ("train", "training")
HELD_OUT = ("test", "testing", "validation", "valid", "val", "dev", "eval", "evaluation")
MEASURED = re.compile(r"-?\d+[.,]\d+")
COMMA = re.compile(r"(\d+),(\d+)")

Store = Callable[[str, Any, dict[str, Any]], Any]  # column, cell and its row to the path of a file


def check(
    row: Any, modalities: Collection[str], where: str, findings: Findings | None = None, store: Store | None = None
) -> dict[str, Any]:
    """The filled cells of a row, in the types that the manifest stores; empty ones (null, "", NaN, []) are left out.

    An error in the place of a cell goes into `fault`: the row is a bad sample for whoever reads that modality.

    Args:
        modalities: names of columns that hold a path (all but `text`).
        where: file and row, for messages.
        findings: where notes go.
        store: makes a file of a cell that is the recording itself (bytes, an array).

    Raises:
        InputError: an unknown column, a cell of the wrong type, or a window that ends before it starts.
    """
    findings = Findings() if findings is None else findings
    if not isinstance(row, dict):
        raise InputError(f'{where}: expected an object such as {{"video": "clip.mp4"}}, got {row!r:.60}')
    plan = headers.plan(tuple(row), tuple(modalities))
    if plan.problem is not None:
        raise InputError(f"{where}: {plan.problem}")
    for note in plan.notes:
        findings.notes.setdefault(note, (1, ""))
    cells: dict[str, Any] = {}
    for given, column in plan.pairs:
        value = row[given]
        if isinstance(value, SampleError):
            cells["fault"] = {"modality": column, **{key: getattr(value, key) for key in FAULT}}
            continue
        if isinstance(value, Verbatim):
            cells[column] = escaped(value)
            continue
        try:
            if store is not None and column not in COLUMNS and not isinstance(value, (str, type(None))):
                value = store(column, value, row)
            value = plain(value)
            none_of_several = column == "label" and value == []
            if column in headers.RATES or (isinstance(value, str) and not value.strip()):
                continue
            if empty(value) and not none_of_several:
                continue
            if isinstance(value, str) and value.strip() in NO_VALUE and column != "label":
                if column != "text":
                    findings.note(f"column {given!r}: {value.strip()!r} is read as an empty cell", where)
                    continue
                findings.note(f"column {given!r}: {value.strip()!r} is read as a caption, not as an empty cell", where)
            if column == headers.FILE:
                column = by_ending(value)
            cell = COLUMNS.get(column, path)(value)
            if isinstance(cell, str) and column not in modalities:
                valid(cell)
        except ValueError as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"{where}: column {given!r} takes {error}, got {value!r:.80}\n  Mend the cell or leave it empty."
            ) from None
        if not empty(cell):
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


def path(value: Any) -> str:
    if isinstance(value, str):
        return escaped(value)
    raise ValueError("a path relative to the manifest")


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


def number(value: Any, least: float) -> float:
    found = math.nan
    if isinstance(value, str):
        value = value.strip()
        if comma := COMMA.fullmatch(value):  # as German or French spreadsheets write it
            if len(comma[2]) == 3 and comma[1] != "0":
                raise ValueError(f"a number with a decimal point ({value} may be a decimal or a thousand)")
            value = f"{comma[1]}.{comma[2]}"
        value = "" if "_" in value else value
    if not isinstance(value, bool):
        with suppress(TypeError, ValueError, OverflowError):
            found = float(value)
    if not least <= found < math.inf:
        raise ValueError(f"a number from {least:g} up")
    return found


def seconds(value: Any) -> float:
    try:
        return number(value, 0.0)
    except ValueError as error:
        raise ValueError(f"{error}, in seconds such as 83.5") from None


def rate(value: Any) -> float:
    return number(value, 1e-3)


def count(value: Any) -> int:
    found = number(value, 0.0)
    if not found.is_integer() or found >= 2**31:
        raise ValueError("a whole number, counted from 0")
    return int(found)


def listed(value: Any) -> Any:
    """The list that a text holds, as JSON or as Python prints it; anything else as it is.

    Raises:
        ValueError: it is a list as NumPy prints it, without commas.
    """
    if not isinstance(value, str) or value.strip()[:1] not in ("[", "{"):
        return value
    for parse in (json.loads, ast.literal_eval):
        try:
            found = parse(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        if parse is ast.literal_eval and re.search(r"['\"]\s+['\"]", value):
            raise ValueError('a list with commas, such as ["a dog", "a cat"]')
        return found if isinstance(found, (list, dict)) else value
    return value


def edges(value: Any) -> list[list[int]]:
    value = listed(value)
    pairs = [edge(plain(pair)) for pair in value] if isinstance(value, list) else [None]
    found = [pair for pair in pairs if pair is not None]
    if len(found) < len(pairs):
        raise ValueError("pairs of sensors such as [[0, 1], [1, 2]]")
    return found


def edge(pair: Any) -> list[int] | None:
    ends = [plain(end) for end in pair] if isinstance(pair, list) else []
    whole = [int(end) for end in ends if not isinstance(end, bool) and isinstance(end, (int, float)) and end % 1 == 0]
    return whole if len(whole) == len(ends) == 2 and all(0 <= end < 2**31 for end in whole) else None


def captions(value: Any) -> list[dict[str, Any]]:
    found = listed(value)
    if isinstance(value, str):
        holds = all(isinstance(one, (str, dict)) for one in found) if isinstance(found, list) else "text" in found
        found = found if holds else value  # "[1]" and "{x}" are captions
    found = [caption(plain(one)) for one in (found if isinstance(found, list) else [found]) if not empty(plain(one))]
    if len({len(one) for one in found}) > 1:
        raise ValueError("captions that all have `start` and `end`, or none")
    return found


def caption(value: Any) -> dict[str, Any]:
    if isinstance(value, (int, float)) and not isinstance(value, bool):  # a digit that is spoken
        value = str(value)
    if isinstance(value, str):
        return {"text": valid(value)}
    if isinstance(value, dict) and isinstance(value.get("text"), str) and value.keys() <= {"text", "start", "end"}:
        times = {key: seconds(value[key]) for key in ("start", "end") if not empty(value.get(key))}
        if len(times) != 1:
            return {"text": valid(value["text"]), **times}
    raise ValueError('a caption, a list of captions, or a list of {"text", "start", "end"}')


def valid(text: str) -> str:
    """A text without halves of surrogate pairs, which no table holds."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("text without lone surrogates") from None
    return text


COLUMNS = {
    "id": name, "text": captions, "start": seconds, "end": seconds, "label": labels.cell, "split": split,
    "group": group,
    "regions": path, "imu_rate": rate, "edges": edges,
    "imu_window": count,
}  # fmt: skip
