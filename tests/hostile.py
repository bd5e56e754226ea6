"""What hostile inputs are made of, and the readers that they are given to."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from modalities.audio import AudioReader
from modalities.embedding import EmbeddingReader
from modalities.imu import IMUReader
from modalities.video import VideoReader

CANARY = "canary"


class Cases(dict[str, Callable[[Path], Any]]):
    """Hostile inputs by name: each is written into a folder and used there, which must end in an InputError."""

    def case(self, function: Callable[[Path], Any]) -> Callable[[Path], Any]:
        self[function.__name__] = function
        return function


class Payload:
    """An object whose pickle, when it is loaded, leaves a file behind."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __reduce__(self):
        return exec, (f"open({str(self.folder / CANARY)!r}, 'w').close()",)


def put(folder: Path, name: str, content: bytes | str | None = None) -> Path:
    """A file; by default it holds a pickle that runs."""
    content = pickle.dumps(Payload(folder)) if content is None else content
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def objects(path: Path) -> Path:
    """A .npy file of Python objects, which numpy pickles."""
    np.save(path, np.array([[Payload(path.parent)] * 6] * 9, dtype=object), allow_pickle=True)
    return path


def imu(path: Path) -> Any:
    return IMUReader(sensors=1).read({"path": str(path), "rate": 50.0}, 0.0, 1.0)


def embedding(path: Path) -> Any:
    return EmbeddingReader(width=6).read(str(path), 0.0, 1.0)


def video(path: Path) -> Any:
    VideoReader(frames=1).seconds(str(path))
    return VideoReader(frames=1, size=64).read(str(path), 0.0, 0.2)


def audio(path: Path) -> Any:
    return AudioReader().read(str(path), 0.0, 1.0)
