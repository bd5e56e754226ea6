"""Checks of cells that hold numbers, paths and lists: each gives the value in its type or says what was expected."""

from __future__ import annotations

import ast
import json
import math
import re
from contextlib import suppress
from typing import Any

from modalities.manifest.spelling import escaped

COMMA = re.compile(r"(\d+),(\d+)")


def path(value: Any) -> str:
    if isinstance(value, str):
        return escaped(value)
    raise ValueError("a path relative to the manifest")


def number(value: Any, least: float) -> float:
    """A number from `least` up.

    Raises:
        ValueError: it is none, or its comma may stand for thousands.
    """
    found = math.nan
    if isinstance(value, str):
        value = value.strip()
        if comma := COMMA.fullmatch(value):  # as German or French spreadsheets write it
            if len(comma[2]) == 3 and comma[1] != "0":
                raise ValueError(f"a number with a decimal point ({value} may be a decimal or a thousand)")
            value = f"{comma[1]}.{comma[2]}"
        value = "" if "_" in value else value
    if not isinstance(value, bool):
        with suppress(TypeError, ValueError, OverflowError):
            found = float(value)
    if not least <= found < math.inf:
        raise ValueError(f"a number from {least:g} up")
    return found


def seconds(value: Any) -> float:
    try:
        return number(value, 0.0)
    except ValueError as error:
        raise ValueError(f"{error}, in seconds such as 83.5") from None


def rate(value: Any) -> float:
    return number(value, 1e-3)


def count(value: Any) -> int:
    found = number(value, 0.0)
    if not found.is_integer() or found >= 2**31:
        raise ValueError("a whole number, counted from 0")
    return int(found)


def listed(value: Any) -> Any:
    """The list that a text holds, as JSON or as Python prints it; anything else as it is.

    Raises:
        ValueError: it is a list as NumPy prints it, without commas.
    """
    if not isinstance(value, str) or value.strip()[:1] not in ("[", "{"):
        return value
    for parse in (json.loads, ast.literal_eval):
        try:
            found = parse(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        if parse is ast.literal_eval and re.search(r"['\"]\s+['\"]", value):
            raise ValueError('a list with commas, such as ["a dog", "a cat"]')
        return found if isinstance(found, (list, dict)) else value
    return value


def valid(text: str) -> str:
    """A text without halves of surrogate pairs, which no table holds."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("text without lone surrogates") from None
    return text
