"""Readers of numbers and words: embeddings come from any file, any bytes are read or refused, settings are checked."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from safetensors.torch import save_file

from modalities.embedding import EmbeddingReader
from modalities.errors import SampleError
from modalities.imu import IMUReader
from modalities.text import TextReader


@pytest.mark.parametrize("ending", [".npy", ".safetensors", ".parquet"])
def test_embeddings_come_from_any_file_whole_or_by_window(tmp_path, ending):
    rows = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32)
    path = tmp_path / f"a{ending}"
    if ending == ".npy":
        np.save(path, rows)
    elif ending == ".safetensors":
        save_file({"embedding": torch.from_numpy(rows), "other": torch.zeros(3)}, path)
    else:
        parquet.write_table(pa.table({f"f{i}": column for i, column in enumerate(rows.T)}), path)
    whole, window = EmbeddingReader(length=8, width=5), EmbeddingReader(length=8, width=5, rate=4.0)
    assert np.array_equal(whole.read(str(path), 3.0, 1.0).values.numpy(), rows[:8])
    reading = window.read(str(path), 4.0, 2.0)
    assert reading.length == 4 and np.array_equal(reading.values[:4].numpy(), rows[16:20])
    assert reading.values.shape == (8, 5) and reading.values[4:].abs().max() == 0
    assert window.read(str(path), 5.0, 1.0) is None
    assert (whole.seconds(str(path)), window.seconds(str(path))) == (None, 5.0)
    assert EmbeddingReader.survey({}, [str(tmp_path / "missing.npy"), str(path)], tmp_path) == {"width": 5}
    with pytest.raises(SampleError, match=r"embedding\.length=12"):
        window.read(str(path), 0.0, 3.0)
    with pytest.raises(SampleError, match="has 5 features"):
        EmbeddingReader(width=4).read(str(path), 0.0, 1.0)


@pytest.mark.parametrize("ending", [".safetensors", ".parquet"])
def test_rows_with_seconds_are_those_whose_middle_is_in_the_window(tmp_path, ending):
    rows = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32)
    start, path = 3.0 + np.arange(20) / 4, tmp_path / f"a{ending}"

    def write(end: np.ndarray) -> None:
        if ending == ".safetensors":
            save_file(
                {"x": torch.from_numpy(rows), "start": torch.from_numpy(start), "end": torch.from_numpy(end)}, path
            )
        else:
            columns = {f"f{i}": column for i, column in enumerate(rows.T)}
            parquet.write_table(pa.table({"start": start, "end": end, **columns}), path)

    write(start + 1)
    for rate in (None, 9.0):  # the file knows better
        reader = EmbeddingReader(length=8, width=5, rate=rate)
        assert reader.seconds(str(path)) == 3 + 19 / 4 + 1
        for begin, first, last in ((0.0, 0, 2), (3.5, 0, 8), (5.0, 6, 14), (6.625, 13, 20)):
            reading = reader.read(str(path), begin, 4.0 if begin == 0 else 2.0)
            assert reading.length == last - first and np.array_equal(reading.values[: last - first], rows[first:last])
        assert reader.read(str(path), 0.0, 3.0) is None
        with pytest.raises(SampleError, match=r"embedding\.length=12"):
            reader.read(str(path), 3.5, 3.0)
    write(np.full(20, np.nan))
    with pytest.raises(SampleError, match="'end' holds no second"):
        reader.read(str(path), 0.0, 1.0)


def test_half_precision_and_single_embeddings_are_read(tmp_path):
    save_file({"features": torch.ones(3, dtype=torch.bfloat16)}, tmp_path / "a.safetensors")
    reading = EmbeddingReader(length=2, width=3).read(str(tmp_path / "a.safetensors"), 0.0, 1.0)
    assert reading.length == 1 and reading.values.tolist() == [[1, 1, 1], [0, 0, 0]]


@pytest.mark.parametrize(
    "bad", [np.zeros((2, 3, 4)), np.zeros((2, 0)), np.array("words"), np.array([[1, np.nan]]), np.array([object()])]
)
def test_what_is_no_embedding_is_refused(tmp_path, bad):
    np.save(tmp_path / "a.npy", bad)
    with pytest.raises(SampleError, match=r"a\.npy"):
        EmbeddingReader(width=2).read(str(tmp_path / "a.npy"), 0.0, 1.0)


# What holds for several readers


@settings(max_examples=25)
@given(content=st.one_of(st.binary(max_size=200), st.text("time,a.x0123456789-e\n", max_size=60).map(str.encode)))
@pytest.mark.parametrize("ending", [".csv", ".npy", ".parquet", ".safetensors", ".txt"])
def test_any_bytes_are_read_or_refused(tmp_path_factory, ending, content):
    path = tmp_path_factory.mktemp("bytes") / f"a{ending}"
    path.write_bytes(content)
    for reader in (IMUReader(channels=1, sensors=1), EmbeddingReader(width=2)):
        try:
            reader.read(str(path), 0.0, 1.0)
        except SampleError as error:
            assert str(path) in str(error)


def test_settings_are_checked():
    for reader, bad in [
        (IMUReader, {"rate": 0.0}),
        (IMUReader, {"sensors": 0}),
        (IMUReader, {"sensors": []}),
        (IMUReader, {"sensors": ["a", "a"]}),
        (IMUReader, {"channels": 0}),
        (TextReader, {"length": 0}),
        (EmbeddingReader, {"length": 0}),
        (EmbeddingReader, {"width": 0}),
        (EmbeddingReader, {"rate": -1.0}),
    ]:
        with pytest.raises(ValueError, match=next(iter(bad))):
            reader(**bad)
