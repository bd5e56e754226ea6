"""Labels over time: the column `segments` of a manifest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from mmmae.data.labels import LabelColumn, ordered, spelled
from mmmae.data.window_targets import WindowTarget
from modalities.errors import InputError
from modalities.manifest.cells import listed, seconds
from modalities.manifest.spelling import empty, plain
from modalities.shapes import Bool, Float, Int, Tensor

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


@dataclass(frozen=True)
class Timeline(WindowTarget):
    """Which classes are on at the middle of each token: 1 or 0, (t, classes), NaN where nothing is known.

    A token at second x of the recording has a class where one of its segments has start <= x < end. Times are compared
    in whole microseconds, so that 0.3 is 3 * 0.1.
    """

    names: tuple[str, ...]
    stream: str | None = None
    column = "segments"

    @classmethod
    def of(cls, labels: LabelColumn) -> tuple[str, ...]:
        """The names of the classes of a whole manifest, in their order.

        Raises:
            InputError: there are none.
        """
        names = ordered(name for cell in labels.every("segments") for one in cell or () for name in one["labels"])
        if not names:
            raise InputError(f"{labels.path}: no row has segments\n  fill the column 'segments' with {EXPECTED}")
        return names

    def within(self, cell: Any | None, moments: Float[Tensor, " t"], inside: Bool[Tensor, " t"]) -> Tensor:
        on = torch.zeros(len(moments), len(self.names))
        ticks = microseconds(moments)
        for one in cell or ():
            here = (ticks >= round(one["start"] * 1e6)) & (ticks < round(one["end"] * 1e6))
            for name in one["labels"]:
                if name in self.names:
                    on[here, self.names.index(name)] = 1.0
        known = inside if cell is not None else torch.zeros_like(inside)
        return torch.where(known[:, None], on, torch.nan)

    def example(self, batch: int, steps: int, generator: torch.Generator) -> Tensor:
        return torch.randint(0, 2, (batch, steps, len(self.names)), generator=generator).float()

    def unknown(self, x: Tensor) -> Tensor:
        return torch.full_like(x, torch.nan)


def microseconds(seconds: Float[Tensor, " t"]) -> Int[Tensor, " t"]:
    return (seconds * 1e6).round().long()
