"""Recordings that a table holds itself, as bytes or arrays, written once as files that readers can open.

A file is called by a hash of its contents, so the same recording is written once, whatever table it stands in.
"""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np

from mmmae.data import kinds
from mmmae.data.findings import Findings
from mmmae.storage import atomic as durable
from modalities.files.suffixes import ending
from modalities.manifest.columns import Columns
from modalities.manifest.spelling import plain

MAGIC = (  # first bytes, at which place, and the ending that they mean
    (b"fLaC", 0, ".flac"), (b"OggS", 0, ".ogg"), (b"ID3", 0, ".mp3"), (b"WAVE", 8, ".wav"), (b"AVI ", 8, ".avi"),
    (b"WEBP", 8, ".webp"), (b"ftypM4A", 4, ".m4a"), (b"ftyp", 4, ".mp4"), (b"\x1aE\xdf\xa3", 0, ".mkv"),
    (b"\x89PNG", 0, ".png"), (b"\xff\xd8\xff", 0, ".jpg"), (b"GIF8", 0, ".gif"), (b"BM", 0, ".bmp"),
    (b"II*\0", 0, ".tif"), (b"MM\0*", 0, ".tif"), (b"FORM", 0, ".aiff"), (b"\x93NUMPY", 0, ".npy"),
    (b"PAR1", 0, ".parquet"),
)  # fmt: skip


def cache() -> Path:
    """The user's folder for recordings that came from tables."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "mmmae" / "data"


class Store:
    """Makes files of cells that are recordings: bytes, `{"bytes", "path"}`, arrays, images, tables.

    folder: where they are written; the user's cache by default.
    asked: the modalities that are to be read; recordings of others are left where they are. known: their columns.
    """

    def __init__(
        self,
        findings: Findings,
        folder: str | os.PathLike | None = None,
        asked: Collection[str] | None = None,
        known: kinds.Known = kinds.HOUSE,
    ):
        self.findings, self.folder, self.asked, self.known = findings, Path(folder or cache()).absolute(), asked, known
        self.owners = {column: one for one in known.values() for column in one.paths}
        self.files: set[str] = set()
        self.written, self.bytes = 0, 0

    def __call__(self, column: str, value: Any, row: dict[str, Any]) -> Any:
        """The path of a file that holds a cell; what is no recording is given back.

        Raises:
            ValueError: says what a cell of this column may be.
            InputError: the folder takes no file.
        """
        if not self.wants(column):
            return None
        owner = self.owners.get(column) or Columns(column)
        rate = plain(row.get(f"{owner.name}_rate"))
        if isinstance(value, dict):
            if "array" in value and "sampling_rate" in value:
                return owner.stored(as_array(value["array"]), plain(value["sampling_rate"]), self.keep)
            if value.get("bytes") is not None:
                return self.bytes_of(value["bytes"], value.get("path"))
            return value.get("path") if "path" in value else value
        if hasattr(value, "get_all_samples"):  # a decoder of torchcodec, as datasets hands it out
            samples = value.get_all_samples()
            return owner.stored(as_array(samples.data), samples.sample_rate, self.keep)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return self.bytes_of(bytes(value), None)
        if hasattr(value, "to_parquet"):  # a DataFrame: one recording
            data = contents(value)
            return self.keep(data, ".parquet", lambda: data)
        array = as_array(value)
        if hasattr(value, "save") and hasattr(value, "mode"):  # an image of Pillow
            array = np.asarray(value.convert("L" if value.mode in ("1", "L") else "RGB"))
        if not isinstance(array, np.ndarray) or array.ndim == 0:
            return value
        if array.dtype.kind not in "fiub":
            raise ValueError(f"a path, bytes or an array of numbers, not one of {array.dtype}")
        return owner.stored(array, rate, self.keep)

    def wants(self, column: str) -> bool:
        """Whether what a column holds will be read."""
        if self.asked is None or column in self.asked:
            return True
        return any(column in self.known[modality].reads for modality in self.asked if modality in self.known)

    def bytes_of(self, data: bytes, path: Any) -> str:
        """A file of bytes, whose ending is that of the path they came from or what they begin with."""
        end = ending(path) if isinstance(path, str) else ""
        if end not in kinds.OF:
            end = next((end for mark, place, end in MAGIC if data[place:].startswith(mark)), ".bin")
        return self.keep(data, end, lambda: data)

    def keep(self, content: bytes, ending: str, make: Callable[[], bytes]) -> str:
        """The path of the file that some content has; it is made unless it is there.

        Raises:
            InputError: the folder takes no file.
        """
        digest = hashlib.sha256(content).hexdigest()[:40]
        path = self.folder / digest[:2] / (digest + ending)
        with durable.refusals(path, 0):
            if not path.is_file() or not path.stat().st_size:
                data = make()
                path.parent.mkdir(parents=True, exist_ok=True)
                handle, draft = tempfile.mkstemp(prefix=".", suffix=".part", dir=path.parent)
                try:
                    with os.fdopen(handle, "wb") as file:
                        file.write(data)
                    os.replace(draft, path)
                except BaseException:
                    os.unlink(draft)
                    raise
                self.written += 1
                self.bytes += len(data)
        self.files.add(str(path))
        return str(path)

    def report(self) -> None:
        """Say how many bytes were written where."""
        if self.files:
            new = f"{self.written} of them, {self.bytes} bytes, written now" if self.written else "all there already"
            self.findings.note(f"recordings inside the table are {len(self.files)} files in {self.folder}: {new}")


def as_array(value: Any) -> Any:
    """A tensor or nested list of numbers as an array; anything else as it is."""
    if isinstance(value, np.ndarray):
        if value.dtype == object and value.size and value.ndim == 1:  # an array of arrays, as pandas reads nested lists
            return as_array([as_array(one) for one in value])
        return value
    if hasattr(value, "detach"):  # of torch
        return value.detach().cpu().numpy()
    if isinstance(value, (list, tuple)) and value and not isinstance(value[0], (str, dict, bytes)):
        flat = isinstance(value[0], (int, float))
        try:
            found = np.asarray(value if flat else [as_array(one) for one in value])
        except (ValueError, TypeError):  # ragged
            return value
        return found if found.dtype != object else value
    return value


def contents(frame: Any) -> bytes:
    """A DataFrame of readings as a parquet file, without its index unless that has a name."""
    file = io.BytesIO()
    frame = frame.reset_index() if frame.index.names != [None] * frame.index.nlevels else frame
    frame.to_parquet(file, index=False)
    return file.getvalue()
