"""Checked rows as an Arrow table, so that a million of them cost no Python objects."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmmae.data import cells
from mmmae.data.delimited import Rows
from mmmae.data.findings import Findings
from mmmae.data.kinds import Known
from mmmae.data.stored import Store
from mmmae.recipes.lookup import find, names
from modalities.errors import InputError
from modalities.manifest.columns import Cell

if TYPE_CHECKING:
    from datasets import Dataset


def collect(
    path: Path | str, found: Rows, known: Known, asked: set[str] | None, findings: Findings, store: Store,
    further: Mapping[str, Cell],
) -> tuple[Dataset, set[str]]:  # fmt: skip
    """The checked rows as an Arrow table, and the modalities that they have."""
    import pyarrow as pa
    from datasets import Dataset

    schema = schema_of(known, further)
    chunks, chunk, present, count = [], [], set(), 0
    for place, raw in found:
        row = cells.check(raw, known, f"{path}, {place}", findings, store, further)
        here = {m for m, columns in known.items() if columns.present(row)}
        here |= {row["fault"]["modality"]} if "fault" in row else set()
        present |= here
        if here if asked is None else here & asked:
            chunk.append({"id": str(count), "place": place, **row})
        count += 1
        if len(chunk) == 10_000:
            chunks.append(pa.RecordBatch.from_pylist(chunk, schema))
            chunk = []
    chunks.append(pa.RecordBatch.from_pylist(chunk, schema))
    if not count:
        raise InputError(
            f'{path}: the manifest is empty\n  It needs at least one row, such as {{"video": "clip.mp4"}}.'
        )
    if absent := sorted((asked or set()) - present) if present else ["any modality"]:  # asked for, or any at all
        usable = [m for m in known if m in present]
        remedy = f"Launch with --modalities {','.join(usable)}" if usable else f"Fill one of {', '.join(known)}"
        if commands := [
            how for name in absent if name in names("reader") and (how := find("reader", name, name).made_by)
        ]:
            remedy = f"{commands[0].format(data=path)} makes it; then train with --data EMBEDDED"
        raise InputError(
            f"{path}: no row has {' or '.join(absent)}; present: {', '.join(usable) or 'none'}\n  {remedy}"
        )
    return Dataset(pa.Table.from_batches(chunks, schema)), present


def schema_of(known: Known, further: Mapping[str, Cell]) -> Any:
    """The types of the table's columns."""
    import pyarrow as pa

    fault = dict.fromkeys(("modality", *cells.FAULT), str)
    columns = {"place": str, **{name: cell.kind for name, cell in cells.all_cells(known, further).items()}}
    return pa.schema({name: arrow(kind) for name, kind in (columns | {"fault": fault}).items()})


def arrow(kind: Any) -> Any:
    """Arrow's type for the kind of a cell."""
    import pyarrow as pa

    if isinstance(kind, list):
        return pa.list_(arrow(kind[0]))
    if isinstance(kind, dict):
        return pa.struct({name: arrow(inner) for name, inner in kind.items()})
    return {str: pa.string(), float: pa.float64(), int: pa.int64()}[kind]
