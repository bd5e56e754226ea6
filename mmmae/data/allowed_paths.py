"""Paths that a manifest may name: those in its folder, so that an untrusted manifest cannot make a run read others."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from modalities.errors import InputError


class Enclosure:
    """Tells whether files lie inside a folder, however they are spelled and whatever links lead to.

    outside: whether the user lets files lie anywhere; then all do.
    also: a further folder whose files count as inside: that of recordings which came inside the table.
    """

    also: str | None = None

    def __init__(self, folder: str | os.PathLike, *, outside: bool = False):
        self.folder, self.outside = str(folder), outside
        self.real = os.path.realpath(folder)
        self.resolved = lru_cache(4096)(os.path.realpath)  # many files lie in one folder

    def holds(self, path: str | os.PathLike) -> bool:
        """Whether a path (relative ones start at the folder) leads to something inside."""
        if self.outside:
            return True
        try:
            folder, name = os.path.split(os.path.join(self.folder, path))
            place = os.path.join(self.resolved(folder), name)
            if name in ("", ".", "..") or os.path.islink(place):
                place = os.path.realpath(place)
        except ValueError:  # a NUL character: no file of any place
            return True
        inside = [self.real] if self.also is None else [self.real, self.also]
        return any(place == folder or place.startswith(os.path.join(folder, "")) for folder in inside)

    def require(self, path: str | os.PathLike, where: str) -> None:
        """Refuse a path that leads out.

        Raises:
            InputError: says `where` the path stands and how to allow it.
        """
        if not self.holds(path):
            raise self.leads_out(path, where)

    def leads_out(self, path: str | os.PathLike, where: str) -> InputError:
        place = Path(os.path.join(self.folder, path))
        real = os.path.realpath(place)
        to = f" (a link to {real})" if os.path.normpath(place) == str(place) != real else ""
        return InputError(
            f"{where}: {path}{to} lies outside of {self.folder}\n"
            "  Move it into that folder; or, if you trust who named it, allow it with data.outside=true"
        )
