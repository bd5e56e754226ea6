"""Rows in memory, wherever a manifest's path may stand: Hugging Face datasets, DataFrames, columns of arrays, dicts."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmmae.data import headers
from mmmae.data.delimited import Rows
from mmmae.data.kinds import Known
from mmmae.data.stored import Store, as_array
from modalities.errors import InputError

if TYPE_CHECKING:
    from pandas import DataFrame

WINDOWS = ("window", "window_id", "segment_id", "sample_id")  # which window a reading of a long table belongs to
HEAVY = re.compile(r"binary|extension|list<[^<>]*: (u?int8|u?int16|halffloat|float|double)>")  # types of recordings
EXPECTED = (
    "expected a path, a datasets.Dataset, a pandas DataFrame, a list of dicts, or columns such as\n"
    '  {"imu": X, "imu_rate": 50, "label": y} with X (windows, steps, channels)'
)


def holds_rows(data: Any) -> bool:
    """Whether something is rows in memory and not a path.

    Raises:
        InputError: it is neither.
    """
    if isinstance(data, (str, os.PathLike)):
        return False
    if kind(data) is None:
        shape = f" of shape {tuple(data.shape)}" if hasattr(data, "shape") else ""
        raise InputError(f"data: {EXPECTED}, got {type(data).__name__}{shape}")
    return True


def kind(data: Any) -> str | None:
    """What rows in memory are; None where something else is meant."""
    package, name = type(data).__module__.partition(".")[0], type(data).__name__
    if package == "datasets" and hasattr(data, "features" if "Dict" not in name else "keys"):
        return "datasets"
    if package == "pandas" and name == "DataFrame":
        return "frame"
    if isinstance(data, Mapping):
        return "columns"
    if hasattr(data, "__arrow_c_stream__") and hasattr(data, "columns"):  # of pyarrow, polars
        return "arrow"
    if isinstance(data, (list, tuple)) and all(isinstance(row, Mapping) for row in data):
        return "rows"
    return None


def called(data: Any) -> Path | str:
    """What to call the source of rows in a message."""
    if isinstance(data, (str, os.PathLike)):
        return Path(data)
    return {"columns": "the columns in memory", "rows": "the list of rows"}.get(
        str(kind(data)), f"the {type(data).__name__}"
    )


def read(data: Any, store: Store) -> Rows:
    """Rows of an object in memory.

    Raises:
        InputError: it cannot be read as rows.
    """
    match kind(data):
        case "datasets":
            return read_datasets(data)
        case "arrow":
            import pyarrow as pa

            return numbered(row for batch in pa.table(data).to_batches(1000) for row in batch.to_pylist())
        case "frame":
            table = long_table(data, store.known)
            readings = next(name for name, one in store.known.items() if one.tables)
            return numbered(windows_of(data, table, readings)) if table else from_columns(frame_columns(data), store)
        case "columns":
            return from_columns(dict(data), store)
        case _:
            return numbered(map(dict, data))


def numbered(rows: Iterator[dict[str, Any]] | map) -> Rows:
    for number, row in enumerate(rows):
        yield f"row {number}", row


def from_columns(table: dict[str, Any], store: Store) -> Rows:
    """Rows of columns: sequences with a value for each row, and single values that hold for every row.

    Windows of sensor readings that are all of one shape become one file.

    Raises:
        InputError: columns differ in length.
    """
    listed = {name: column for name, column in table.items() if is_column(column)}
    lengths = {name: len(column) for name, column in listed.items()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name!r} {length}" for name, length in lengths.items())
        raise InputError(f"the columns differ in length: {shown}\n  Give each a value for every row.")
    if not lengths:
        raise InputError(f"no column has a value for each row\n  {EXPECTED}")
    for name, one in store.known.items():
        if not one.own or one.window is None or one.window in table or not store.wants(name):
            continue
        if (stack := stacked(listed.get(name, ()))) is None:
            continue
        try:
            listed[name] = [one.stored(stack, None, store.keep)] * len(stack)
        except ValueError as error:
            raise InputError(f"column {name!r} takes {error}") from None
        listed[one.window] = range(len(stack))
    alone = {name: value for name, value in table.items() if name not in listed}
    for number, values in enumerate(zip(*listed.values(), strict=True)):
        yield f"row {number}", {**dict(zip(listed, values, strict=True)), **alone}


def is_column(value: Any) -> bool:
    if isinstance(value, (str, bytes, Mapping)) or value is None:
        return False
    return hasattr(value, "__len__") and getattr(value, "ndim", 1) > 0


def stacked(column: Any) -> Any:
    """Windows of readings as one array (windows, steps, ..., channels); None where cells are none or differ."""
    import numpy as np

    whole = as_array(column)
    if isinstance(whole, np.ndarray) and whole.dtype != object:
        return whole if whole.ndim >= 3 and whole.dtype.kind in "fiu" else None
    cells = [as_array(cell) for cell in column]
    if not all(isinstance(cell, np.ndarray) and cell.ndim >= 2 and cell.dtype.kind in "fiu" for cell in cells):
        return None
    return np.stack(cells) if len({(cell.shape, cell.dtype) for cell in cells}) == 1 else None


def frame_columns(frame: DataFrame) -> dict[str, Any]:
    """The columns of a DataFrame, and its index where that is called like a column of a manifest."""
    names = list(map(str, frame.columns))
    if twice := {name for name in names if names.count(name) > 1}:
        raise InputError(f"the DataFrame: column {min(twice)!r} stands twice\n  Give every column its own name.")
    if frame.index.name is not None and headers.known(str(frame.index.name)) and frame.index.name not in names:
        frame = frame.reset_index()
    return {str(name): list(frame[name]) for name in frame.columns}


def long_table(frame: DataFrame, known: Known) -> Any:
    """What groups the readings of a DataFrame into windows; None where its rows are recordings."""
    if any(str(name) in known or str(name) in headers.HOUSE.same for name in frame.columns):
        return None
    if frame.index.nlevels == 2:
        return {"level": 0}
    if by := [name for name in frame.columns if str(name).lower() in WINDOWS]:
        return {"by": by[0]}
    if len(frame.columns) and all(kind.kind in "fiu" for kind in frame.dtypes):
        raise InputError(
            f"the DataFrame: no column holds recordings ({', '.join(map(str, frame.columns[:6]))})\n"
            '  If its rows are readings of one recording, pass [{"imu": table}]; of several, name a column `window`.'
        )
    return None


def windows_of(frame: DataFrame, by: dict[str, Any], readings: str) -> Iterator[dict[str, Any]]:
    """A row for each window of a long table: its readings, in the column of that name, and what all its rows share.

    Raises:
        InputError: a column of a manifest differs within a window.
    """
    kept = [name for name in frame.columns if str(name) in headers.HOUSE.columns and name != by.get("by")]
    for key, part in frame.groupby(**by, sort=False, dropna=False):
        row: dict[str, Any] = {"id": key}
        for name in kept:
            if len(found := part[name].unique()) > 1:
                raise InputError(
                    f"the DataFrame, window {key!r}: column {name!r} has {len(found)} values, such as {found[1]!r}\n"
                    "  Give all readings of a window the same, or cut it where it changes."
                )
            row[str(name)] = found[0]
        table = part.drop(columns=[*kept, by["by"]] if "by" in by else kept)
        yield {**row, readings: table if "by" in by else table.droplevel(0)}


def read_datasets(data: Any) -> Rows:
    """Rows of a Hugging Face dataset, or of a dict of them, whose names become the column `split`.

    Raises:
        InputError: it is streamed.
    """
    parts = data.items() if isinstance(data, Mapping) else [(None, data)]
    for split, part in parts:
        if not hasattr(part, "with_format") or not hasattr(part, "__len__"):
            raise InputError(
                "the dataset is streamed: rows are read more than once\n  Load it without streaming=True, or "
                "datasets.Dataset.from_generator(lambda: iter(it), features=it.features)"
            )
        named = class_names(part.features)
        for number, row in enumerate(plain(part)):
            row = with_names(row, named)
            if split is not None:
                row["split"] = split
            yield f"row {number}" + (f" of {split}" if split else ""), row


def plain(dataset: Any) -> Iterator[dict[str, Any]]:
    """Rows of a Hugging Face dataset in Python's own types; media columns stay undecoded."""
    table = dataset.with_format("arrow")
    for chunk in table.iter(batch_size=at_once(dataset.features.arrow_schema)):
        yield from chunk.to_pylist()


def at_once(schema: Any) -> int:
    """How many rows may be held at once: few where a table holds recordings themselves, as bytes or numbers."""
    return 16 if HEAVY.search(str(schema.types)) else 1000


def class_names(schema: Any) -> dict[str, Sequence[str]]:
    """The names of the classes in the columns that hold their numbers: of a dataset's features, or a table's schema."""
    import datasets

    features = schema
    if not isinstance(schema, Mapping):
        if b"huggingface" not in (schema.metadata or {}):
            return {}
        try:
            features = datasets.Features.from_arrow_schema(schema)
        except (ValueError, KeyError, TypeError, AttributeError):  # metadata of somebody else
            return {}
    inner = {name: getattr(feature, "feature", feature) for name, feature in features.items()}
    return {name: found.names for name, found in inner.items() if isinstance(found, datasets.ClassLabel)}


def with_names(row: dict[str, Any], named: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The row with the names of its classes in place of their numbers; -1 stands for none."""
    for column, names in named.items():
        if isinstance(value := row.get(column), list):
            row[column] = [called_class(one, names) for one in value]
        else:
            row[column] = called_class(value, names)
    return row


def called_class(value: Any, names: Sequence[str]) -> Any:
    if not isinstance(value, int):
        return value
    return None if value < 0 else names[value] if value < len(names) else value
