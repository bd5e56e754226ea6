"""The page that panels are drawn on, and the views that they draw."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, LEFT, RIGHT, MARGIN = 9.0, 1.05, 0.5, 0.15  # inches; 9 in make 900 px of a web page at 100 px per inch
DOTS = 150  # per inch
INK, QUIET, COVER = "#1a1a1a", "#767676", "#d4d4d4"


@dataclass(frozen=True)
class View:
    """One stream of one sample: ground truth, mask and prediction.

    original, predicted: as the tokenizer restores them, time first; no `predicted` where nothing was hidden.
    hidden, valid: of each of their elements, whether it was guessed and whether it is real (not padding).
    seconds: how long the window lasts.
    tokenizer, reader: of the stream, whose settings have rates and names; vocabulary: has `pieces(ids)`.
    """

    name: str
    tokenizer: Any
    original: np.ndarray
    predicted: np.ndarray | None
    hidden: np.ndarray
    valid: np.ndarray
    seconds: float
    reader: Any = None
    vocabulary: Any = None

    def rows(self) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Label, contents and which of their elements to cover, for each row that shows the stream."""
        nothing = np.zeros_like(self.hidden)
        yield "input", self.original, nothing
        if self.predicted is not None:
            yield "masked", self.original, self.hidden
            yield "reconstruction", self.predicted, nothing


class Page:
    """A figure filled from the top down, measured in inches; its rows are equally wide and so share one time axis."""

    def __init__(self):
        from matplotlib.figure import Figure  # not pyplot, which keeps every figure and asks for a display

        self.figure = Figure(figsize=(WIDTH, 1), dpi=DOTS, facecolor="white")
        self.boxes: list[tuple[Axes, float, float, float, float]] = []  # left, top, width, height
        self.top = MARGIN

    @property
    def width(self) -> float:
        """Of a row."""
        return WIDTH - LEFT - RIGHT

    def skip(self, height: float) -> None:
        self.top += height

    def axes(self, left: float, width: float, height: float) -> Axes:
        axes = self.figure.add_axes((0, 0, 1, 1))
        self.boxes.append((axes, left, self.top, width, height))
        self.top += height
        return axes

    def row(self, height: float, label: str = "", gap: float = 0.05) -> Axes:
        """Empty axes over the width of a row, its label on the left."""
        axes = self.axes(LEFT, self.width, height)
        axes.tick_params(length=2, width=0.5, labelsize=6.5, colors=QUIET, pad=2)
        axes.set(xticks=[], yticks=[])
        axes.yaxis.tick_right()
        for spine in axes.spines.values():
            spine.set_visible(False)
        if label:
            axes.annotate(
                plain(label), (0, 0.5), (-7, 0), "axes fraction", textcoords="offset points",
                ha="right", va="center", size=7.5, color=QUIET, annotation_clip=False,
            )  # fmt: skip
        self.top += gap
        return axes

    def canvas(self, height: float, label: str = "", gap: float = 0.05) -> Axes:
        """A row whose coordinates are inches from its upper left corner."""
        axes = self.row(height, label, gap)
        axes.set(xlim=(0, self.width), ylim=(height, 0))
        return axes

    def clock(self, axes: Axes, seconds: float) -> None:
        """The time axis below a row."""
        axes.spines["bottom"].set(visible=True, color=QUIET, linewidth=0.5)
        axes.xaxis.set_major_locator(ticks(6))
        axes.xaxis.set_major_formatter("{x:g} s")
        axes.set_xlim(0, seconds)
        self.top += 0.16

    def line(self, text: str, *, size: float, colour: str = INK, weight: str = "normal", height: float = 0.2) -> Axes:
        """A line of text over the whole page."""
        axes = self.axes(MARGIN, WIDTH - 2 * MARGIN, height)
        axes.set_axis_off()
        axes.set(xlim=(0, WIDTH - 2 * MARGIN), ylim=(0, 1))
        axes.text(0, 0.5, plain(text), size=size, color=colour, weight=weight, va="center")
        return axes

    def heading(self, name: str, note: str = "", keys: Sequence[tuple[str, str]] = ()) -> None:
        """Which stream follows, a note about it, and words in the colours that they explain."""
        axes = self.canvas(0.2, gap=0.01)
        axes.text(0, 0.1, plain(name), size=8.5, color=INK, weight="bold", va="center")
        left = measure(name, 8.5, "bold") + 0.1
        for text, colour in ((note, QUIET), *keys):
            axes.text(left, 0.11, plain(text), size=7.0, color=colour, va="center")
            left += measure(text, 7.0) + 0.08

    def rule(self) -> None:
        """A thin line across the page."""
        axes = self.axes(MARGIN, WIDTH - 2 * MARGIN, 0.08)
        axes.set_axis_off()
        axes.axhline(0.5, color="#e2e2e2", linewidth=0.8)

    def absent(self) -> None:
        axes = self.canvas(0.24)
        axes.text(0, 0.1, "absent", size=7.5, color=QUIET, style="italic", va="center")

    def save(self, path: Path) -> Path:
        """Write the page, as tall as what was put on it."""
        height = self.top + MARGIN
        self.figure.set_size_inches(WIDTH, height)
        for axes, left, top, across, down in self.boxes:
            axes.set_position((left / WIDTH, 1 - (top + down) / height, across / WIDTH, down / height))
        path.parent.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph")  # a script that the font lacks is drawn as boxes
            self.figure.savefig(path, dpi=DOTS, format="png", metadata={"Software": None})
        return path


def plain(text: str) -> str:
    """Text on one line that is not taken for mathematics."""
    return " ".join(text.split()).replace("$", r"\$")


def measure(text: str, size: float, weight: str = "normal") -> float:
    """How many inches a text is wide."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    font = get_font(findfont(FontProperties(weight=weight)))
    font.set_size(size, 72)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        font.set_text(plain(text).replace(r"\$", "$"))
    return font.get_width_height()[0] / 64 / 72


def covered(colours: np.ndarray, cover: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Colours in [0, 1] (..., 3) with covered elements grey and padding white."""
    from matplotlib.colors import to_rgb

    colours = np.where(cover[..., None], to_rgb(COVER), colours)
    return np.where(valid[..., None], colours, 1.0)


def ticks(count: int) -> Any:
    """A locator of at most so many round numbers and one."""
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(count, steps=[1, 2, 5, 10])
