"""When a stream begins and how long it lasts, each fixed or drawn for every sample."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmmae.recipes.lookup import nearest

LAG = "seconds, a range such as [0.1, 1.6], or {from: 0, to: end, density: falling, order: either}"
SPAN = "seconds above 0, a range such as [1.0, 2.0], or some to choose from: {of: [1.0, 2.0]}"
CHOICES = {"density": ("uniform", "falling"), "order": ("either", "later")}


@dataclass(frozen=True)
class Lag:
    """By how many seconds a stream begins after the sample's window.

    low, high: ends of the range from which it is drawn.
    fits: whether it is drawn first, from the room that the recording has, and the window then lies in what is left of
        it (CVRL, arXiv:2008.03800). Otherwise every recording has room for the longest, and the window is drawn alone.
    falling: whether its density falls linearly to zero at the upper end, so that its mean is a third of the range;
        otherwise it is uniform.
    either: whether the stream comes before the window as often as after it.
    """

    low: float = 0.0
    high: float = 0.0
    fits: bool = False
    falling: bool = False
    either: bool = False

    @classmethod
    def of(cls, value: Any) -> Lag:
        """The lag that a recipe writes as a number, a range or a mapping.

        Raises:
            ValueError: says what it may be.
        """
        if isinstance(value, cls):
            return value
        if isinstance(value, Mapping):
            return cls.fitted(value)
        low, high = ends(value, LAG)
        return cls(low, high)

    @classmethod
    def fitted(cls, given: Mapping[str, Any]) -> Lag:
        """One that is drawn from the room of the recording."""
        for key in given:
            if key not in ("from", "to", *CHOICES):
                raise ValueError(f"{key!r} is no key of a lag; {nearest(str(key), ('from', 'to', *CHOICES))}")
        chosen = {key: given.get(key, options[0]) for key, options in CHOICES.items()}
        for key, value in chosen.items():
            if value not in CHOICES[key]:
                raise ValueError(f"{key} of a lag is {' or '.join(CHOICES[key])}, got {value!r}")
        last = math.inf if given.get("to") == "end" else given.get("to")
        low, high = ends([given.get("from", 0.0), last], LAG)
        if low < 0:
            raise ValueError(f"a lag that is drawn from the recording's room begins at 0 or above, got from={low:g}")
        return cls(low, high, True, chosen["density"] == "falling", chosen["order"] == "either")

    @property
    def reach(self) -> tuple[float, float]:
        """The least and the largest lag for which every recording must have room."""
        return ((-self.low if self.either else self.low), self.low) if self.fits else (self.low, self.high)

    def at(self, share: float, side: float, later: float = math.inf, earlier: float = math.inf) -> float:
        """The lag at two numbers drawn uniformly from [0, 1): its quantile, and whether it is before the window.

        later, earlier: the largest lags after and before the window for which there is room, if it fits itself to it.
        """
        before = self.either and side < 0.5
        high = max(min(self.high, earlier if before else later), self.low) if self.fits else self.high
        lag = self.low + (high - self.low) * (1 - math.sqrt(1 - share) if self.falling else share)
        return -lag if before else lag


@dataclass(frozen=True)
class Span:
    """How many seconds a stream lasts: drawn from a range, or one of several; so a clip differs in its speed.

    values: the two ends of the range, or those to choose from.
    """

    values: tuple[float, ...]
    choice: bool = False

    @classmethod
    def of(cls, value: Any) -> Span:
        """The span that a recipe writes as a number, a range or a mapping.

        Raises:
            ValueError: says what it may be.
        """
        if isinstance(value, cls):
            return value
        if not isinstance(value, Mapping):
            found = cls(ends(value, SPAN))
        elif list(value) != ["of"] or not isinstance(value["of"], (list, tuple)) or not value["of"]:
            raise ValueError(f"expected {SPAN}, got {dict(value)!r}")
        else:
            found = cls(tuple(number(one, SPAN) for one in value["of"]), choice=True)
        if not 0 < min(found.values) <= found.longest < math.inf:
            raise ValueError(f"expected {SPAN}, got {value!r}")
        return found

    @property
    def longest(self) -> float:
        return max(self.values)

    def at(self, share: float) -> float:
        """The span at a number drawn uniformly from [0, 1)."""
        if self.choice:
            return self.values[int(share * len(self.values))]
        return self.values[0] + (self.values[1] - self.values[0]) * share

    @property
    def middle(self) -> float:
        """What stands for it where nothing is drawn: the middle of the range, or the first of those to choose from."""
        return self.values[0] if self.choice else self.at(0.5)


def ends(value: Any, expected: str) -> tuple[float, float]:
    """The two ends of a range; a number is both.

    Raises:
        ValueError: it is neither, or falls.
    """
    pair = value if isinstance(value, (list, tuple)) else (value, value)
    if len(pair) != 2:
        raise ValueError(f"expected {expected}, got {value!r}")
    low, high = number(pair[0], expected), number(pair[1], expected)
    if low > high:
        raise ValueError(f"a range begins with its smaller end, {list(pair)} does not")
    return low, high


def number(value: Any, expected: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
        raise ValueError(f"expected {expected}, got {value!r}")
    return float(value)
