"""Text as words in place: hidden ones are boxes, predictions are green where right and red where wrong."""

from __future__ import annotations

from dataclasses import dataclass

from mmmae.panels.page import INK, QUIET, Page, View, measure, plain

SIZE, HEIGHT = 8.5, 0.21  # points, inches
RIGHT, WRONG, BOX = "#1a7f37", "#c62828", "#efefef"
BLANK = "____"


@dataclass(frozen=True)
class Word:
    """A piece of text: ground truth, prediction (None where it was visible), and position."""

    true: str
    guess: str | None
    right: bool
    left: float
    width: float
    line: int


def draw(page: Page, view: View) -> None:
    words = laid_out(view, page.width)
    hidden = [word for word in words if word.guess is not None]
    note = f"{len(words)} pieces"
    if hidden:
        note += f", {len(hidden)} hidden, {sum(word.right for word in hidden)} predicted correctly"
    page.heading(view.name, note)
    lines = 1 + max(word.line for word in words)
    for label, _, _ in view.rows():
        axes = page.canvas(lines * HEIGHT, label, gap=0.03)
        for word in words:
            write(axes, word, label)
    page.skip(0.03)


def write(axes, word: Word, row: str) -> None:
    """One word as one of the rows shows it."""
    middle, down = word.left + word.width / 2, (word.line + 0.5) * HEIGHT
    text, colour, box = word.true, INK, None
    if word.guess is not None and row != "input":
        box = {"boxstyle": "round,pad=0.18", "facecolor": BOX, "edgecolor": "none"}
        text, colour = (BLANK, QUIET) if row == "masked" else (word.guess, RIGHT if word.right else WRONG)
    axes.text(middle, down, plain(text), size=SIZE, color=colour, ha="center", va="center", bbox=box)


def laid_out(view: View, width: float) -> list[Word]:
    """The pieces of the text in lines of `width` inches; each is as wide as the widest of what stands in its place."""
    guesses = view.original if view.predicted is None else view.predicted
    words: list[Word] = []
    left, line = 0.0, 0
    for place in view.valid.nonzero()[0]:
        true = piece(view, int(view.original[place]))
        guess = piece(view, int(guesses[place])) if view.hidden[place] else None
        across = measure(true, SIZE)
        if guess is not None:
            across = max(across, measure(guess, SIZE), measure(BLANK, SIZE)) + 0.06
        if left and left + across > width:
            left, line = 0.0, line + 1
        words.append(Word(true, guess, bool(guesses[place] == view.original[place]), left, across, line))
        left += across + 0.07
    return words


def piece(view: View, number: int) -> str:
    """The piece of an id; the id itself if there is no vocabulary."""
    return str(number) if view.vocabulary is None else view.vocabulary.pieces([number])[0].strip() or "␣"
