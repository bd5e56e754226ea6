"""Statistics of captions for `mmmae check`: empty ones, and ones longer than what is read."""

from __future__ import annotations

from typing import ClassVar

from modalities.reader import Contents, Doubt


class CaptionContents(Contents):
    """Faults of captions, which `TextReader.describe` finds without looking at windows."""

    doubts: ClassVar[dict[str, Doubt]] = {
        "empty": Doubt("have an empty caption", "write one, or leave the cell empty"),
        "cut off": Doubt(
            "have captions longer than `length`", "they lose their end: set modalities.text.length higher"
        ),
    }
