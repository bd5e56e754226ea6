"""Which columns of a table are read: by their names, or by the mapping that the recipe gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modalities.errors import SampleError
from modalities.imu.clock import Clock, read_clock
from modalities.imu.names import Column, is_no_reading, read_name
from modalities.imu.words import CHANNELS

UNNAMED = "imu"  # the sensor of columns whose names tell none
Slot = tuple[str, str]  # sensor and channel


@dataclass(frozen=True)
class Layout:
    """What a recipe states about the tables that it reads.

    rate: ticks per second that readings are resampled to, against which clocks are judged.
    channels: those that are read; None means all that are known. sensors: how many, where the recipe states it.
    columns: (channel, `sensor.channel` or `time`; column of the file). ignore: columns that are ignored.
    units: (quantity, unit or factor), which go before those that a header states.
    """

    rate: float = 50.0
    channels: tuple[str, ...] | None = None
    sensors: int | None = None
    columns: tuple[tuple[str, str], ...] = ()
    ignore: tuple[str, ...] = ()
    units: tuple[tuple[str, Any], ...] = ()

    def unit(self, quantity: str | None) -> Any:
        return dict(self.units).get(quantity or "")

    def reads(self, channel: str) -> bool:
        return channel in CHANNELS if self.channels is None else channel in self.channels


@dataclass(frozen=True)
class Header:
    """What the columns of a table are: `slots` those that are read, by sensor and channel; `clocks` by preference."""

    clocks: list[Clock]
    slots: dict[Slot, tuple[int, Column]]
    notes: list[str] = field(default_factory=list)

    @property
    def sensors(self) -> list[str]:
        return list(dict.fromkeys(sensor for sensor, _ in self.slots))


def known(name: str, layout: Layout, stem: str) -> bool:
    """Whether a name is that of a clock, of a channel, or one that the recipe names."""
    if any(name.casefold() == column.casefold() for _, column in layout.columns):
        return True
    if read_clock(name) is not None:
        return True
    return read_name(name, stem) is not None or claimed(name, layout) is not None


def claimed(name: str, layout: Layout) -> Column | None:
    """A column that is called as a channel that the recipe lists and that is none of the usual ones."""
    for channel in layout.channels or ():
        if channel not in CHANNELS:
            head, _, last = name.rpartition(".")
            if channel.casefold() in (name.casefold(), last.casefold()):
                return Column("" if channel.casefold() == name.casefold() else head, channel)
    return None


def read_header(path: Path, names: Sequence[str], layout: Layout) -> Header:
    """What each column of a table is.

    Raises:
        SampleError: a column is neither known nor claimed, two columns are the same channel, or nothing is read.
    """
    mapped, clocks = from_mapping(path, names, layout)
    ignored = {name.casefold() for name in layout.ignore}
    found: dict[Slot, list[tuple[int, Column]]] = {}
    unknown, passed, assumed, notes = [], [], [], []
    for place, name in enumerate(names):
        if name.casefold() in ignored or (mapped and clocks):
            continue
        clock = read_clock(name)
        if clock is not None and read_name(name, None) is None:
            clocks = clocks if any(key == "time" for key, _ in layout.columns) else [*clocks, clock]
        elif not mapped:
            column = claimed(name, layout) or read_name(name, path.stem)
            if column is not None:
                found.setdefault((column.sensor or UNNAMED, column.channel), []).append((place, column))
                assumed += [name] if column.assumed else []
            elif is_no_reading(name):
                passed += [name] if name else []
            else:
                unknown.append(name)
    slots = mapped or chosen(path, names, unified(found), layout, notes)
    if unknown:
        raise SampleError(path, *unknown_columns(names, unknown, slots, layout))
    if not slots:
        what = "no column but the time" if not found and not passed else "no column of the channels that are read"
        raise SampleError(path, f"has {what} ({listed(names)})", mapping_line(names, layout))
    if passed:
        notes.append(f"ignored columns that are no readings: {listed(passed)}")
    if assumed:
        notes.append("columns x, y, z are read as acceleration")
    unread = list(dict.fromkeys(channel for _, channel in found if not layout.reads(channel)))
    if unread:
        notes.append(f"has channels that the recipe does not read: {listed(unread)}")
    return Header(sorted(clocks, key=lambda clock: clock.order), slots, notes)


def from_mapping(
    path: Path, names: Sequence[str], layout: Layout
) -> tuple[dict[Slot, tuple[int, Column]], list[Clock]]:
    """The columns and the clock that the recipe maps."""
    slots, clocks = {}, []
    places = {name.casefold(): place for place, name in reversed(list(enumerate(names)))}
    for key, name in layout.columns:
        place = places.get(name.casefold())
        if place is None:
            reason = f"has no column {name!r}, which `modalities.imu.columns` maps to {key} (it has {listed(names)})"
            raise SampleError(path, reason, "correct the mapping, or the file's header")
        if key == "time":
            clock = read_clock(names[place]) or Clock(names[place], None, 0)
            clocks.append(clock)
            continue
        sensor, _, channel = key.rpartition(".")
        own = read_name(names[place], None)
        same = own is not None and own.channel[0] == channel[0]
        unit, is_known = (own.unit, own.known) if own is not None and same else (None, True)
        if layout.reads(channel):
            slots[sensor or UNNAMED, channel] = (place, Column(sensor, channel, unit, is_known))
    return slots, clocks


def unified(found: dict[Slot, list[tuple[int, Column]]]) -> dict[Slot, list[tuple[int, Column]]]:
    """The same columns where sensors whose names differ in case only are one, called as the first."""
    spelled: dict[str, str] = {}
    if {sensor.lower() for sensor, _ in found} == {"a", UNNAMED} and all(c[0] != "a" for s, c in found if s == UNNAMED):
        spelled["a"] = UNNAMED  # a.x beside g.x: a quantity, no sensor
    joined: dict[Slot, list[tuple[int, Column]]] = {}
    for (sensor, channel), columns in found.items():
        joined.setdefault((spelled.setdefault(sensor.casefold(), sensor), channel), []).extend(columns)
    return joined


def chosen(
    path: Path, names: Sequence[str], found: dict[Slot, list[tuple[int, Column]]], layout: Layout, notes: list[str]
) -> dict[Slot, tuple[int, Column]]:
    """One column for each channel that is read: of several, those with gravity and of the widest range.

    All axes of a sensor's quantity are of one kind, so that readings with and without gravity never mix.
    """
    slots: dict[Slot, tuple[int, Column]] = {}
    axes: dict[Slot, Counter[float]] = {}  # how many channels of a sensor's quantity there are of each rank
    for (sensor, channel), columns in found.items():
        axes.setdefault((sensor, columns[0][1].quantity or channel), Counter()).update({c.rank for _, c in columns})
    best = {kind: max(ranks) for kind, ranks in axes.items()}
    for (sensor, quantity), ranks in axes.items():
        if ranks[best[sensor, quantity]] < max(ranks.values()):
            reason = f"has fewer axes of {quantity.replace('_', ' ')} itself than of what is made of it"
            raise SampleError(path, f"{reason} ({listed(names)})", mapping_line(names, layout))
    for (sensor, channel), columns in found.items():
        if not layout.reads(channel):
            continue
        kept = [(place, column) for place, column in columns if column.rank == best[sensor, column.quantity or channel]]
        if len(kept) > 1:
            twice = listed([names[place] for place, _ in kept])
            reason = f"columns {twice} are the same channel, {channel}"
            raise SampleError(path, reason, "choose the one to read: " + mapping_line(names, layout, slots))
        if len(kept) < len(columns):
            others = [column for _, column in columns if column.rank < best[sensor, column.quantity or channel]]
            gravity = any(column.free for column in others) and not any(column.free for _, column in kept)
            notes.append(
                "acceleration with gravity is read, that without is ignored"
                if gravity
                else "of several columns for a channel that of the sensor itself, or of the widest range, is read"
            )
        if kept:
            slots[sensor, channel] = kept[0]
    notes[:] = list(dict.fromkeys(notes))
    return slots


def unknown_columns(
    names: Sequence[str], unknown: Sequence[str], slots: dict[Slot, Any], layout: Layout
) -> tuple[str, str]:
    """Why columns that are neither known nor claimed are an error, and the line that mends it."""
    wanted = layout.channels or CHANNELS[:6]
    complete = bool(slots) and all(any(channel == own for _, own in slots) for channel in wanted)
    reason = f"column{'s' * (len(unknown) > 1)} {listed(unknown)}: no reading that is known by its name"
    if complete:
        return reason, f"if {'they are' if len(unknown) > 1 else 'it is'} no reading: {ignore_line(unknown)}"
    return f"{reason} (it has {listed(names)})", mapping_line(names, layout, slots)


def ignore_line(unknown: Sequence[str]) -> str:
    return f"`modalities.imu.ignore='[{', '.join(map(quoted, unknown))}]'`"


def mapping_line(names: Sequence[str], layout: Layout, slots: dict[Slot, tuple[int, Column]] | None = None) -> str:
    """The override that maps the columns of a file; what is known is filled in, the rest is to be written."""
    wanted = layout.channels or CHANNELS[:6]
    entries = {}
    for (sensor, channel), (place, _) in (slots or {}).items():
        entries[channel if sensor == UNNAMED else f"{sensor}.{channel}"] = quoted(names[place])
    for channel in wanted:
        if not any(key.rpartition(".")[2] == channel for key in entries):
            entries[channel] = "COLUMN"
    clock = next((name for name in names if read_clock(name)), None)
    entries = {"time": quoted(clock) if clock else "COLUMN"} | entries
    inner = ", ".join(f"{key}: {name}" for key, name in list(entries.items())[:40])
    return f"map them: `modalities.imu.columns='{{{inner}}}'` (columns that it does not name are ignored)"


def quoted(name: str) -> str:
    """A column's name as YAML reads it inside a list or a mapping."""
    plain = name and all(letter.isalnum() or letter in "_. -/()" for letter in name) and name[0].isalpha()
    return name if plain else '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def listed(names: Sequence[str], count: int = 12) -> str:
    names = [name or "(without a name)" for name in names]
    return ", ".join(names[:count]) + (f" and {len(names) - count} more" if len(names) > count else "")
