"""Which rows of a corpus are held out: those that it marks, else a share by the hash of their names."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

from modalities.errors import InputError
from modalities.noise import WORD, mix


def held_out(path: Path | str, splits: Sequence[str | None], names: Sequence[str], share: float) -> list[bool]:
    """Which rows of a single corpus are held out, by its column `split` or by the hash of `names`.

    Raises:
        InputError: the column `split` leaves nothing to train on.
    """
    if not any(splits):
        return hold_out(names, share)
    test = [split == "test" for split in splits]
    if all(test):
        raise InputError(f"{path}: column 'split' has no row 'train'\n  Mark the rows to train on.")
    return test


def hold_out(names: Sequence[str], share: float) -> list[bool]:
    """Which names are held out, by their hash alone except where a side would be left empty."""
    place = {name: mix(zlib.crc32(name.encode())) / WORD for name in set(names)}
    order = sorted(place, key=lambda name: (place[name], name))
    count = sum(place[name] < share for name in order)
    if share:
        count = min(max(count, 1), len(order) - 1)
    held = set(order[:count])
    return [name in held for name in names]
