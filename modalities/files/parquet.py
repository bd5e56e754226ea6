"""Tables in parquet files: small files that unpack to enormous ones are refused by what their metadata say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from modalities.errors import SampleError
from modalities.files import limits


def load(path: Path, choose: Callable[[list[str]], list[str]] | None = None) -> Any:
    """The Arrow table of a file of numbers.

    choose: which of its columns are read (from all names); those may hold texts and times as well.

    Raises:
        SampleError: it is no parquet file, has columns of something else, or claims more than may be read.
    """
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as file:
            found, schema = file.metadata, file.schema_arrow
            limits.refuse_large_table(path, found.num_rows, found.num_columns)
            names = schema.names if choose is None else choose(schema.names)
            for name, kind in zip(schema.names, schema.types, strict=True):
                if name in names and not numeric(kind) and not (choose is not None and readable(kind)):
                    reason = f"column {name!r} holds {kind}, not numbers"
                    raise SampleError(path, reason, "write one column of numbers per feature or channel")
            groups = [found.row_group(i) for i in range(found.num_row_groups)]
            chunks = [group.column(i) for group in groups for i in range(group.num_columns)]
            remedy = "cut the recording into several files, or drop the row"
            limits.refuse_above(limits.NUMBERS, sum(chunk.num_values for chunk in chunks), path, "numbers", remedy)
            unpacked = sum(chunk.total_uncompressed_size for chunk in chunks)
            limits.refuse_above(limits.TABLE_BYTES, unpacked, path, "bytes", remedy)
            return file.read(columns=None if choose is None else names, use_threads=False)
    except (pa.ArrowException, ValueError, TypeError, OSError, MemoryError) as error:
        if isinstance(error, SampleError):
            raise
        raise SampleError(path, f"is no parquet table of numbers ({str(error).strip()})", "write it again") from error


def numeric(kind: Any) -> bool:
    """Whether an Arrow type is one number (or nothing) per row."""
    from pyarrow import types

    kinds = (types.is_integer, types.is_floating, types.is_decimal, types.is_boolean, types.is_null)
    return any(check(kind) for check in kinds)


def readable(kind: Any) -> bool:
    """Whether an Arrow type is a text or a time."""
    from pyarrow import types

    kinds = (
        types.is_string,
        types.is_large_string,
        types.is_timestamp,
        types.is_date,
        types.is_time,
        types.is_duration,
    )
    return any(check(kind) for check in kinds)
