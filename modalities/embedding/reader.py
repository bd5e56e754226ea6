"""Embeddings: feature sequences that another model computed beforehand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from modalities import limits, parquet
from modalities.errors import InputError, SampleError
from modalities.media import existing
from modalities.reader import Reader, Reading
from modalities.shapes import Shaped, Tensor


class EmbeddingReader(Reader):
    """Reads rows of features from .npy (l, d), .safetensors (one tensor, or the one called `embedding`) or .parquet.

    Args:
        length: embeddings per sample, padding included.
        width: features per embedding; null lets `survey` decide.
        rate: embeddings per second, to read those of the window; null reads the first `length`, whatever the window.
    """

    typical: ClassVar[dict[str, Any]] = {"width": 512}

    def __init__(self, *, length: int = 64, width: int | None = None, rate: float | None = None):
        if length < 1:
            raise ValueError(f"embedding length={length}: expected embeddings per sample, e.g. 64")
        if width is not None and width < 1:
            raise ValueError(f"embedding width={width}: expected features per embedding, or null")
        if rate is not None and rate <= 0:
            raise ValueError(f"embedding rate={rate}: expected embeddings per second, or null")
        self.length, self.width, self.rate = length, width, rate

    def seconds(self, source: Any) -> float | None:
        return None if self.rate is None else len(load(source)) / self.rate

    def read(self, source: Any, start: float, duration: float) -> Reading | None:
        return self.read_windows(source, [start], duration)[0]

    def read_windows(self, source: Any, starts: Sequence[float], duration: float) -> list[Reading | None]:
        """All windows from one look at the file."""
        rows = load(source)
        return [self.window(source, rows, start, duration) for start in starts]

    def window(self, source: Any, rows: Shaped[Tensor, "l d"], start: float, duration: float) -> Reading | None:
        blank = self.blank(duration).values
        if rows.shape[1] != self.width:
            reason = f"has {rows.shape[1]} features per embedding, the recipe reads {self.width}"
            raise SampleError(source, reason, f"set `modalities.embedding.width={rows.shape[1]}`, or drop the row")
        first, last = 0, self.length
        if self.rate is not None:
            first, last = round(start * self.rate), round((start + duration) * self.rate)
        if last - first > self.length:
            reason = f"the window of {duration:g} s holds {last - first} embeddings, the recipe reads {self.length}"
            raise SampleError(source, reason, f"set `modalities.embedding.length={last - first}`")
        rows = rows[max(first, 0) : max(last, 0)].float()
        wrong = (~rows.isfinite()).any(1).nonzero()
        if len(wrong):
            raise SampleError(source, f"row {max(first, 0) + int(wrong[0]) + 1} is not finite", "mend the file")
        if not len(rows):
            return None
        blank[: len(rows)] = rows
        return Reading(blank, len(rows))

    def blank(self, duration: float) -> Reading:
        if self.width is None:
            raise ValueError("embedding width is open: name it in the recipe, or survey the data first")
        return Reading(torch.zeros(self.length, self.width), 0)

    @classmethod
    def survey(cls, settings: dict[str, Any], sources: Iterable[Any], folder: Path) -> dict[str, Any]:
        """The width of the first readable file.

        Raises:
            InputError: it is left open and no file tells it.
        """
        if settings.get("width") is not None:
            return {}
        error = None
        for source in sources:
            try:
                return {"width": load(source).shape[1]}
            except SampleError as sample:
                error = sample
        raise InputError(f"embedding width: no file tells it\n  {error or 'no row has an embedding'}")


def load(source: Any) -> Shaped[Tensor, "l d"]:
    """All embeddings of a file.

    Raises:
        SampleError: the file is missing, or holds no numbers of shape (l, d); a single embedding (d,) is one row.
    """
    path = existing(source)
    read = {".npy": from_array, ".safetensors": from_tensors, ".parquet": from_parquet}.get(path.suffix.lower())
    if read is None:
        raise SampleError(path, "is not .npy, .safetensors or .parquet", "convert it into one of them")
    rows = read(path)
    rows = rows[None] if rows.ndim == 1 else rows
    if rows.ndim != 2 or not rows.shape[1] or rows.is_complex() or rows.dtype == torch.bool:
        reason = f"holds {rows.dtype} of shape {tuple(rows.shape)}"
        raise SampleError(path, reason, "save numbers of shape (embeddings, features)")
    return rows


def from_array(path: Path) -> Tensor:
    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)  # a header may claim more than the file holds
        if not isinstance(rows, np.ndarray):
            raise SampleError(path, "is an archive of arrays", "save one array with numpy.save")
        limits.refuse_above(limits.NUMBERS, rows.size, path, "numbers", "keep the features of one recording in a file")
        return torch.from_numpy(np.array(rows))
    except (ValueError, TypeError, AttributeError, OSError, EOFError, OverflowError) as error:
        if isinstance(error, SampleError):
            raise
        raise SampleError(path, f"is no .npy array of numbers ({error})", "save it with numpy.save") from error


def from_tensors(path: Path) -> Tensor:
    from safetensors import SafetensorError, safe_open

    limits.refuse_long_header(path)
    try:
        with safe_open(path, framework="pt") as tensors:
            names = list(tensors.keys())
            name = names[0] if len(names) == 1 else "embedding"
            if name in names:
                return tensors.get_tensor(name)
    except (SafetensorError, OSError, ValueError) as error:
        raise SampleError(path, f"is no safetensors file ({error})", "write it again") from error
    raise SampleError(path, f"holds the tensors {', '.join(names) or '(none)'}", "name the one to read `embedding`")


def from_parquet(path: Path) -> Tensor:
    columns = [column.to_numpy().astype(np.float32) for column in parquet.load(path).columns]
    if not columns:
        raise SampleError(path, "has no columns", "write one column per feature")
    return torch.from_numpy(np.stack(columns, axis=1))
