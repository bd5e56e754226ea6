"""The modalities as a table of recordings knows them: their columns, and which modality a file belongs to."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.util import find_spec

from mmmae.recipes.lookup import find, names
from modalities.files.suffixes import ending
from modalities.manifest.columns import Columns, Files

Known = Mapping[str, Columns]


@lru_cache
def columns_of(use: str) -> type[Columns]:
    """The class of a modality's columns: that of its module `manifest`, else that of one path."""
    if use in names("columns") or ("." in use and find_spec(f"{use}.manifest")):
        return find("columns", use, use)
    return Columns


def known(others: Mapping[str, str] | Iterable[str] = ()) -> dict[str, Columns]:
    """The columns of every modality of the house, and further ones: by name, or by name and modality."""
    house = names("reader")
    found = {name: columns_of(name)(name) for name in house}
    uses = others if isinstance(others, Mapping) else dict.fromkeys(others, "")
    return found | {name: columns_of(use)(name, use not in house) for name, use in uses.items() if name not in found}


def files(columns: Known) -> dict[str, tuple[str, Files]]:
    """Kinds of files in a folder, those that decide what its rows are first: the column of each, and what it is."""
    found = {kind: (one.name, of) for one in columns.values() if one.own for kind, of in one.files.items()}
    return dict(sorted(found.items(), key=lambda item: item[1][1].rank))


HOUSE = known()
FILES = files(HOUSE)
OF = {ending: kind for kind, (_, of) in FILES.items() for ending in of.suffixes}
CERTAIN = [ending for ending, kind in OF.items() if FILES[kind][1].certain]


def media(path: str | os.PathLike) -> str | None:
    """The column that a recording belongs into, by its ending alone; None where that does not tell."""
    found = ending(path)
    return FILES[OF[found]][0] if found in CERTAIN else None
