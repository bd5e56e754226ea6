"""Checked rows as an Arrow table, so that a million of them cost no Python objects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import modalities as house
from mmmae.data import cells
from mmmae.data.delimited import Rows
from mmmae.data.findings import Findings
from mmmae.data.kinds import has_sound
from mmmae.data.stored import Store
from mmmae.recipes.lookup import find
from modalities.errors import InputError

if TYPE_CHECKING:
    from datasets import Dataset


def collect(
    path: Path | str, found: Rows, known: Sequence[str], asked: set[str] | None, findings: Findings, store: Store
) -> tuple[Dataset, set[str]]:
    """The checked rows as an Arrow table, and the modalities that they have."""
    import pyarrow as pa
    from datasets import Dataset

    schema = schema_of(known)
    chunks, chunk, present, count = [], [], set(), 0
    for place, raw in found:
        row = cells.check(raw, known, f"{path}, {place}", findings, store)
        here = {m for m in known if m in row} | ({"audio"} if has_sound(row.get("video")) else set())
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
        if commands := [how for name in absent if name in shipped() and (how := find("reader", name, name).made_by)]:
            remedy = f"{commands[0].format(data=path)} makes it; then train with --data EMBEDDED"
        raise InputError(
            f"{path}: no row has {' or '.join(absent)}; present: {', '.join(usable) or 'none'}\n  {remedy}"
        )
    return Dataset(pa.Table.from_batches(chunks, schema)), present


def schema_of(modalities: Sequence[str]) -> Any:
    import pyarrow as pa

    caption = pa.struct({"text": pa.string(), "start": pa.float64(), "end": pa.float64()})
    columns = dict.fromkeys(["place", *modalities, *cells.COLUMNS], pa.string())
    columns |= dict.fromkeys(["start", "end", "imu_rate"], pa.float64())
    columns["imu_window"] = pa.int64()
    columns["fault"] = pa.struct([(key, pa.string()) for key in ("modality", *cells.FAULT)])
    return pa.schema(columns | {"text": pa.list_(caption), "edges": pa.list_(pa.list_(pa.int64()))})


def shipped() -> list[str]:
    """Names of the modalities: the folders of the package."""
    folders = sorted(folder.name for folder in Path(house.__file__).parent.iterdir() if folder.is_dir())
    return [name for name in folders if not name.startswith("_")]
