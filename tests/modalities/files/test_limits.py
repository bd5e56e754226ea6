"""Bombs are refused from their metadata; honest files just below the limits are not."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from media import coded, write_film
from places import ROOT

sys.path.insert(0, str(ROOT / "stress"))
import bombs

from modalities.errors import SampleError
from modalities.files import limits
from modalities.imu import IMUReader
from modalities.video import VideoReader

SLOW = {
    *bombs.SLOW,
    "png.mov",
    "mjpeg.avi",
    "rows of imu.parquet",
    "bytes of imu.csv",
    "header of embedding.safetensors",
    "words in imu.parquet",
}


def test_every_bomb_is_refused_within_a_second_and_a_hundred_megabytes(tmp_path):
    found = bombs.measured([name for name in bombs.BOMBS if name not in SLOW], tmp_path)
    assert len(found) >= 12
    assert [row for row in found if not bombs.held(row)] == []


def test_only_the_limit_refuses(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "PIXELS", 64 * 64)
    path = write_film(tmp_path / "a.mp4", [coded(3, 64, 72)] * 9)
    with pytest.raises(SampleError, match="claims 4608 pixels"):
        VideoReader(frames=1, size=32).read(str(path), 0.0, 0.2)
    monkeypatch.setattr(limits, "PIXELS", 64 * 72)
    assert VideoReader(frames=1, size=32).read(str(path), 0.0, 0.2).length == 1


def test_film_in_8k_is_read(tmp_path):
    assert limits.PIXELS >= 7680 * 4320 and limits.PIXELS < 15360 * 8640
    path = bombs.film(tmp_path / "a.avi", "mjpeg", "yuvj420p", side=5760, frames=2)  # as many pixels as 8K
    assert VideoReader(frames=1, size=16).read(str(path), 0.0, 0.08).length == 1


def test_a_day_of_movement_is_read(tmp_path):
    rows = 24 * 3600 * 100
    np.save(tmp_path / "a.npy", np.broadcast_to(np.float16(1), (1, 6)).repeat(rows, 0))
    reader, source = IMUReader(sensors=1), {"path": str(tmp_path / "a.npy"), "rate": 100}
    assert reader.seconds(source) == 24 * 3600
