"""Whether the files that a table of recordings names are there, and where they may be."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from mmmae.data.allowed_paths import Enclosure
from modalities.errors import InputError
from modalities.manifest.spelling import unescaped


def require_files(
    named: Callable[[], Iterator[tuple[str, str, str]]],
    file: Callable[[str], str],
    enclosure: Enclosure,
    *,
    table: object,
    rows: int,
    bad: float,
) -> None:
    """Look for every file at once: a run must not die hours later of a typing error, nor read what is not its own.

    named: gives the path, the place of its row and its column for each file. file: where a path leads.
    table: what to call the table; rows: how many it has; bad: share of them that may lack a file.

    Raises:
        InputError: a file lies outside, or more rows than that lack a file.
    """
    places: dict[str, tuple[str, str]] = {}
    for path, place, column in named():
        places.setdefault(path, (place, column))

    def look(path: str) -> tuple[bool, bool]:
        inside = enclosure.holds(unescaped(path))
        return inside, inside and os.path.isfile(file(path))

    with ThreadPoolExecutor(32) as pool:
        looks = dict(zip(places, pool.map(look, places), strict=True))
    for path, (inside, _) in looks.items():
        if not inside:
            place, column = places[path]
            raise enclosure.leads_out(unescaped(path), f"{table}, {place}: column {column!r}")
    missing = [path for path, (_, exists) in looks.items() if not exists]
    rows_without = {place for path, place, _ in named() if not looks[path][1]} if missing else ()
    if len(rows_without) > bad * rows:
        place, column = places[missing[0]]
        path = file(missing[0])
        others = f" ({len(missing)} of {len(places)} files are missing)" if len(missing) > 1 else ""
        raise InputError(
            f"{table}, {place}: column {column!r}: no such file: {path}{others}\n"
            f"  Paths are relative to {enclosure.folder}; correct them or leave the cell empty."
        )
