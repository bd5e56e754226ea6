"""Embeddings: feature sequences that another model computed beforehand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch

from modalities.embedding.contents import RowContents
from modalities.errors import InputError, SampleError
from modalities.files import limits, parquet
from modalities.files.cache import existing
from modalities.files.npy import mapped
from modalities.reader import Reader, Reading
from modalities.shapes import Float, Shaped, Tensor

TIMES = ("start", "end")  # columns, or tensors (l,), that say which seconds of the recording a row is of
NAMES = ("embeddings", "embedding")  # of the tensor to read among several


class Rows(NamedTuple):
    """The contents of a file: features, and the seconds of the recording of each row, if the file states them."""

    features: Shaped[Tensor, "l d"]
    start: Float[Tensor, " l"] | None = None
    end: Float[Tensor, " l"] | None = None


class EmbeddingReader(Reader):
    """Reads rows of features from .npy (l, d), .safetensors (one tensor, or that called `embeddings`) or .parquet.

    A safetensors or parquet file may say by `start` and `end` which seconds each row is of. Those rows are in a window
    whose middle is.

    Args:
        length: embeddings per sample, padding included.
        width: features per embedding; null lets `survey` decide.
        rate: embeddings per second of files without times, to read those of the window; null reads the first `length`
            of them, whatever the window.
    """

    typical: ClassVar[dict[str, Any]] = {"width": 512}
    made_by: ClassVar[str | None] = (
        "mmmae embed RUN --data {data} --out EMBEDDED (RUN: a model trained on such recordings)"
    )

    def __init__(self, *, length: int = 64, width: int | None = None, rate: float | None = None):
        if length < 1:
            raise ValueError(f"embedding length={length}: expected embeddings per sample, e.g. 64")
        if width is not None and width < 1:
            raise ValueError(f"embedding width={width}: expected features per embedding, or null")
        if rate is not None and rate <= 0:
            raise ValueError(f"embedding rate={rate}: expected embeddings per second, or null")
        self.length, self.width, self.rate = length, width, rate

    def seconds(self, source: Any) -> float | None:
        rows = load(source)
        if rows.end is not None:
            return float(rows.end.max()) if len(rows.end) else 0.0
        return None if self.rate is None else len(rows.features) / self.rate

    def read(self, source: Any, start: float, duration: float) -> Reading | None:
        return self.read_windows(source, [start], duration)[0]

    def read_windows(self, source: Any, starts: Sequence[float], duration: float) -> list[Reading | None]:
        """All windows from one look at the file."""
        rows = load(source)
        return [self.window(source, rows, start, duration) for start in starts]

    def window(self, source: Any, rows: Rows, start: float, duration: float) -> Reading | None:
        blank = self.blank(duration).values
        if rows.features.shape[1] != self.width:
            found = rows.features.shape[1]
            reason = f"has {found} features per embedding, the recipe reads {self.width}"
            raise SampleError(source, reason, f"set `modalities.embedding.width={found}`, or drop the row")
        here = self.chosen(rows, start, duration)
        if len(here) > self.length:
            reason = f"the window of {duration:g} s holds {len(here)} embeddings, the recipe reads {self.length}"
            raise SampleError(source, reason, f"set `modalities.embedding.length={len(here)}`")
        here = [number for number in here if 0 <= number < len(rows.features)]
        features = rows.features[here].float()
        wrong = (~features.isfinite()).any(1).nonzero()
        if len(wrong):
            raise SampleError(source, f"row {here[int(wrong[0])] + 1} is not finite", "correct the file")
        if not len(features):
            return None
        blank[: len(features)] = features
        return Reading(blank, len(features))

    def chosen(self, rows: Rows, start: float, duration: float) -> Sequence[int]:
        """Numbers of the rows of a window, also of those that a file would have if it went on."""
        if rows.start is not None and rows.end is not None:
            middle = (rows.start + rows.end) / 2
            return ((middle >= start) & (middle < start + duration)).nonzero()[:, 0].tolist()
        if self.rate is None:
            return range(self.length)
        return range(round(start * self.rate), round((start + duration) * self.rate))

    def describe(self, source: Any) -> dict[str, Any]:
        rows = load(source)
        times = {"times": "of each row" if rows.start is not None else "none"}
        return {"rows": len(rows.features), "features": rows.features.shape[1], "type": dtype(rows.features)} | times

    def contents(self) -> RowContents:
        return RowContents()

    def blank(self, duration: float) -> Reading:
        if self.width is None:
            raise ValueError("embedding width is open: name it in the recipe, or survey the data first")
        return Reading(torch.zeros(self.length, self.width), 0)

    @classmethod
    def survey(cls, settings: dict[str, Any], sources: Iterable[Any], folder: Path) -> dict[str, Any]:
        """The width of the first readable file.

        Raises:
            InputError: it is left open and cannot be inferred from any file.
        """
        if settings.get("width") is not None:
            return {}
        error = None
        for source in sources:
            try:
                return {"width": load(source).features.shape[1]}
            except SampleError as sample:
                error = sample
        raise InputError(f"embedding width: cannot be inferred from any file\n  {error or 'no row has an embedding'}")


def dtype(features: Tensor) -> str:
    return str(features.dtype).removeprefix("torch.")


def load(source: Any) -> Rows:
    """All embeddings of a file.

    Raises:
        SampleError: the file is missing, or holds no numbers of shape (l, d); a single embedding (d,) is one row.
    """
    path = existing(source)
    read = {".npy": from_array, ".safetensors": from_tensors, ".parquet": from_parquet}.get(path.suffix.lower())
    if read is None:
        raise SampleError(path, "is not .npy, .safetensors or .parquet", "convert it into one of them")
    features, *times = read(path)
    features = features[None] if features.ndim == 1 else features
    if features.ndim != 2 or not features.shape[1] or features.is_complex() or features.dtype == torch.bool:
        reason = f"holds {features.dtype} of shape {tuple(features.shape)}"
        raise SampleError(path, reason, "save numbers of shape (embeddings, features)")
    for name, time in zip(TIMES, times, strict=False):
        if time.shape != features.shape[:1] or time.is_complex() or not time.double().isfinite().all():
            raise SampleError(path, f"{name!r} holds no second for each embedding", "write it again")
    return Rows(features, *(time.double() for time in times))


def from_array(path: Path) -> list[Tensor]:
    rows = mapped(path)
    limits.refuse_above(limits.NUMBERS, rows.size, path, "numbers", "keep the features of one recording in a file")
    try:
        return [torch.from_numpy(np.array(rows))]
    except (ValueError, TypeError, OSError) as error:
        raise SampleError(path, f"is no .npy array of numbers ({error})", "save it with numpy.save") from error


def from_tensors(path: Path) -> list[Tensor]:
    """Features, then times if there are any."""
    from safetensors import SafetensorError, safe_open

    limits.refuse_long_header(path)
    try:
        with safe_open(path, framework="pt") as tensors:
            names = list(tensors.keys())
            times = TIMES if set(TIMES) <= set(names) else ()
            rest = [name for name in names if name not in times]
            for name in rest if len(rest) == 1 else NAMES:
                if name in rest:
                    return [tensors.get_tensor(key) for key in (name, *times)]
    except (SafetensorError, OSError, ValueError) as error:
        raise SampleError(path, f"is no safetensors file ({error})", "write it again") from error
    held = ", ".join(names) or "(none)"
    raise SampleError(path, f"holds the tensors {held}", f"name the one to read `{NAMES[0]}`")


def from_parquet(path: Path) -> list[Tensor]:
    """Features, one column each, then times if there are any."""
    table = parquet.load(path)
    timed = set(TIMES) <= set(table.column_names)
    features, times = [], {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if timed and name in TIMES:
            times[name] = torch.from_numpy(column.to_numpy().astype(np.float64))
        else:
            features.append(column.to_numpy().astype(np.float32))
    if not features:
        raise SampleError(path, "has no columns", "write one column per feature")
    return [torch.from_numpy(np.stack(features, axis=1)), *(times[name] for name in TIMES if timed)]
