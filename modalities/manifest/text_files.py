"""Files of plain text."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from pathlib import Path

from modalities.errors import InputError


def read_text(path: Path, note: Callable[[str], None] | None = None) -> str:
    """The text of a file in UTF-8, or in UTF-16 with a byte-order mark, which is noted.

    Raises:
        InputError: it is neither.
    """
    data = path.read_bytes()
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if wide and note is not None:
        note(f"{path.name} is UTF-16 text")
    try:
        return data.decode("utf-16" if wide else "utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        encoding = "UTF-16" if wide else "UTF-8"
        raise InputError(
            f"{path}: not {encoding} text ({error.reason} at byte {error.start})\n"
            "  Save it as UTF-8 (in Excel: CSV UTF-8)."
        ) from None
