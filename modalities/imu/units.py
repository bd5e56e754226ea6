"""Units of time and of inertial readings, as headers and recipes write them."""

from __future__ import annotations

import math
import re
from typing import Any

GRAVITY = 9.80665  # m/s^2
DEGREE = math.pi / 180

# quantity: the unit that recordings are read in, then every unit that is understood: spellings and what one of it is
FACTORS: dict[str, dict[str, float]] = {
    "acceleration": {"m/s^2": 1.0, "g": GRAVITY, "mg": GRAVITY / 1000, "cm/s^2": 0.01, "mm/s^2": 0.001},
    "angular_velocity": {"rad/s": 1.0, "deg/s": DEGREE, "mdeg/s": DEGREE / 1000, "mrad/s": 0.001, "rpm": math.pi / 30},
    "magnetic_field": {"uT": 1.0, "nT": 0.001, "mT": 1000.0, "T": 1e6, "gauss": 100.0, "mgauss": 0.1},
    "time": {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "100 us": 1e-4, "min": 60.0},
}
PLAIN = {quantity: next(iter(units)) for quantity, units in FACTORS.items()}
SPELLINGS: dict[str, dict[str, str]] = {
    "acceleration": {
        "m/s^2": "m/s2 m/s/s ms2 ms-2 mps2 meters/s2 metres/s2 meter/s2 m/sec2 m/sec/sec mpss",
        "g": "g gs gforce g's",
        "mg": "mg milli-g millig",
        "cm/s^2": "cm/s2 cms2 gal",
        "mm/s^2": "mm/s2",
    },
    "angular_velocity": {
        "rad/s": "rad/s rads/s rads rads-1 radps radian/s radians/s rad/sec rads/sec radians/sec radians/second radsec",
        "deg/s": "deg/s degs degs-1 degps dps degree/s degrees/s deg/sec degrees/sec degrees/second degsec",
        "mdeg/s": "mdeg/s mdps",
        "mrad/s": "mrad/s",
        "rpm": "rpm r/min",
    },
    "magnetic_field": {
        "uT": "ut microtesla microteslas", "nT": "nt nanotesla", "mT": "mt millitesla", "T": "t tesla",
        "gauss": "gauss g gs ga", "mgauss": "mgauss mg milligauss",
    },
    "time": {
        "s": "s sec secs second seconds", "ms": "ms msec msecs millis millisecond milliseconds",
        "us": "us usec usecs micros microsecond microseconds", "ns": "ns nsec nsecs nanos nanosecond nanoseconds",
        "min": "min minutes",
    },
}  # fmt: skip
KNOWN = {
    quantity: {spelling: unit for unit, line in units.items() for spelling in line.split()}
    for quantity, units in SPELLINGS.items()
}
WRITTEN = str.maketrans({"²": "2", "µ": "u", "μ": "u", "°": "deg", "⁻": "-", "¹": "1", "−": "-"})


def parse(text: str, quantity: str) -> str | None:
    """The unit of a quantity that a text states; None where it states none that is known.

    >>> parse("m/s²", "acceleration"), parse("rad s^-1", "angular_velocity"), parse("µT", "magnetic_field")
    ('m/s^2', 'rad/s', 'uT')
    >>> parse("kg", "acceleration")
    """
    plain = re.sub(r"[\s^*·⋅(){}\[\].]", "", text.translate(WRITTEN).lower())
    return KNOWN[quantity].get(plain)


def any_quantity(text: str) -> str | None:
    """The inertial quantity that a unit alone determines; the unit G means acceleration."""
    return next((quantity for quantity in PLAIN if quantity != "time" and parse(text, quantity)), None)


def factor(unit: Any, quantity: str) -> float:
    """What one of a unit is in m/s^2, rad/s, uT or s; a number is that factor itself.

    Raises:
        ValueError: the unit is unknown.
    """
    if isinstance(unit, int | float) and not isinstance(unit, bool):
        if not (math.isfinite(unit) and unit > 0):
            raise ValueError(f"{unit} is no factor to {PLAIN[quantity]}")
        return float(unit)
    known = parse(str(unit), quantity) or (unit if unit in FACTORS[quantity] else None)
    if known is None:
        raise ValueError(f"{quantity} has no unit {unit!r}; known: {', '.join(FACTORS[quantity])}, or a number")
    return FACTORS[quantity][known]
