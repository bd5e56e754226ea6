"""What is remembered of files: the same results, less reading, bounded memory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modalities.errors import SampleError
from modalities.files.cache import Recent
from modalities.imu.reader import IMUReader


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), max_size=30))
def test_a_file_is_read_as_it_is_now_and_memory_is_bounded(tmp_path_factory, accesses):
    folder = tmp_path_factory.mktemp("files")
    recent = Recent(Path.read_bytes, len, room=8)
    for number, (name, size) in enumerate(accesses):
        path = folder / f"{name}"
        path.write_bytes(bytes([number]) * (size + 2))
        os.utime(path, ns=(number, number))
        assert recent(path) == recent(path) == path.read_bytes()
        assert recent.taken == sum(map(len, recent.kept.values())) <= 8


def test_what_was_used_last_stays(tmp_path):
    reads = []
    recent = Recent(lambda path: reads.append(path.name) or path.read_text(), len, room=4)
    for name, text in (("a", "aa"), ("b", "bb"), ("c", "cc"), ("large", "12345")):
        (tmp_path / name).write_text(text)
    for name in ("a", "b", "a", "c", "a", "b", "large", "b", "large"):
        recent(tmp_path / name)
    assert reads == ["a", "b", "c", "b", "large", "large"]


def test_windows_of_one_table_cost_one_look_at_it_and_errors_none_the_less(tmp_path, monkeypatch):
    path = tmp_path / "walk.csv"
    path.write_text("time,ax,ay,az\n" + "\n".join(f"{i / 50},{i},0,9.8" for i in range(200)))
    reader = IMUReader(rate=50.0, channels=3, sensors=1)
    first = reader.read(path, 0.0, 1.0)
    monkeypatch.setattr("modalities.imu.table.from_text", lambda path: pytest.fail("read again"))
    again, later = reader.read(path, 0.0, 1.0), reader.read(path, 2.0, 1.0)
    assert first is not None and again is not None and later is not None
    assert first.values.equal(again.values) and later.values[0, 0, 0] == 100
    path.unlink()
    with pytest.raises(SampleError, match="no such file"):
        reader.read(path, 0.0, 1.0)
