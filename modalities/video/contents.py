"""Statistics of the frames of a recording for `mmmae check`: black, of one colour, or constant."""

from __future__ import annotations

from typing import Any, ClassVar

from modalities.reader import Contents, Doubt, Reading
from modalities.shapes import Tensor

BLACK = 16  # of 255: brightest value of pictures that show nothing
SAME = 3  # of 255: differences that a codec makes


class PictureContents(Contents):
    """Faults of pictures (t, c, h, w) of uint8 values, or of floats between 0 and 1."""

    units: ClassVar[dict[str, str]] = {"brightness": "%"}
    doubts: ClassVar[dict[str, Doubt]] = {
        "black": Doubt(
            "are black throughout", "look at them with `mmmae inspect`: convert them again, or drop the rows"
        ),
        "one colour": Doubt(
            "show one colour throughout", "look at them with `mmmae inspect`: convert them again, or drop the rows"
        ),
        "frozen": Doubt("show the same picture throughout", "the camera had stopped: drop the rows, or read images"),
    }

    def __init__(self):
        self.first: Tensor | None = None
        self.count = 0
        self.brightest = self.contrast = self.change = self.total = 0.0

    def add(self, reading: Reading | None, start: float) -> None:
        if reading is None or not reading.length:
            return
        clip = reading.values[: reading.length]
        if clip.dtype.is_floating_point:
            clip = clip * 255
        clip = clip.float()
        self.first = clip[0] if self.first is None else self.first
        self.count += len(clip)
        self.total += float(clip.mean()) * len(clip)
        self.brightest = max(self.brightest, float(clip.max()))
        self.contrast = max(self.contrast, float((clip.amax((2, 3)) - clip.amin((2, 3))).max()))
        if self.change <= SAME:
            self.change = max(self.change, float((clip - self.first).abs().max()))

    def findings(self) -> dict[str, Any]:
        if not self.count:
            return {}
        black = self.brightest < BLACK
        flat = not black and self.contrast <= SAME and self.change <= SAME
        frozen = self.count > 1 and self.change <= SAME and not black and not flat
        brightness = round(self.total / self.count / 255, 3)
        return {"brightness": brightness, "black": black, "one colour": flat, "frozen": frozen}
