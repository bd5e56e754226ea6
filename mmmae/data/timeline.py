"""Labels over time: the column `segments` of a manifest."""

from __future__ import annotations

from typing import Any

from mmmae.data.labels import spelled
from modalities.manifest.cells import listed, seconds
from modalities.manifest.spelling import empty, plain

SEGMENT = {"start": float, "end": float, "labels": [str]}  # as a table holds one
EXPECTED = 'a list of segments such as [{"start": 1.5, "end": 4, "label": "jump"}]'


def segments(value: Any) -> list[dict[str, Any]]:
    """The segments of a recording, in the order of time; an empty list states that nothing happens.

    Raises:
        ValueError: says which segment is wrong, and what was expected.
    """
    found = plain(listed(value))
    if not isinstance(found, list):
        raise ValueError(EXPECTED)
    made = [segment(plain(one), f"segment {number}") for number, one in enumerate(found, 1)]
    return sorted(made, key=lambda one: (one["start"], one["end"], one["labels"]))


def segment(value: Any, called: str) -> dict[str, Any]:
    """One segment of {start, end, label}; its label is a name or a list of names."""
    if not isinstance(value, dict):
        raise ValueError(f"{EXPECTED} ({called} is {value!r:.40})")
    for key in value:
        if key not in ("start", "end", "label", "labels"):
            raise ValueError(f"{EXPECTED} ({called} has the key {key!r})")
    times = {}
    for key in ("start", "end"):
        if empty(value.get(key)):
            raise ValueError(f"{EXPECTED} ({called} has no `{key}`)")
        try:
            times[key] = seconds(plain(value[key]))
        except ValueError as error:
            raise ValueError(f"{EXPECTED}, whose `{key}` is {error} ({called} has {value[key]!r:.40})") from None
    if times["end"] <= times["start"]:
        raise ValueError(
            f"segments that end after they start ({called} is from {times['start']:g} to {times['end']:g} s)"
        )
    given = plain(value.get("label") if "label" in value else value.get("labels"))
    names = [plain(one) for one in (given if isinstance(given, (list, tuple)) else [given])]
    if not names or any(empty(one) for one in names):
        raise ValueError(f"{EXPECTED} ({called} has no `label`)")
    try:
        return times | {"labels": sorted({spelled(one) for one in names})}
    except ValueError as error:
        raise ValueError(f"segments whose `label` is {error} ({called} has {given!r:.40})") from None
