"""Tables of text: where the header is, what separates the cells, how numbers are written."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modalities.errors import SampleError
from modalities.files import limits

DELIMITERS = ("\t", ";", "|", ",")
LOOKED = 60  # lines at the beginning of a file among which the header is looked for
COMMENTS = ("#", "//")
NUMBER = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*")
COMMA = re.compile(r"\s*[-+]?(\d+,\d*|,\d+)([eE][-+]?\d+)?\s*")
EMPTY = {"", "nan", "na", "n/a", "null", "none", "#n/a", "inf", "-inf", "+inf", "infinity"}
LINE = re.compile(rb"[^\r\n]*(?:\r\n|\n|\r|$)")


@dataclass(frozen=True)
class Form:
    """How a table of text is written.

    names: of the columns. units: the cells of a row of units under the header, if there is one.
    begins: bytes before the first row. comma: whether numbers have a decimal comma. sample: some rows.
    """

    names: list[str]
    units: list[str] | None
    delimiter: str
    comma: bool
    begins: int
    sample: list[list[str]]
    notes: tuple[str, ...] = ()


def look(path: Path, known: Callable[[str], bool], is_unit: Callable[[str], bool]) -> Form:
    """The form of a file, from its first lines; `known` tells names of time or readings from others.

    Raises:
        SampleError: no line can be its header.
    """
    limits.refuse_large_file(path)
    with path.open("rb") as file:
        head = file.read(2**16)
        if head.count(b"\n") + head.count(b"\r") < 3:  # a header of very many columns
            head += file.read(limits.HEADER_BYTES)
        more = bool(file.read(1))
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise SampleError(path, "its text is UTF-16", "save it as UTF-8")
    first = head[: LINE.match(head).end()]  # type: ignore[union-attr]
    widest = max(first.count(delimiter.encode()) for delimiter in DELIMITERS) + 1
    limits.refuse_above(limits.COLUMNS, widest, path, "columns", "keep the sensors' columns only")
    lines, place = [], 3 if head.startswith(b"\xef\xbb\xbf") else 0
    while place < len(head) and len(lines) < LOOKED:
        end = LINE.match(head, place).end()  # type: ignore[union-attr]
        if end == len(head) and more and lines:
            break  # cut off in its middle
        lines.append((head[place:end], end))
        place = end
    try:
        texts = [(raw.decode("utf-8").strip("\r\n"), end) for raw, end in lines]
    except UnicodeDecodeError as error:
        raise SampleError(path, "its header is no UTF-8 text", "save the file as UTF-8") from error
    found = [form for delimiter in DELIMITERS if (form := formed(texts, delimiter, known, is_unit)) is not None]
    best = max(found, key=lambda form: (sum(map(known, form.names)), len(form.names)), default=None)
    if best is None:
        reason = "is no table of comma-separated values" + (
            "" if any(t.strip() for t, _ in texts) else " (it is empty)"
        )
        raise SampleError(path, reason, "write a header and as many values in every row")
    return best


def formed(
    texts: Sequence[tuple[str, int]], delimiter: str, known: Callable[[str], bool], is_unit: Callable[[str], bool]
) -> Form | None:
    """The form of a file if this separates its cells; None if its lines have nothing else of a table."""
    rows = [(cells(text, delimiter), end) for text, end in texts]
    at = header_at([row for row, _ in rows], known)
    if at is None:
        return None
    (names, begins), skipped = rows[at], [row for row, _ in rows[:at] if any(cell.strip() for cell in row)]
    names = [name.strip().strip('"').strip() for name in names]
    first = texts[at][0].lstrip()
    if first.startswith("#"):
        names[0] = names[0].lstrip("#").strip()
    body = [(row, end) for row, end in rows[at + 1 :] if any(cell.strip() for cell in row)]
    stated = None
    if body and is_units_row(body[0][0], names, is_unit):
        stated, begins = [cell.strip() for cell in body[0][0]], body[0][1]
        body = body[1:]
    sample = [row for row, _ in body]
    if delimiter != ",":
        written = [cell for row in sample for cell in row]
        comma = any(COMMA.fullmatch(cell) for cell in written)
    else:
        comma = False
    comments = all(row[0].lstrip().startswith(COMMENTS) or row[0].lower().startswith("sep=") for row in skipped)
    notes = () if comments else ("lines above the header are ignored",)
    return Form(names, stated, delimiter, comma, begins, sample, notes)


def cells(text: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True), [""])
    except csv.Error:
        return text.split(delimiter)


def header_at(rows: Sequence[list[str]], known: Callable[[str], bool]) -> int | None:
    """Which line is the header: the first that names time or readings, else the first that is no comment."""
    plain = None
    for place, row in enumerate(rows):
        text = row[0].lstrip() if row else ""
        if not any(cell.strip() for cell in row):
            continue
        if all(NUMBER.fullmatch(cell) or COMMA.fullmatch(cell) or cell.strip().lower() in EMPTY for cell in row):
            return plain if plain is not None else place  # rows have begun
        comment = text.startswith(COMMENTS)
        named = [row[0].lstrip().lstrip("#").strip(), *row[1:]] if comment else row
        hits = sum(known(cell.strip().strip('"').strip()) for cell in named)
        if hits >= 2 or (hits and hits == len(row) and not comment):
            following = next((other for other in rows[place + 1 :] if any(cell.strip() for cell in other)), None)
            if not comment or following is None or len(following) == len(row):
                return place
        if plain is None and not comment and not text.lower().startswith("sep="):
            plain = place
    return plain


def is_units_row(row: Sequence[str], names: Sequence[str], is_unit: Callable[[str], bool]) -> bool:
    """Whether a row under the header states units: no number in it, and a unit under some column."""
    written = [cell.strip() for cell in row if cell.strip()]
    if not written or len(row) > len(names) or any(NUMBER.fullmatch(c) or COMMA.fullmatch(c) for c in written):
        return False
    return sum(map(is_unit, written)) * 2 > len(written)


def load(path: Path, form: Form, kinds: dict[str, Any]) -> Any:
    """Some columns of the file as an Arrow table of the types given.

    Raises:
        SampleError: rows differ in length, or a cell is not of its column's type.
    """
    from pyarrow import ArrowException, csv

    empty = sorted(
        EMPTY - {"inf", "-inf", "+inf", "infinity"} | {"NaN", "nan", "NA", "N/A", "NULL", "None", "NAN", "#N/A"}
    )
    unique = [name if form.names.index(name) == i else f"{name}\0{i}" for i, name in enumerate(form.names)]
    try:
        with path.open("rb") as file:
            file.seek(form.begins)
            return csv.read_csv(
                file,
                read_options=csv.ReadOptions(use_threads=False, column_names=unique),
                parse_options=csv.ParseOptions(delimiter=form.delimiter),
                convert_options=csv.ConvertOptions(
                    include_columns=list(kinds),
                    column_types=kinds,
                    null_values=empty,
                    strings_can_be_null=True,
                    decimal_point="," if form.comma else ".",
                ),
            )
    except (ArrowException, ValueError) as error:
        if "conversion error" in str(error).lower():
            raise
        reason = str(error).strip()
        if "Empty CSV" in reason:
            raise SampleError(path, "holds no readings", "drop the row") from error
        remedy = "write a header and as many values in every row"
        raise SampleError(path, f"is no table of comma-separated values ({reason})", remedy) from error
