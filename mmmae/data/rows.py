"""From a file or folder to raw rows: every format gives the same stream of (place, cells).

A place ("line 7", "row 3 of train") is what an error calls the row; cells are as the format has them, unchecked.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mmmae.data.enclosure import Enclosure
from modalities.errors import InputError, SampleError

VIDEOS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ogv", ".mpg", ".mpeg", ".ts", ".flv", ".wmv", ".3gp")
IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
KINDS = {"video": VIDEOS, "image": IMAGES, "audio": (".wav",), "imu": (".csv",), "text": (".txt",)}
ANCHORS = [("video",), ("image",), ("audio", "imu"), ("text",)]  # the first found decides what a row of a folder is
LONGEST = 1_000_000  # bytes of a caption's file: what is longer is no caption

Rows = Iterator[tuple[str, dict[str, Any]]]


def locate(path: Path, outside: bool = False) -> tuple[Path, Enclosure]:
    """The file or folder that holds the rows, and the folder that its relative paths start from and stay in.

    Raises:
        InputError: nothing is there, it is no manifest, or a folder's manifest is a link that leads out of it.
    """
    if not path.exists():
        raise InputError(
            f"{path}: no such file or folder\n"
            f"  --data takes a manifest ({', '.join(READERS)}), a saved Hugging Face dataset or a folder of videos."
        )
    if path.is_dir():
        found = [path / f"manifest{ending}" for ending in READERS if (path / f"manifest{ending}").is_file()]
        enclosure = Enclosure(path, outside=outside)
        if found:
            enclosure.require(found[0].name, str(path))
        return (found[0] if found else path), enclosure
    if path.suffix.lower() not in READERS:
        raise InputError(
            f"{path}: not a manifest, whose name ends in {', '.join(READERS)}\n"
            "  To train on a few recordings put them into a folder and pass that folder."
        )
    return path, Enclosure(path.parent, outside=outside)


def read(path: Path, enclosure: Enclosure) -> Rows:
    """The rows of a manifest, of a saved Hugging Face dataset, or of a folder of recordings.

    Raises:
        InputError: the file cannot be parsed (names the line), the folder has no recordings, or rows lie outside.
    """
    if not path.is_dir():
        return READERS[path.suffix.lower()](path)
    if (path / "dataset_dict.json").is_file() or (path / "dataset_info.json").is_file():
        return read_saved(path, enclosure)
    return read_folder(path, enclosure)


def read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: not UTF-8 text ({error.reason} at byte {error.start})\n  Save it as UTF-8."
        ) from None


def read_jsonl(path: Path) -> Rows:
    for number, line in enumerate(read_text(path).split("\n"), 1):  # not splitlines: JSON strings may hold U+2028
        if line.strip():
            yield f"line {number}", parse(path, line, number, '{"video": "clip.mp4", "text": "a dog runs"}')


def read_json(path: Path) -> Rows:
    text = read_text(path)
    if not text.lstrip().startswith("["):  # some tools call JSON Lines .json
        yield from read_jsonl(path)
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


def read_csv(path: Path) -> Rows:
    table = csv.DictReader(read_text(path).splitlines(keepends=True), skipinitialspace=True)
    try:
        for row in table:
            place = f"line {table.line_num}"
            if None in row:
                raise InputError(
                    f"{path}, {place}: more cells than the header has\n  Quote cells that contain a comma."
                )
            yield place, row
    except csv.Error as error:
        raise InputError(
            f"{path}, line {table.line_num}: not CSV ({error})\n  Save it as comma-separated text."
        ) from None


def read_parquet(path: Path) -> Rows:
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    number = 0
    try:
        with ParquetFile(path) as file:
            for chunk in file.iter_batches():
                for row in chunk.to_pylist():
                    yield f"row {number}", row
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
    for split, part in saved.items() if isinstance(saved, datasets.DatasetDict) else [(None, saved)]:
        label = part.features.get("label")
        for number, row in enumerate(plain(part)):
            if isinstance(label, datasets.ClassLabel) and row["label"] is not None:
                row["label"] = label.int2str(row["label"]) if row["label"] >= 0 else None
            if split is not None:
                row["split"] = split
            yield f"row {number}" + (f" of {split}" if split else ""), row


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


def plain(dataset: Any) -> Iterator[dict[str, Any]]:
    """Rows of a Hugging Face dataset in Python's own types; media columns stay undecoded."""
    for chunk in dataset.with_format("arrow").iter(batch_size=1000):
        yield from chunk.to_pylist()


def read_folder(path: Path, enclosure: Enclosure) -> Rows:
    """One row per video with its same-named .txt, .wav and .csv; without videos per image, else per .wav, .csv, .txt.

    The id is the path inside the folder without its ending; each line of a .txt is one caption. Where a .txt cannot be
    one, the error stands in its place until somebody asks for it.
    """
    kinds = {ending: kind for kind, endings in KINDS.items() for ending in endings}
    recordings: dict[Path, dict[str, list[Path]]] = {}  # stem -> kind -> files
    for file in sorted(walk(path)):
        if kind := kinds.get(file.suffix.lower()):
            recordings.setdefault(file.with_suffix(""), {}).setdefault(kind, []).append(file)
    for anchors in ANCHORS:
        if any(anchor in files for files in recordings.values() for anchor in anchors):
            break
    else:
        endings = " ".join(ending for endings in KINDS.values() for ending in endings)
        raise InputError(f"{path}: no recordings in this folder or below\n  Looked for files ending in {endings}")
    chosen = {stem: files for stem, files in recordings.items() if any(anchor in files for anchor in anchors)}

    def relative(file: Path) -> str:
        return file.relative_to(path).as_posix()

    texts = [files["text"][0] for files in chosen.values() if "text" in files]
    for file in texts:
        enclosure.require(relative(file), str(path))
    with ThreadPoolExecutor(16) as pool:
        captions = dict(zip(texts, pool.map(read_captions, texts), strict=True))
    for stem, files in chosen.items():
        seen = files.get(anchors[0], []) if anchors[0] in ("video", "image") else []
        cells: dict[str, Any] = {kind: relative(files[kind][0]) for kind in ("audio", "imu") if kind in files}
        if "text" in files:
            cells["text"] = captions[files["text"][0]]
        if not seen:
            yield f"recording {relative(stem)}", {"id": relative(stem), **cells}
        for file in seen:  # clip.mp4 and clip.webm are two rows, told apart by their endings
            name = relative(stem if len(seen) == 1 else file)
            yield f"recording {name}", {"id": name, "video": relative(file), **cells}


def read_captions(path: Path) -> list[str] | SampleError:
    """The captions in a file, one a line, or why they cannot be read."""
    try:
        if (size := path.stat().st_size) > LONGEST:
            return SampleError(path, f"holds {size} bytes", f"write captions of {LONGEST} bytes at most", "text")
        text = read_text(path)
    except OSError as error:
        return SampleError(path, f"cannot be opened ({error.strerror})", "mend the file or remove it", "text")
    except InputError:
        return SampleError(path, "is no UTF-8 text", "save it as UTF-8", "text")
    if "\0" in text:
        return SampleError(path, "has a NUL character", "write it as plain text", "text")
    return [line.strip() for line in text.splitlines() if line.strip()]


def walk(path: Path) -> Iterator[Path]:
    """Every file below a folder that is not hidden."""
    for folder, inner, files in os.walk(path):
        inner[:] = [name for name in inner if not name.startswith(".")]
        yield from (Path(folder, name) for name in files if not name.startswith("."))


READERS = {".jsonl": read_jsonl, ".json": read_json, ".csv": read_csv, ".parquet": read_parquet}
