"""Recordings that a table holds itself, as bytes or arrays, written once as files that readers can open.

A file is called by a hash of its contents, so the same recording is written once, whatever table it stands in.
"""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from collections.abc import Callable, Collection
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from mmmae.data import kinds
from mmmae.data.findings import Findings
from mmmae.data.spelling import plain
from mmmae.storage import atomic as durable

MAGIC = (  # first bytes, at which place, and the ending that they mean
    (b"fLaC", 0, ".flac"), (b"OggS", 0, ".ogg"), (b"ID3", 0, ".mp3"), (b"WAVE", 8, ".wav"), (b"AVI ", 8, ".avi"),
    (b"WEBP", 8, ".webp"), (b"ftypM4A", 4, ".m4a"), (b"ftyp", 4, ".mp4"), (b"\x1aE\xdf\xa3", 0, ".mkv"),
    (b"\x89PNG", 0, ".png"), (b"\xff\xd8\xff", 0, ".jpg"), (b"GIF8", 0, ".gif"), (b"BM", 0, ".bmp"),
    (b"II*\0", 0, ".tif"), (b"MM\0*", 0, ".tif"), (b"FORM", 0, ".aiff"), (b"\x93NUMPY", 0, ".npy"),
    (b"PAR1", 0, ".parquet"),
)  # fmt: skip
LOUDEST = 8.0  # of samples as floats, whose full scale is 1: above it they are integers in disguise
MANY = 32  # channels of a sensor at fewer steps: rather the steps of fewer channels
TRACKS = 32  # of sound in one array; the other axis is time


def cache() -> Path:
    """The user's folder for recordings that came from tables."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "mmmae" / "data"


class Store:
    """Makes files of cells that are recordings: bytes, `{"bytes", "path"}`, arrays, images, tables.

    folder: where they are written; the user's cache by default.
    asked: the modalities that are to be read; recordings of others are left where they are.
    """

    def __init__(
        self, findings: Findings, folder: str | os.PathLike | None = None, asked: Collection[str] | None = None
    ):
        self.findings, self.folder, self.asked = findings, Path(folder or cache()).absolute(), asked
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
        if isinstance(value, dict):
            if "array" in value and "sampling_rate" in value:
                return self.sound(as_array(value["array"]), plain(value["sampling_rate"]))
            if value.get("bytes") is not None:
                return self.bytes_of(value["bytes"], value.get("path"))
            return value.get("path") if "path" in value else value
        if hasattr(value, "get_all_samples"):  # a decoder of torchcodec, as datasets hands it out
            samples = value.get_all_samples()
            return self.sound(as_array(samples.data), samples.sample_rate)
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
        if column == "audio":
            return self.sound(array, plain(row.get("audio_rate")))
        if column in ("video", "regions"):
            return self.pictures(array, plain(row.get("video_rate")))
        return self.sensors(array) if column == "imu" else self.array(array)

    def wants(self, column: str) -> bool:
        """Whether what a column holds will be read."""
        asked = {"video": ("video", "audio"), "regions": ("video",)}.get(column, (column,))
        return self.asked is None or any(modality in self.asked for modality in asked)

    def sensors(self, array: np.ndarray) -> str:
        """A .npy file of readings (steps, ..., channels), or of windows of them.

        Raises:
            ValueError: the axes look exchanged.
        """
        steps, channels = array.shape[-2:] if array.ndim > 1 else (0, 0)
        if channels >= MANY and steps < channels:
            raise ValueError(
                f"readings of shape (steps, channels), not {channels} channels at {steps} steps: "
                f"exchange the last two axes with x.swapaxes(-1, -2)"
            )
        return self.array(array)

    def bytes_of(self, data: bytes, path: Any) -> str:
        """A file of bytes, whose ending is that of the path they came from or what they begin with."""
        end = kinds.ending(path) if isinstance(path, str) else ""
        if end not in kinds.OF:
            end = next((end for mark, place, end in MAGIC if data[place:].startswith(mark)), ".bin")
        return self.keep(data, end, lambda: data)

    def array(self, array: np.ndarray) -> str:
        """A .npy file of numbers."""

        def npy() -> bytes:
            file = io.BytesIO()
            np.save(file, array, allow_pickle=False)
            return file.getvalue()

        return self.keep(fingerprint(array), ".npy", npy)

    def sound(self, array: Any, rate: Any) -> str:
        """A .wav file of samples (samples,), (channels, samples) or (samples, channels); floats have full scale 1.

        Raises:
            ValueError: their rate or range is not known.
        """
        if not isinstance(rate, (int, float)) or not 1 <= rate <= 1e6:
            raise ValueError(
                f"samples with a rate in Hz as {{'array', 'sampling_rate'}} or `audio_rate` (here {rate!r})"
            )
        if array.ndim == 2 and min(array.shape) <= TRACKS:
            array = array.T if array.shape[0] < array.shape[1] else array
        elif array.ndim != 1:
            raise ValueError(f"samples of shape (samples,) or (channels, samples), not {array.shape}")
        if array.dtype.kind == "f":
            array = array.astype(np.float32)
            loudest = float(np.abs(array).max(initial=0.0))
            if loudest > LOUDEST:
                raise ValueError(f"samples as floats from -1 to 1, or int16 (the largest here is {loudest:g})")
        elif array.dtype not in (np.int16, np.int32, np.uint8):
            raise ValueError(f"samples as floats from -1 to 1, or int16, not {array.dtype}")

        def wav() -> bytes:
            from scipy.io import wavfile

            file = io.BytesIO()
            wavfile.write(file, round(rate), array)
            return file.getvalue()

        return self.keep(fingerprint(array, round(rate)), ".wav", wav)

    def pictures(self, array: np.ndarray, rate: Any) -> str:
        """A video without loss of frames (frames, h, w, 3) or (frames, h, w, 1), or an image (h, w, 3) or (h, w).

        Raises:
            ValueError: it is none of these in uint8, or the frames' rate is not known.
        """
        expected = "uint8 frames (frames, height, width, 3) or an image (height, width, 3)"
        if array.ndim == 4 and array.shape[1] in (1, 3) and array.shape[3] not in (1, 3):
            array = array.transpose(0, 2, 3, 1)
        if array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3):
            array = array[None] if array.ndim == 3 else array[None, ..., None]
        if array.dtype != np.uint8 or array.ndim != 4 or array.shape[3] not in (1, 3) or not array.size:
            remedy = ": (255 * x).round().astype('uint8')" if array.dtype.kind == "f" else ""
            raise ValueError(f"{expected}, not {array.dtype} of shape {array.shape}{remedy}")
        if len(array) > 1 and (not isinstance(rate, (int, float)) or not 0.01 <= rate <= 1000):
            raise ValueError(f"frames with `video_rate`, in frames per second (here {rate!r})")
        still = len(array) == 1
        fps = Fraction(25 if still else rate).limit_denominator(1001)
        end = ".png" if still else ".mkv"
        return self.keep(fingerprint(array, float(fps)), end, lambda: encoded(array, fps, end))

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


def fingerprint(array: np.ndarray, rate: float | int = 0) -> bytes:
    """What tells an array from all others, for a hash."""
    head = f"{array.dtype.str} {array.shape} {rate:g} ".encode()
    return head + np.ascontiguousarray(array).tobytes()


def contents(frame: Any) -> bytes:
    """A DataFrame of readings as a parquet file, without its index unless that has a name."""
    file = io.BytesIO()
    frame = frame.reset_index() if frame.index.names != [None] * frame.index.nlevels else frame
    frame.to_parquet(file, index=False)
    return file.getvalue()


def encoded(array: np.ndarray, fps: Fraction, ending: str) -> bytes:
    """Frames as FFV1 in Matroska, or one as PNG: every pixel as it was."""
    import av

    file = io.BytesIO()
    grey, still = array.shape[3] == 1, ending == ".png"
    shown = "gray" if grey else "rgb24"
    stored = shown if still else "gray" if grey else "bgr0"
    with av.open(file, "w", format="image2pipe" if still else "matroska") as container:
        stream = container.add_stream("png" if still else "ffv1", rate=fps)
        stream.height, stream.width, stream.pix_fmt = array.shape[1], array.shape[2], stored
        for number, picture in enumerate(array[..., 0] if grey else array):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format=shown).reformat(format=stored)
            frame.pts, frame.time_base = number, 1 / fps
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()
