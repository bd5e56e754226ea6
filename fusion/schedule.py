"""Schedules: numbers of a recipe that follow the progress of training (weights, ratios, temperatures, momentum)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

SHAPES = ("linear", "cosine", "arctan", "step")
KEYS = ("from", "to", "shape", "begin", "end", "middle", "slope")  # `middle` and `slope` are of arctan only


@dataclass(frozen=True)
class Schedule:
    """A number that moves from `start` to `stop` while progress goes from `begin` to `end`, and rests before and after.

    shape: how it moves in between, at u from 0 to 1:
        linear: evenly. cosine: half a cosine, slow at both ends.
        arctan: steepest at u = `middle`, by `slope` (CDFSL-V's curriculum has 0.05, and 10 or 100).
        step: at once, half-way from `begin` to `end`, which may be equal.

    Raises:
        ValueError: a value is out of range.
    """

    start: float
    stop: float
    shape: str = "linear"
    begin: float = 0.0
    end: float = 1.0
    middle: float = 0.5
    slope: float = 10.0

    def __post_init__(self):
        if self.shape not in SHAPES:
            raise ValueError(f"a schedule's shape is one of {', '.join(SHAPES)}, got {self.shape!r}")
        if not all(math.isfinite(end) for end in (self.start, self.stop)):
            raise ValueError(f"a schedule goes from a number to a number, got {self.start} and {self.stop}")
        if not 0 <= self.begin <= self.end <= 1:
            raise ValueError(f"a schedule has 0 <= begin <= end <= 1, got begin={self.begin}, end={self.end}")
        if not (self.slope > 0 and math.isfinite(self.slope) and math.isfinite(self.middle)):
            raise ValueError(
                f"an arctan schedule has a number `middle` and a `slope` above 0, got {self.middle} and {self.slope}"
            )

    @classmethod
    def of(cls, value: Any) -> Schedule | None:
        """The schedule that a recipe's value describes: a mapping, or a pair [from, to]; None of any other value.

        Raises:
            ValueError: names the key that is unknown, missing or no number.
        """
        if isinstance(value, (list, tuple)):
            if len(value) != 2:
                raise ValueError(f"a schedule in short is a pair [from, to], got {list(value)}")
            value = {"from": value[0], "to": value[1]}
        if not isinstance(value, Mapping):
            return None
        given = {"shape": "linear", **value}
        if unknown := [key for key in given if key not in KEYS]:
            raise ValueError(f"a schedule has the keys {', '.join(KEYS)}; got {unknown[0]!r}")
        if missing := [key for key in ("from", "to") if key not in given]:
            raise ValueError(f"a schedule needs `from` and `to`; {missing[0]!r} is missing")
        if given["shape"] != "arctan" and (extra := [key for key in ("middle", "slope") if key in given]):
            raise ValueError(f"{extra[0]!r} is a key of shape: arctan, not of {given['shape']!r}")
        for key, number in given.items():
            if key != "shape" and (isinstance(number, bool) or not isinstance(number, (int, float))):
                raise ValueError(f"a schedule's {key!r} is a number, got {number!r}")
        named = {"from": "start", "to": "stop"}
        return cls(**{named.get(str(key), str(key)): x if key == "shape" else float(x) for key, x in given.items()})  # type: ignore

    def moved(self, progress: float) -> float:
        """The share of the way from start to stop, exactly 0 up to `begin` and exactly 1 from `end` on."""
        if self.shape == "step":
            return float(progress >= (self.begin + self.end) / 2)
        if progress >= self.end:
            return 1.0
        if progress <= self.begin:
            return 0.0
        u = (progress - self.begin) / (self.end - self.begin)
        if self.shape == "cosine":
            return 0.5 - 0.5 * math.cos(math.pi * u)
        if self.shape == "arctan":
            low, here, high = (math.atan(self.slope * (x - self.middle)) for x in (0.0, u, 1.0))
            return (here - low) / (high - low)
        return u

    def value(self, progress: float, stages: int | None = None) -> float:
        """The number at a progress from 0 to 1.

        stages: it moves only where progress has made a further one of so many equal parts.
        """
        if stages is None:
            return self.start + (self.stop - self.start) * self.moved(progress)
        moved = self.moved(int(progress * stages) / stages) * stages  # for a line the whole number of stages, exactly
        return self.start + (self.stop - self.start) * moved / stages


def follow(module: nn.Module, schedules: Mapping[str, Schedule]) -> None:
    """Make attributes of a module follow schedules: each is the attribute with the name of its setting.

    An attribute becomes a scalar tensor (float32, on the host) that is written anew in place: a compiled graph reads
    it as an input, and a device is handed it with the call. It stays a plain number where its class has `stages` (it
    decides shapes) or `plain = True` (no compiled code reads it).

    Raises:
        ValueError: the module has no such number to move.
    """
    for name, schedule in schedules.items():
        if not isinstance(getattr(module, name, None), (int, float)):
            raise ValueError(f"{name}: cannot follow a schedule here, for training learns it")
        if stages(module) is None and not getattr(module, "plain", False):
            setattr(module, name, torch.tensor(schedule.start, dtype=torch.float32))
    module.__dict__["schedules"] = {**getattr(module, "schedules", {}), **schedules}
    advance(module, 0.0)


def stages(module: nn.Module) -> int | None:
    """In how many stages the module's schedules move; None where they move at every step."""
    return getattr(module, "stages", None)


def advance(module: nn.Module, progress: float) -> None:
    """Write into a module what its own schedules have at a progress from 0 to 1."""
    for name, schedule in getattr(module, "schedules", {}).items():
        value = schedule.value(progress, stages(module))
        held = getattr(module, name)
        if isinstance(held, Tensor):
            held.fill_(value)
        else:
            setattr(module, name, value)


def values(module: nn.Module, name: str) -> Iterator[float]:
    """What a setting of a module begins with, and where its schedule, if it has one, takes it."""
    schedule: Schedule | None = getattr(module, "schedules", {}).get(name)
    yield from (float(getattr(module, name)),) if schedule is None else (schedule.start, schedule.stop)
