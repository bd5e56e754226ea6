"""Tables of text: a header and cells between commas, semicolons or tabs, or a list of files without a header."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmmae.data import cells, headers, kinds
from mmmae.data.findings import Findings
from modalities.errors import InputError
from modalities.files.suffixes import ending
from modalities.manifest.text_files import read_text

Rows = Iterator[tuple[str, dict[str, Any]]]

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", " ": "spaces"}
MEDIA = "|".join(re.escape(end[1:]) for end in kinds.CERTAIN)
LISTED = re.compile(rf'\s*"?(?P<path>[^"]+?\.(?:{MEDIA}))"?(?=$|[\s,;|])', re.IGNORECASE)
SHORT = "\0short"  # in place of a cell that a row lacks at its end
FRAMES = (
    "three values may be path, number of frames, label (folders of frames, which are not read: make videos of them), "
    "or path, start, label"
)
REMEDY = "Give the file a first line that names its columns, such as video,start,end,label (start and end in seconds)."


def read_delimited(path: Path, findings: Findings) -> Rows:
    """Rows of a table with a header, or of a list of files without one.

    Raises:
        InputError: names the line that cannot be parsed.
    """
    text = read_text(path, findings.note)
    lines = text.split("\n")
    first = next((number for number, line in enumerate(lines) if line.strip()), None)
    if first is None:
        return iter(())
    if LISTED.match(lines[first]):
        return read_list(path, lines, findings)
    delimiter = delimiter_of(lines[first], path)
    if delimiter != ("\t" if ending(path) == ".tsv" else ","):
        findings.note(f"{path.name} has {DELIMITERS[delimiter]} between its cells")
    return read_table(path, "\n".join(lines[first:]), first, delimiter, findings)


def delimiter_of(header: str, path: Path) -> str:
    """What stands between the names of columns: what cuts the header into most names that are known."""
    usual = "\t" if ending(path) == ".tsv" else ","
    order = [usual, *(mark for mark in ",;\t|" if mark != usual)]

    def known(mark: str) -> tuple[int, int]:
        names = [name.strip(' "') for name in header.split(mark)]
        return sum(map(headers.known, names)), len(names)

    return max(order, key=known)


def read_table(path: Path, text: str, above: int, delimiter: str, findings: Findings) -> Rows:
    """Rows below a header. above: lines before it."""
    quoting = csv.QUOTE_MINIMAL
    if delimiter == "\t" and broken(text, delimiter):
        quoting = csv.QUOTE_NONE
        findings.note(f"{path.name}: quotation marks are read as text, since they do not enclose cells")
    table = csv.DictReader(
        io.StringIO(text, newline=""), delimiter=delimiter, restval=SHORT, skipinitialspace=delimiter != "\t",
        strict=True, quoting=quoting,
    )  # fmt: skip
    place = f"line {above + 1}"
    try:
        names = table.fieldnames = [name.strip() for name in table.fieldnames or ()]
        require_header(path, names)
        commas = [name for name in names if name.lower() in cells.NUMBERS] if delimiter == ";" else ()
        for row in table:
            place = f"line {above + table.line_num}"
            if any(cell.strip() for cell in row.pop(None, ())):
                raise InputError(
                    f"{path}, {place}: more cells than the header has\n  Quote cells that contain a "
                    f"{DELIMITERS[delimiter][:-1]}."
                )
            if row[names[-1]] is SHORT:
                findings.note("a row has fewer cells than the header: the others are empty", place)
                row = {name: None if cell is SHORT else cell for name, cell in row.items()}
            for name in commas:
                if re.fullmatch(r"\s*\d+,\d+\s*", cell := row[name] or ""):
                    findings.note(f"column {name!r} has decimal commas", place)
                    row[name] = cell.replace(",", ".")
            yield place, row
    except csv.Error as error:
        place = f"line {above + table.line_num}"
        raise InputError(
            f"{path}, {place}: not CSV ({error})\n  Close its quotation marks; double those inside."
        ) from None


def require_header(path: Path, names: Sequence[str]) -> None:
    """Refuse a first line that names no columns.

    Raises:
        InputError: a name stands twice, or the line is a row.
    """
    twice = {name for name in names if name and names.count(name) > 1}
    if twice:
        raise InputError(f"{path}, line 1: column {min(twice)!r} stands twice\n  Give every column its own name.")
    if names and names.count("") > 1:
        raise InputError(f"{path}, line 1: {names.count('')} columns have no name\n  {REMEDY}")
    if not any(map(headers.known, names)) and any(re.search(r"[/\\\d]|\.\w{2,4}$", name) for name in names):
        raise InputError(
            f"{path}, line 1: {', '.join(names)[:80]!r} names no columns\n  {REMEDY} Folders of frames are not read."
        )


def broken(text: str, delimiter: str) -> bool:
    """Whether a table's quotation marks do not enclose its cells."""
    try:
        for _ in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True):
            pass
    except csv.Error:
        return True
    return False


def read_list(path: Path, lines: Sequence[str], findings: Findings) -> Rows:
    """Rows `path`, `path label` or `path start end label`, as VideoMAE and MMAction list videos.

    Raises:
        InputError: a line is none of these, or not like the others.
    """
    rows = [(number, listed(path, number, line)) for number, line in enumerate(lines, 1) if line.strip()]
    count = len(rows[0][1])
    for number, row in rows:
        if len(row) != count:
            raise InputError(
                f"{path}, line {number}: {len(row)} values, where line {rows[0][0]} has {count}\n  {REMEDY}"
            )
    whole = count == 3 and all(row[1:] == ["0", "-1"] for _, row in rows)  # VideoMAE V2: from 0 to the end, no label
    if count not in (1, 2, 4) and not whole:
        reason = FRAMES if count == 3 else f"{count} values in a line"
        raise InputError(f"{path}, line {rows[0][0]}: a list without a header: {reason}\n  {REMEDY}")
    names = {1: ["path"], 2: ["path", "label"], 3: ["path"], 4: ["path", "start", "end", "label"]}[count]
    unit = ", in seconds" if count == 4 else ", 0 and -1 as the whole of it without a label" if whole else ""
    findings.note(f"{path.name} has no header: its lines are read as {', '.join(names)}{unit}")
    for number, row in rows:
        found: dict[str, Any] = dict(zip(names, row, strict=False))
        recording = found.pop("path")
        if found.get("label") == "-1":
            findings.note("label -1 is read as no label", f"line {number}")
            found["label"] = None
        yield f"line {number}", {str(kinds.media(recording)): recording, **found}


def listed(path: Path, number: int, line: str) -> list[str]:
    """The values of a line that begins with the path of a recording."""
    found = LISTED.match(line)
    if found is None:
        raise InputError(f"{path}, line {number}: expected the path of a video, image or sound first, got {line!r:.80}")
    rest = line[found.end() :].strip()
    if rest[:1] in (",", ";", "|"):
        rest = rest[1:]
        cut = next(csv.reader([rest], delimiter=line[found.end() :].strip()[0], skipinitialspace=True))
        return [found["path"], *(value.strip() for value in cut)]
    return [found["path"], *rest.split()]
