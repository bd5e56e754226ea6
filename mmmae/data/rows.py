"""From a file, a folder or an object in memory to raw rows: each gives the same stream of (place, cells).

A place ("line 7", "row 3 of train") is what an error calls the row; cells are as the format has them, unchecked.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from mmmae.data import in_memory as memory
from mmmae.data import kinds
from mmmae.data.allowed_paths import Enclosure
from mmmae.data.delimited import Rows, read_delimited
from mmmae.data.findings import Findings
from mmmae.data.folder import read_folder
from mmmae.data.stored import Store
from modalities.errors import InputError
from modalities.manifest.text_files import read_text

LISTS = (".txt", ".lst", ".list")  # which a folder's manifest is never called
INSTEAD = {".xlsx": "CSV", ".xls": "CSV", ".ods": "CSV", ".pkl": "parquet", ".pickle": "parquet", ".feather": "parquet"}


def locate(data: Any, outside: bool = False) -> tuple[Any, Enclosure]:
    """The file or folder that holds the rows, and the folder that its relative paths start from and stay in.

    Rows in memory are returned as they are: their paths start from the working directory and may lead anywhere.

    Raises:
        InputError: nothing is there, it is no manifest, or a folder's manifest is a link that leads out of it.
    """
    if memory.holds_rows(data):
        return data, Enclosure(Path.cwd(), outside=True)
    path = Path(data)
    if not path.exists():
        raise InputError(
            f"{path}: no such file or folder\n"
            f"  --data takes a manifest ({', '.join(READERS)}), a saved Hugging Face dataset or a folder of videos."
        )
    if path.is_dir():
        names = [f"manifest{ending}" for ending in READERS if ending not in LISTS]
        found = [path / name for name in names if (path / name).is_file()]
        enclosure = Enclosure(path, outside=outside)
        if found:
            enclosure.require(found[0].name, str(path))
        return (found[0] if found else path), enclosure
    if path.suffix.lower() not in READERS:
        remedy = "To train on a few recordings put them into a folder and pass that folder."
        if form := INSTEAD.get(path.suffix.lower()):
            remedy = f"Save the table as {form}."
        raise InputError(f"{path}: not a manifest, whose name ends in {', '.join(READERS)}\n  {remedy}")
    return path, Enclosure(path.parent, outside=outside)


def read(
    data: Any,
    enclosure: Enclosure,
    findings: Findings | None = None,
    asked: Collection[str] | None = None,
    store: Store | None = None,
    known: kinds.Known = kinds.HOUSE,
) -> Rows:
    """The rows of a manifest, of a saved Hugging Face dataset, of a folder of recordings, or of an object in memory.

    findings: where notes go; asked: the modalities that are to be read; store: where arrays in memory become files;
    known: the columns of each modality.

    Raises:
        InputError: the file cannot be parsed (names the line), the folder has no recordings, or rows lie outside.
    """
    findings = Findings() if findings is None else findings
    if memory.holds_rows(data):
        return memory.read(data, store or Store(findings))
    if not data.is_dir():
        return READERS[data.suffix.lower()](data, findings)
    if (data / "dataset_dict.json").is_file() or (data / "dataset_info.json").is_file():
        return read_saved(data, enclosure)
    return read_folder(data, enclosure, findings, asked, known)


def read_jsonl(path: Path, findings: Findings) -> Rows:
    text = read_text(path, findings.note)
    for number, line in enumerate(text.split("\n"), 1):  # not splitlines: JSON strings may hold U+2028
        if line.strip():
            yield f"line {number}", parse(path, line, number, '{"video": "clip.mp4", "text": "a dog runs"}')


def read_json(path: Path, findings: Findings) -> Rows:
    text = read_text(path, findings.note)
    if not text.lstrip().startswith("["):  # some tools call JSON Lines .json
        yield from read_jsonl(path, findings)
        return
    for number, row in enumerate(parse(path, text, 1, '[{"video": "clip.mp4"}, ...]')):
        yield f"row {number}", row


def parse(path: Path, text: str, line: int, example: str) -> Any:
    try:
        return json.loads(text)
    except (RecursionError, ValueError) as error:
        if not isinstance(error, json.JSONDecodeError):
            raise InputError(f"{path}, line {line}: not JSON ({error})\n  Expected {example}") from None
        raise InputError(
            f"{path}, line {line + error.lineno - 1}, character {error.colno}: not JSON ({error.msg})\n"
            f"  Expected {example}"
        ) from None


def read_parquet(path: Path, findings: Findings) -> Rows:
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    number = 0
    try:
        with ParquetFile(path) as file:
            named = memory.class_names(file.schema_arrow)
            for chunk in file.iter_batches(memory.at_once(file.schema_arrow)):
                for row in chunk.to_pylist():
                    yield f"row {number}", memory.with_names(row, named)
                    number += 1
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            f"{path}: not a readable parquet file ({error})\n  Write it again, e.g. with to_parquet."
        ) from None


def read_saved(path: Path, enclosure: Enclosure) -> Rows:
    """Rows of what `save_to_disk` wrote; the splits of a DatasetDict become the column `split`."""
    import datasets

    try:
        for file in named_by(path):
            enclosure.require(file, str(path))
        saved = datasets.load_from_disk(str(path))
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:  # Arrow's errors are ValueErrors
        raise InputError(
            f"{path}: not a readable Hugging Face dataset ({error})\n  Save it again with save_to_disk."
        ) from None
    return memory.read_datasets(saved)


def named_by(saved: Path) -> Iterator[Path]:
    """Every file that a saved dataset says it consists of, the folders of its splits included."""
    if (saved / "dataset_dict.json").is_file():
        yield saved / "dataset_dict.json"
        for split in json.loads(read_text(saved / "dataset_dict.json"))["splits"]:
            yield saved / split
            yield from named_by(saved / split)
        return
    yield saved / "dataset_info.json"
    yield saved / "state.json"
    for part in json.loads(read_text(saved / "state.json"))["_data_files"]:
        yield saved / part["filename"]


READERS: dict[str, Callable[[Path, Findings], Rows]] = {
    ".jsonl": read_jsonl, ".json": read_json, ".csv": read_delimited, ".parquet": read_parquet, ".tsv": read_delimited,
    **dict.fromkeys(LISTS, read_delimited),
    ".ndjson": read_jsonl,
}  # fmt: skip
