"""Files of embeddings with their times, each with a digest of its contents, to detect damage."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from mmmae.storage.atomic import BLOCK, make, refusals, replace
from modalities.embedding.reader import Rows, load
from modalities.errors import SampleError

DIGEST = "sha256"  # its key in the metadata of a file


def write(path: Path, rows: Rows) -> None:
    """Write a file atomically, in the format of its suffix.

    safetensors holds `embeddings` (n, d), `start` and `end` (n,); parquet the columns `start`, `end`, `f0`, `f1`, ...

    Raises:
        InputError: the disk is full or refuses.
    """
    contents = (as_parquet if path.suffix == ".parquet" else as_safetensors)(rows)
    with refusals(path, len(contents) + BLOCK):
        make(path.parent)
        replace(path, contents)


def as_safetensors(rows: Rows) -> bytes:
    from safetensors.torch import save

    assert rows.start is not None and rows.end is not None
    return save({"embeddings": rows.features, "start": rows.start, "end": rows.end}, {DIGEST: digest(rows)})


def as_parquet(rows: Rows) -> bytes:
    import pyarrow as pa
    from pyarrow.parquet import write_table

    assert rows.start is not None and rows.end is not None
    columns = {f"f{number}": column for number, column in enumerate(np.ascontiguousarray(rows.features.numpy().T))}
    table = pa.table({"start": rows.start.numpy(), "end": rows.end.numpy(), **columns}, metadata={DIGEST: digest(rows)})
    sink = pa.BufferOutputStream()
    write_table(table, sink, use_dictionary=False)  # floats do not repeat
    return sink.getvalue().to_pybytes()


def digest(rows: Rows) -> str:
    """SHA-256 of all numbers and of their shape."""
    found = hashlib.sha256(str(tuple(rows.features.shape)).encode())
    for tensor in rows:
        found.update(b"" if tensor is None else np.ascontiguousarray(tensor.numpy()).data)
    return found.hexdigest()


def damage(path: Path) -> str | None:
    """What is wrong with a file that `write` has written; None if it holds what it was given."""
    try:
        rows = load(path)
    except SampleError as error:
        return error.reason
    return None if stated(path) == digest(rows) else "is not what was written (its SHA-256 differs)"


def stated(path: Path) -> str | None:
    """The digest stored in a readable file."""
    if path.suffix == ".parquet":
        from pyarrow.parquet import read_schema

        return ((read_schema(path).metadata or {}).get(DIGEST.encode()) or b"").decode(errors="replace")
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        return (file.metadata() or {}).get(DIGEST)
