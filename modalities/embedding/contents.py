"""Statistics of the embeddings of a recording for `mmmae check`: zeros, and rows that are all the same."""

from __future__ import annotations

from typing import Any, ClassVar

from modalities.reader import Contents, Doubt, Reading
from modalities.shapes import Tensor


class RowContents(Contents):
    """Size and faults of rows of features (l, d)."""

    doubts: ClassVar[dict[str, Doubt]] = {
        "zeros": Doubt(
            "are zero throughout", "the model that made them saw nothing: make them again, or drop the rows"
        ),
        "all the same": Doubt("are the same row throughout", "make them again, or drop the rows"),
    }

    def __init__(self):
        self.first: Tensor | None = None
        self.count, self.norm = 0, 0.0
        self.same = True

    def add(self, reading: Reading | None, start: float) -> None:
        if reading is None or not reading.length:
            return
        rows = reading.values[: reading.length].double()
        self.first = rows[0] if self.first is None else self.first
        self.count += len(rows)
        self.norm += float(rows.norm(dim=1).sum())
        self.same = self.same and bool((rows == self.first).all())

    def findings(self) -> dict[str, Any]:
        if not self.count:
            return {}
        return {
            "size": float(f"{self.norm / self.count:.4g}"),
            "zeros": self.norm == 0,
            "all the same": self.same and self.count > 1 and self.norm > 0,
        }
