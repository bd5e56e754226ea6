"""Tables with named columns, .csv and .parquet: which columns are read, on which clock, in which units."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from modalities.errors import SampleError
from modalities.files import limits, parquet
from modalities.imu import text, units
from modalities.imu.clock import COARSE, moments
from modalities.imu.columns import Header, Layout, known, listed, read_header
from modalities.imu.recording import Group, Table, masks, scales
from modalities.imu.timing import Stamps, timed


@dataclass(frozen=True)
class Cells:
    """What a table holds: readings (rows, k) of the header's slots in their order, and every clock that can be read."""

    header: Header
    values: np.ndarray
    clocks: list[Stamps]


def is_unit(cell: str) -> bool:
    plain = cell.strip().strip("[]()")
    return any(units.parse(plain, quantity) for quantity in units.FACTORS) or plain.lower() in ("", "no units", "-")


def from_text(path: Path, layout: Layout) -> Cells:
    """The columns of a .csv file that are read."""
    import pyarrow as pa

    form = text.look(path, lambda name: known(name, layout, path.stem), is_unit)
    refuse_names(path, form.names)
    header = read_header(path, form.names, layout)
    header = replace(header, notes=[*form.notes, *header.notes])
    if form.units is not None:
        header = with_units(path, header, form)
    wanted = {form.names[place]: pa.float64() for place, _ in header.slots.values()}
    for clock in header.clocks:
        place = form.names.index(clock.name)
        first = next((row[place] for row in form.sample if len(row) > place and row[place].strip()), "0")
        number = text.NUMBER.fullmatch(first) or text.COMMA.fullmatch(first)
        wanted[clock.name] = pa.float64() if number else pa.string()
    refuse_twice(path, form.names, wanted)
    try:
        table = text.load(path, form, wanted)
    except pa.ArrowInvalid:
        table = text.load(path, form, dict.fromkeys(wanted, pa.string()))
    return cells_of(path, header, form.names, table, form.comma)


def from_parquet(path: Path, layout: Layout) -> Cells:
    """The columns of a .parquet file that are read."""
    names: list[str] = []

    def choose(schema: list[str]) -> list[str]:
        names.extend(name.strip() for name in schema)
        refuse_names(path, names)
        header = read_header(path, names, layout)
        wanted = {names[place] for place, _ in header.slots.values()} | {clock.name for clock in header.clocks}
        refuse_twice(path, names, wanted)
        return [name for name, plain in zip(schema, names, strict=True) if plain in wanted]

    table = parquet.load(path, choose)
    table = table.rename_columns([name.strip() for name in table.column_names])
    return cells_of(path, read_header(path, names, layout), names, table, comma=False)


def refuse_names(path: Path, names: list[str]) -> None:
    """Refuse a file whose first line is no header."""
    if any(is_number(name) for name in names):
        raise SampleError(path, f"its header is {', '.join(names[:6])}", "write a first line that names the columns")


def refuse_twice(path: Path, names: list[str], wanted: Any) -> None:
    for name in wanted:
        if names.count(name) > 1:
            raise SampleError(path, f"column {name!r} occurs twice", "give every column its own name")


def with_units(path: Path, header: Header, form: text.Form) -> Header:
    """The header with the units of the row under it."""
    stated = dict(enumerate(form.units or ()))
    slots = {}
    for slot, (place, column) in header.slots.items():
        cell = stated.get(place, "").strip("[]()")
        if cell and column.quantity is not None:
            unit = units.parse(cell, column.quantity)
            if column.unit is not None and unit != column.unit:
                reason = f"column {form.names[place]!r} states {column.unit} in its name and {cell} below"
                raise SampleError(path, reason, "correct the header")
            column = replace(column, unit=unit or cell, known=unit is not None)
        slots[slot] = (place, column)
    clocks = []
    for clock in header.clocks:
        unit = units.parse(stated.get(form.names.index(clock.name), ""), "time")
        clocks.append(clock if unit is None else replace(clock, unit=unit))
    return replace(header, slots=slots, clocks=clocks)


def cells_of(path: Path, header: Header, names: list[str], table: Any, comma: bool) -> Cells:
    """Readings and stamps out of an Arrow table with the columns that are read."""
    chosen = [names[place] for place, _ in header.slots.values()]
    columns = [numbers(path, name, table.column(name), comma) for name in chosen]
    values = np.stack(columns, axis=1) if columns else np.zeros((table.num_rows, 0))
    clocks: list[Stamps] = []
    for clock in header.clocks:
        try:
            clocks.append((clock, *stamps(path, clock.name, table.column(clock.name), comma)))
        except SampleError as error:
            clocks.append((clock, error, False))
    return Cells(header, values, clocks)


def stamps(path: Path, name: str, column: Any, comma: bool) -> tuple[np.ndarray, bool]:
    """A column of times as numbers, and whether they were dates (then in seconds)."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_time(kind) or pa.types.is_duration(kind):
        whole = column.cast(pa.int64()).to_numpy().astype(np.float64)
        whole[column.is_null().to_numpy()] = np.nan
        return whole * units.FACTORS["time"][kind.unit], True
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_date(kind):
        cells = column.to_pylist()
        if all(cell in (None, "") or is_number(cell, comma) for cell in cells):
            return numbers(path, name, column, comma), False
        return moments(path, name, cells), True
    return numbers(path, name, column, comma), False


def numbers(path: Path, name: str, column: Any, comma: bool = False) -> np.ndarray:
    """A column as float64, NaN where it is empty."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind) or pa.types.is_decimal(kind):
        return column.cast(pa.float64(), safe=False).to_numpy()
    values = []
    for row, cell in enumerate(column.to_pylist(), 1):
        cell = cell.strip() if isinstance(cell, str) else cell
        if cell not in (None, "") and not is_number(cell, comma):
            remedy = "write numbers (times in seconds) and leave the cells of missing readings empty"
            raise SampleError(path, f"column {name!r}, row {row}: {cell!r} is no number", remedy)
        values.append(as_number(cell, comma) if cell not in (None, "") else np.nan)
    return np.array(values, dtype=np.float64)


def as_number(cell: Any, comma: bool = False) -> float:
    if comma and isinstance(cell, str):
        if "." in cell:
            raise ValueError("a point and decimal commas")
        cell = cell.replace(",", ".")
    return float(cell)


def is_number(cell: Any, comma: bool = False) -> bool:
    """Whether a cell can be read as a number."""
    try:
        as_number(cell, comma)
    except (TypeError, ValueError):
        return False
    return "_" not in str(cell)


def table_of(path: Path, layout: Layout, rate: Callable[[], float], cells: Callable[[Path, Layout], Cells]) -> Table:
    """The recording in a table of named columns; `rate` gives that of the manifest, or says that there is none.

    Raises:
        SampleError: names file, column or row, and the remedy.
    """
    read = cells(path, layout)
    header, values = read.header, read.values
    if not len(values):
        raise SampleError(path, "holds no readings", "drop the row")
    kept = np.isfinite(values).any(axis=1)
    for _, found, _ in read.clocks:
        kept |= np.isfinite(found) if isinstance(found, np.ndarray) else True
    sensors = header.sensors
    columns = {i: ((sensors.index(s), c), column) for i, ((s, c), (_, column)) in enumerate(header.slots.items())}
    numbered, clocks = np.arange(1, len(values) + 1), read.clocks
    if not kept.all() and kept.any() and clocks:  # empty rows
        values, numbered = values[kept], numbered[kept]
        clocks = [
            (clock, found if isinstance(found, SampleError) else found[kept], text) for clock, found, text in clocks
        ]
    existing = masks(values, list(columns))
    notes = list(header.notes)
    if clocks:
        times, told = timed(path, layout, clocks, existing, numbered)
        notes += told
    else:
        times = np.arange(len(values)) / rate()
    limits.refuse_above(
        limits.DURATION, times[-1] - times[0], path, "seconds", "write times in seconds, or drop the row"
    )
    spans = [times if rows is None else times[rows] for rows, _ in existing]
    periods = [float(np.median(np.diff(span))) if len(span) > 1 else np.nan for span in spans]
    densest = np.nanmin(periods) if np.isfinite(periods).any() else step_of(times, rate)
    factors, told, used = scales(path, values, columns, layout, densest)
    notes += told
    groups = [
        Group(
            span, rows, same, [columns[i][0] for i in same], np.array([factors[i] for i in same]),
            period if np.isfinite(period) else densest,
        )
        for span, (rows, same), period in zip(spans, existing, periods, strict=True)
    ]  # fmt: skip
    if any(g.period * layout.rate > COARSE * (1 + 1e-3) for g in groups) and densest * layout.rate <= COARSE * (
        1 + 1e-3
    ):
        notes.append(
            "some channels have less than half as many readings per second as the recipe reads: lines join them"
        )
    absent = [
        c
        for c in layout.channels or ()
        if not all((i, c) in {p for p, _ in columns.values()} for i in range(len(sensors)))
    ]
    if absent:
        notes.append(f"lacks channels that the recipe reads, which are unobserved: {listed(absent)}")
    ends = [g.times[-1] + g.period for g in groups] or [times[-1] + densest]
    facts = {"rate": float(1 / densest), "units": ", ".join(used)}
    for array in (values, *(g.times for g in groups)):
        array.flags.writeable = False  # handed out more than once
    return Table(path, values, groups, sensors, len(sensors), float(max(ends)), tuple(dict.fromkeys(notes)), facts)


def step_of(times: np.ndarray, rate: Callable[[], float]) -> float:
    return float(np.median(np.diff(times))) if len(times) > 1 else 1 / rate()
