"""Canonical spelling of names, numbers and paths, whatever file, library or type a cell comes from."""

from __future__ import annotations

import math
import os
import re
from datetime import timedelta
from decimal import Decimal
from typing import Any

OWN = (str, int, float, bool, type(None), list, dict)
NO_VALUE = frozenset(  # what tables write for a missing value; the words that pandas reads as one
    ("nan", "NaN", "NAN", "-nan", "-NaN", "NA", "N/A", "n/a", "#N/A", "#NA", "<NA>", "NaT", "None", "null", "NULL")
)
POINT_ZERO = re.compile(r"(-?(?:0|[1-9]\d*))\.0+")
ROUNDED = re.compile(r"-?\d(\.\d+)?[eE]\+\d+")
EXACT = 2**53  # from here up a float no longer holds every whole number
ESCAPE = re.compile(r"\\udc([0-9a-f]{2})")


class Verbatim(str):
    """A text that is no spelling of anything else: the name of a file."""


def plain(value: Any) -> Any:
    """A cell in Python's own types: scalars and arrays of NumPy, pandas and torch, decimals, durations, paths."""
    if type(value) in OWN:
        return value
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    if isinstance(value, timedelta):  # of pandas, too
        return value.total_seconds()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Decimal):
        return None if value.is_nan() else int(value) if value == value.to_integral_value() else float(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    return list(value) if isinstance(value, (tuple, set, frozenset)) else value


def empty(value: Any) -> bool:
    """Whether a cell holds nothing: null, NaN, an empty text or list."""
    return value is None or value == "" or value == [] or (isinstance(value, float) and math.isnan(value))


def name(value: Any) -> str:
    """The one spelling of a name: 1, 1.0, "1" and "1.0" are "1"; true and "True" are "true".

    Raises:
        ValueError: it is no name, or a number that has lost digits on its way through a spreadsheet or a float.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and math.isfinite(value):
        if abs(value) >= EXACT:
            raise ValueError("a name or a whole number with all its digits (written as text)")
        return str(int(value)) if value.is_integer() else repr(value)
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str):
        raise ValueError("a name or a whole number")
    text = value.strip()
    if ROUNDED.fullmatch(text):
        raise ValueError("a name or a whole number with all its digits (format the column as text)")
    if text.lower() in ("true", "false"):
        return text.lower()
    whole = POINT_ZERO.fullmatch(text)
    return text if whole is None else str(int(whole[1]))


def escaped(path: str) -> str:
    r"""A path as text that any table holds: a byte that is no UTF-8 becomes `\udcXX`; `unescaped` is the way back."""
    if "\\udc" in path:
        path = path.replace("\\udc", "\\udc5cudc")
    if path.isascii():
        return path
    return path.encode("utf-8", "backslashreplace").decode()


def unescaped(path: str) -> str:
    """The path that `escaped` was given."""
    if "\\udc" not in path:
        return path
    return ESCAPE.sub(lambda found: "\\" if found[1] == "5c" else chr(0xDC00 + int(found[1], 16)), path)
