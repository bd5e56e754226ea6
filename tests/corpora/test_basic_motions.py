"""The corpus basic_motions: series keep their halves and their clock."""

from __future__ import annotations

import numpy as np
import pytest
from packages import needs, rows, watched

from mmmae import corpora
from mmmae.corpora import basic_motions
from modalities.errors import InputError
from modalities.imu import IMUReader


def test_basic_motions_keep_their_halves_and_their_clock(tmp_path, monkeypatch):
    values = watched(tmp_path / "site", monkeypatch)
    folder = corpora.prepare("basic_motions", tmp_path / "out").parent
    assert [(row["label"], row["split"]) for row in rows(folder)] == [("running", "train"), ("standing", "test")]
    reading = IMUReader(rate=10.0, sensors=["watch"]).read(str(folder / "test-00.csv"), 0.0, 2.0)
    np.testing.assert_allclose(reading.values[:, 0], values.T, atol=1e-4)
    assert reading.length == 20


def test_basic_motions_names_a_file_that_is_no_watch(tmp_path, monkeypatch):
    watched(tmp_path / "site", monkeypatch, channels=5)
    with pytest.raises(InputError, match=r"TRAIN\.ts.+6 channels"):
        corpora.prepare("basic_motions", tmp_path / "out")
    (tmp_path / "site/aeon/datasets/data/BasicMotions/BasicMotions_TRAIN.ts").write_text("@data\n1,x:Running")
    with pytest.raises(InputError, match=r"TRAIN\.ts: cannot be read"):
        corpora.prepare("basic_motions", tmp_path / "out")


@needs("aeon", basic_motions.INSTALL)
def test_basic_motions_for_real(tmp_path):
    folder = corpora.prepare("basic_motions", tmp_path / "out").parent
    found = [(row["label"], row["split"]) for row in rows(folder)]
    assert len(found) == 80 and {found.count(kind) for kind in found} == {10} and len(set(found)) == 8
    reading = IMUReader(rate=10.0, sensors=["watch"]).read(str(folder / f"{rows(folder)[0]['id']}.csv"), 0.0, 10.0)
    assert reading.length == 100 and np.abs(reading.values[..., :3]).mean() < 1  # who stands feels no gravity
