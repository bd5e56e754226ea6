"""Facts about recordings, summarised one after the other: what is kept does not grow with their number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

DIFFERENT = 1000  # values other than numbers that are told apart; those of later recordings are only counted
CLOSE = 0.02  # numbers that differ by less, relative to the usual one, are as usual


@dataclass
class Count:
    """How many recordings something holds for, and the first of them."""

    number: int = 0
    example: str = ""

    def add(self, id: str) -> None:
        self.example = self.example if self.number else id
        self.number += 1


@dataclass
class Numbers:
    """Numbers of recordings. low, high: with their recordings. near: how many have each, to four digits."""

    count: int = 0
    total: float = 0.0
    low: tuple[float, str] = (float("inf"), "")
    high: tuple[float, str] = (float("-inf"), "")
    near: dict[float, Count] = field(default_factory=dict)

    def add(self, id: str, value: float) -> None:
        self.count += 1
        self.total += value
        self.low, self.high = min(self.low, (value, id)), max(self.high, (value, id))
        self.near.setdefault(float(f"{value:.4g}"), Count()).add(id)

    @property
    def median(self) -> float:
        passed = 0
        for value in sorted(self.near):
            passed += self.near[value].number
            if 2 * passed >= self.count:
                return value
        raise ValueError("no numbers have no median")

    def unusual(self) -> tuple[float, dict[float, Count]]:
        """The commonest number, and those that are not close to it."""
        usual = max(self.near, key=lambda value: self.near[value].number)
        return usual, {value: n for value, n in sorted(self.near.items()) if abs(value - usual) > CLOSE * abs(usual)}

    def tree(self) -> dict[str, float]:
        return {"min": self.low[0], "median": self.median, "max": self.high[0], "mean": self.total / self.count}


@dataclass
class Values:
    """Values other than numbers: how many recordings have each."""

    counts: dict[str, Count] = field(default_factory=dict)
    others: int = 0

    def add(self, id: str, value: str) -> None:
        if value not in self.counts and len(self.counts) >= DIFFERENT:
            self.others += 1
            return
        self.counts.setdefault(value, Count()).add(id)

    def common(self) -> list[tuple[str, Count]]:
        return sorted(self.counts.items(), key=lambda item: (-item[1].number, item[0]))

    def tree(self) -> dict[str, int]:
        return {value: count.number for value, count in self.common()} | (
            {"others": self.others} if self.others else {}
        )


@dataclass
class Facts:
    """What is known of one stream of `known` recordings.

    numbers, values: by the name of the fact. channels: numbers by fact and channel. holds: how often something is true.
    """

    known: int = 0
    numbers: dict[str, Numbers] = field(default_factory=dict)
    values: dict[str, Values] = field(default_factory=dict)
    channels: dict[str, dict[str, Numbers]] = field(default_factory=dict)
    holds: dict[str, Count] = field(default_factory=dict)

    def add(self, id: str, facts: Mapping[str, Any]) -> None:
        """The facts about one more recording, in the forms of `Reader.describe` and `Contents.findings`."""
        self.known += 1
        for name, value in facts.items():
            if isinstance(value, bool):
                if value:
                    self.holds.setdefault(name, Count()).add(id)
            elif isinstance(value, (int, float)):
                self.numbers.setdefault(name, Numbers()).add(id, float(value))
            elif isinstance(value, Mapping):
                self.add_channels(id, name, value)
            elif isinstance(value, (set, frozenset)):
                for one in value:
                    self.values.setdefault(name, Values()).add(id, written(one))
                if value:
                    self.holds.setdefault(name, Count()).add(id)
            elif value not in (None, (), []):
                self.values.setdefault(name, Values()).add(id, written(value))

    def add_channels(self, id: str, name: str, channels: Mapping[str, Any]) -> None:
        for channel, value in channels.items():
            if isinstance(value, (int, float)):
                self.channels.setdefault(name, {}).setdefault(channel, Numbers()).add(id, float(value))
            else:
                self.values.setdefault(name, Values()).add(id, f"{channel} {written(value)}")

    def tree(self) -> dict[str, Any]:
        """All of it for JSON."""
        trees = {name: found.tree() for name, found in (self.numbers | self.values).items()}
        trees |= {
            name: {channel: found.tree() | {"recordings": found.count} for channel, found in channels.items()}
            for name, channels in self.channels.items()
        }
        holds = {name: {"recordings": n.number, "first": n.example} for name, n in self.holds.items()}
        return {**trees, "holds": holds}


def written(value: Any) -> str:
    """A value that is no number, in one line: 640 x 480 for sizes, names with commas between them."""
    if isinstance(value, (tuple, list)):
        return (" x " if all(isinstance(part, int) for part in value) else ", ").join(map(str, value))
    return str(value)
