"""The column `label`: a name, a number or a list of them, spelled alike whatever file it was read from."""

from __future__ import annotations

import json
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from modalities.manifest.spelling import empty, name, plain

NO_LABEL = "-1"  # what many corpora write where the label of a row is not known
WHOLE = re.compile(r"-?\d+")

Label = str | list[str | None]


class LabelColumn(ABC):
    """The column `label` of a table of recordings, such as a manifest.

    path: of the table, for messages. labels: every different one in the whole table, as text.
    """

    path: Path | str
    labels: tuple[str, ...]

    @abstractmethod
    def texts(self) -> list[str | None]:
        """The label of each row, as text."""

    def every(self, column: str) -> Iterator[Any]:
        """The cells of another column in the whole table, also where this holds some of its rows."""
        return iter(())

    @abstractmethod
    def place(self, label: str) -> str:
        """Where a label stands first, for messages."""


def cell(value: Any) -> str:
    """The text of a label as a manifest stores it: a name as it is, a list as JSON.

    The numbers 11 and 11.0 and the texts "11" and "11.0" are one name, and a text such as `["dog", "cat"]` (a cell of a
    CSV) is a list: what a label is does not depend on the format of the file.

    Raises:
        ValueError: says what a label may be.
    """
    value = listed(value) if isinstance(value, str) and value.lstrip().startswith("[") else value
    value = plain(value)
    if isinstance(value, (list, tuple)):
        return json.dumps([None if empty(one) else spelled(one) for one in map(plain, value)], ensure_ascii=False)
    return spelled(value)


def spelled(value: Any) -> str:
    """The one spelling of a name or a number.

    Raises:
        ValueError: it is neither, not finite, or has lost digits.
    """
    if not isinstance(value, (str, int, float)) or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError("a name, a number, or a list of names or numbers")
    return name(value)


def listed(text: str) -> Any:
    """The list that a text holds in JSON, or the text."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, list) else text


def parsed(text: str | None) -> Label | None:
    """A stored label as a person wrote it: a name, a list of names, or None."""
    return None if text is None else listed(text) if text.startswith("[") else text


def ordered(names: Iterable[str]) -> tuple[str, ...]:
    """Names sorted; whole numbers by their value."""
    found = sorted(set(names))
    return tuple(sorted(found, key=int) if all(map(WHOLE.fullmatch, found)) else found)


def number(text: str | None) -> float:
    """The number that a text spells; NaN where there is none.

    Raises:
        ValueError: it spells something else.
    """
    if text is None or text.lower() in ("nan", "none", "null"):
        return math.nan
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text} is not finite")
    return value


def measured(labels: Sequence[str]) -> bool:
    """Whether labels look like readings of an instrument (36.6) and not like names of classes.

    They do where all are numbers, some with a fraction, and there are more than ten of them or fewer than two rows for
    each. A decimal comma counts as a point here.
    """
    different = set(labels)
    try:
        values = [number(re.sub(r"^(-?\d+),(\d+)$", r"\1.\2", label)) for label in different]
    except ValueError:
        return False
    fractions = any(not value.is_integer() for value in values)
    return fractions and (len(different) > 10 or 2 * len(different) > len(labels))
