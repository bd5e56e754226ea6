"""What the names of columns mean: which sensor, which channel, in which unit; and which columns are no readings."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from modalities.imu import units
from modalities.imu.words import (
    CHANNELS,
    FILLERS,
    FREE,
    FUSED,
    GLUED,
    MAGNITUDES,
    PAIRS,
    QUANTITIES,
    QUANTITY,
    SKIPPED,
    SKIPPED_NAMES,
    SPOILERS,
    UNIT_SUFFIXES,
    WHOLE,
    WITHOUT,
)  # fmt: skip

RANGE = re.compile(r"(\d+)(g|dps|gauss)")
TOKEN = re.compile(r"\d+(?:dps|gauss|g)(?![A-Za-z])|[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[A-Z]")
BRACKETS = re.compile(r"\s*[\[({<]\s*([^\[\](){}<>]*(?:\([^()]*\)[^\[\](){}<>]*)?)\s*[\])}>]\s*$")


@dataclass(frozen=True)
class Column:
    """A column of readings by its name.

    sensor: as the name writes it; "" for none. unit: as stated, None where the name states none.
    known: whether the unit is one that can be converted (True where none is stated).
    rank: which of several columns for one channel is read: the highest. free: gravity is taken out, by its name.
    assumed: an axis alone (x, y, z) is taken for acceleration.
    """

    sensor: str
    channel: str
    unit: str | None = None
    known: bool = True
    rank: float = 0.0
    free: bool = False
    assumed: bool = False

    @property
    def quantity(self) -> str | None:
        return QUANTITIES.get(self.channel[0]) if self.channel in CHANNELS else None


def channel_names(channels: int | list[str]) -> tuple[str, ...]:
    """The names of the first so many channels, or those listed; beyond the known ones they are numbered."""
    if isinstance(channels, list):
        return tuple(channels)
    return (*CHANNELS, *(f"channel {n}" for n in range(len(CHANNELS), channels)))[:channels]


def tokens(name: str) -> list[str]:
    """The words of a name: camel case, digits and separators divide it."""
    return [token.lower() for token in TOKEN.findall(name)]


def bracket(name: str) -> tuple[str, str | None]:
    """A name without what stands in brackets at its end, and that: usually a unit."""
    found = BRACKETS.search(name)
    return (name[: found.start()].strip(), found.group(1).strip()) if found and found.start() else (name, None)


def stem_quantity(stem: str) -> str | None:
    """The quantity that a file's own name tells of its columns x, y, z; "" where it tells that they are no readings."""
    words = tokens(stem)
    found = {QUANTITY[word] for word in words if word in QUANTITY and len(word) > 1}
    if set(words) & (SPOILERS | {"gravity", "location"}) and not found:
        return ""
    return found.pop() if len(found) == 1 else ("" if found else None)


def read_name(name: str, stem: str | None = None) -> Column | None:
    """The channel that a column's name names; None where it names none. `stem` is the file's name.

    >>> read_name("wrist.ax").channel, read_name("left_wrist_gyro_z").sensor
    ('ax', 'left_wrist')
    >>> read_name("Acceleration x (m/s^2)").unit, read_name("activity")
    ('m/s^2', None)
    """
    base, stated = bracket(name.strip())
    axis = None
    if stated is not None and (stated.lower() in ("x", "y", "z") or stated in ("0", "1", "2")):
        axis = stated.lower() if stated.isalpha() else "xyz"[int(stated)]
        base, stated = bracket(base)
    head, dot, last = base.rpartition(".")
    if dot and (own := interpret(last, axis, stated)) is not None:
        special = set(tokens(head)) & SPOILERS or _quantities(head) or set(tokens(head)) <= (FREE | FUSED) - {"body"}
        if not special and own.sensor == "":
            return replace(own, sensor=head)
        inner = interpret(head + "_" + last, axis, stated)  # "wrist.accelerometer.acc_x"
        return inner if special else own
    if dot and head.lower() == "a" and axis is None:  # a sensor called a: acceleration either way
        return bare(head, last, axis, stated, stem)
    found = interpret(base, axis, stated)
    if found is not None and not found.assumed:
        return found
    return bare(head, last, axis, stated, stem)


def _quantities(text: str) -> bool:
    return any(word in QUANTITY and len(word) > 1 for word in tokens(text))


def bare(head: str, last: str, axis: str | None, stated: str | None, stem: str | None) -> Column | None:
    """An axis alone, or after the name of a sensor and a dot: what it measures is told by its unit or by the file."""
    words = [word for word in tokens(last) if word != "axis"]
    if words and words[-1] in ("x", "y", "z") and len(words) == 1 and axis is None:
        axis = words[0]
    if axis is None or (len(words) != 1) or set(tokens(head)) & (SPOILERS | SKIPPED):
        return None
    told = stem_quantity(stem) if stem else None
    quantity = units.any_quantity(stated) if stated else None
    if quantity is not None:
        letter = next(letter for letter, name in QUANTITIES.items() if name == quantity)
        if told == "m" and units.parse(stated or "", "magnetic_field"):  # G in the file of a magnetometer is gauss
            letter = "m"
        return Column(head, letter + axis, units.parse(stated or "", QUANTITIES[letter]))
    if told == "" or stated:
        return None
    return Column(head, (told or "a") + axis, assumed=told is None)


def interpret(text: str, axis: str | None, stated: str | None) -> Column | None:
    """A name that says what is measured, along which axis, and perhaps of which sensor and in which unit."""
    words = tokens(text)
    if axis is None:
        for count in range(0, 4):  # "acc_x", "acc_x_g", "gyro_x_deg_s"
            kept, suffix = (words[:-count], "".join(words[-count:])) if count else (words, None)
            if suffix is not None and not any(suffix in known for known in UNIT_SUFFIXES.values()):
                continue
            split = axis_of(kept)
            if split is not None:
                found = quantified(text, *split, suffix, stated)
                if found is not None:
                    return found
        return None
    return quantified(text, words, axis, None, stated)


def axis_of(words: list[str]) -> tuple[list[str], str] | None:
    """The words without the one that is the axis, and the axis."""
    words = [word for word in words if word != "axis"]
    if not words:
        return None
    if words[-1] in ("x", "y", "z"):
        return words[:-1], words[-1]
    if glued := GLUED.fullmatch(words[-1]):
        return [*words[:-1], glued[1]], glued[2]
    if len(words) > 1 and words[-2] in ("x", "y", "z") and words[-1] in QUANTITY:
        return [*words[:-2], words[-1]], words[-2]
    if words[0] in ("x", "y", "z") and len(words) > 1 and words[-1] in QUANTITY:
        return words[1:], words[0]
    return None


def quantified(text: str, words: list[str], axis: str, suffix: str | None, stated: str | None) -> Column | None:
    """A column of these words (without its axis): None where they name no quantity, or something made out of it."""
    words, unit = list(words), suffix
    for count in (3, 2, 1):  # "accelerometer_m_s2[0]", "acc_g_x"
        joined = "".join(words[-count:])
        is_unit = len(words) > count and any(joined in known for known in UNIT_SUFFIXES.values())
        if unit is None and is_unit and _quantities(" ".join(words[:-count])):
            words, unit = words[:-count], joined
    rank, free, letter, places = 0.0, False, None, []
    whole = next((pair for pair in WHOLE if _contains(words, pair)), None)
    without = next((pair for pair in WITHOUT if _contains(words, pair)), None)
    words = [word for word in words if word not in (whole or ()) and word not in (without or ())]
    sensor_words, skip = [], False
    for place, word in enumerate(words):
        if skip:
            skip = False
            continue
        following = words[place + 1] if place + 1 < len(words) else ""
        pair = PAIRS.get((word, following))
        lone = len(word) == 1 and place not in (0, len(words) - 1)
        meant = pair or (None if lone else QUANTITY.get(word))
        if meant is not None and len(word) == 1 and place == 0 and len(words) > 1:
            meant = meant if all(len(other) < 3 for other in words[1:]) else None  # "w_RS_S_x"
        if meant is not None:
            if letter not in (None, meant):
                return None
            letter, skip = meant, pair is not None
            places.append(place)
        elif word in FREE and following in QUANTITY:
            free = True
        elif word in FUSED:
            rank -= 0.5
        elif ranged := RANGE.fullmatch(word):
            rank += min(int(ranged[1]), 9999) / 1e5
        elif word not in FILLERS or (word == "imu" and following.isdigit()):
            if word in SPOILERS:
                return None
            sensor_words.append((place, word))
    if letter is None:
        return None
    quantity = QUANTITIES[letter]
    single = len(words) and len(words[0]) == 1
    if any(place > places[-1] for place, _ in sensor_words) and not single:
        return None  # "acc_filter_x", "acc_1_x": which one is meant?
    free = (free or without is not None) and letter == "a"
    rank += 2.0 * (whole is not None) - 4.0 * free
    sensor = spelled(text, [word for _, word in sensor_words])
    if letter != "a" and sensor.lower() in FREE:
        sensor = ""
    found = stated if stated else unit
    if unit in ("deg", "rad") and not stated:
        found = unit + "/s"
    known = units.parse(found, quantity) if found else None
    if found is None and free and "user" in tokens(text):
        known = found = "g"  # Core Motion
    return Column(sensor, letter + axis, known or found, found is None or known is not None, rank, free)


def _contains(words: list[str], pair: tuple[str, ...]) -> bool:
    return any(tuple(words[i : i + len(pair)]) == pair for i in range(len(words)))


def spelled(text: str, words: list[str]) -> str:
    """The part of a name that spans some of its words, as it is written."""
    if not words:
        return ""
    spans = [(found.group().lower(), found.span()) for found in TOKEN.finditer(text)]
    chosen = [span for word, span in spans if word in words]
    return text[chosen[0][0] : chosen[-1][1]]


def is_no_reading(name: str) -> bool:
    """Whether a name is certain to be no reading of an inertial sensor: a label, a temperature, a magnitude."""
    base, _ = bracket(name.strip())
    words = tokens(base)
    if not base or SKIPPED_NAMES.fullmatch("".join(words)) or SKIPPED_NAMES.fullmatch(base.lower()):
        return True
    if set(words) & SKIPPED:
        return True
    quantities = {QUANTITY[word] for word in words if word in QUANTITY and len(word) > 1}
    return (
        len(quantities) >= 1
        and bool(set(words) & MAGNITUDES - ({"mag"} if len(words) == 1 else set()))
        and (axis_of(words) is None)
    )
