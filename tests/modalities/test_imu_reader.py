"""The reader of sensors: exact where it can be at any rate, missing readings are unobserved, bad tables are named."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from mmmae.corpora.writing import write_imu
from modalities.errors import InputError, SampleError
from modalities.imu import IMUReader, IMUTokenizer


def write_table(path, times, columns):
    """A CSV or parquet file of columns, NaN as an empty cell."""
    columns = {"time": times, **columns} if times is not None else columns
    if path.suffix == ".parquet":
        parquet.write_table(pa.table(columns), path)
    else:
        table = zip(*columns.values(), strict=True)
        rows = [",".join("" if np.isnan(cell) else repr(float(cell)) for cell in row) for row in table]
        path.write_text("\n".join([",".join(columns), *rows]) + "\n")
    return str(path)


def straight(times, slopes=(1.0, -2.0, 0.5)):
    """Three channels that change linearly in time."""
    return {f"wrist.a{axis}": 3 + slope * times for axis, slope in zip("xyz", slopes, strict=True)}


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
@settings(max_examples=12)
@given(
    rate=st.sampled_from([10.0, 50.0, 77.0, 400.0]),
    jitter=st.floats(0, 0.4),
    start=st.floats(0, 2),
    epoch=st.sampled_from([0.0, 1.7e9, -5.0]),
)
def test_straight_lines_come_back_exactly_at_any_rate(tmp_path_factory, ending, rate, jitter, start, epoch):
    random = np.random.default_rng(0)
    times = (np.arange(round(4 * rate)) + jitter * random.uniform(-1, 1, round(4 * rate)) * (epoch != 0)) / rate
    times -= times[0]
    path = write_table(tmp_path_factory.mktemp("imu") / f"a{ending}", times + epoch, straight(times))
    reading = IMUReader(rate=50.0, channels=3, sensors=["wrist"]).read(path, start, 1.5)
    ticks = (round(start * 50) + np.arange(75)) / 50
    assert reading.length == 75 and reading.observed.all() and reading.edges is None
    expected = np.stack([column for column in straight(ticks).values()], axis=1)
    assert np.abs(reading.values[:, 0].numpy() - expected).max() < 1e-4  # epoch stamps keep about 1e-7 s


@settings(max_examples=10)
@given(cuts=st.lists(st.integers(0, 150), min_size=3, max_size=3, unique=True).map(sorted), rate=st.integers(10, 200))
def test_two_neighbouring_windows_are_the_whole(tmp_path_factory, cuts, rate):
    times = np.arange(3 * rate) / rate
    noise = np.random.default_rng(1).normal(size=(len(times), 2))
    noise[rate : 2 * rate : 3] = np.nan
    noise[5 : 5 + rate // 4, 0] = np.nan
    columns = {"a.x": noise[:, 0], "b.x": noise[:, 1]}
    path = write_table(tmp_path_factory.mktemp("imu") / "a.csv", times, columns)
    reader, (a, b, c) = IMUReader(rate=50.0, channels=1, sensors=["a", "b"]), (cut / 50 for cut in cuts)

    def read(start, end):
        return reader.read(path, start, end - start) or reader.blank(end - start)

    for part in ("values", "observed"):
        joined = torch.cat([getattr(read(a, b), part), getattr(read(b, c), part)])
        assert torch.allclose(joined, getattr(read(a, c), part), atol=1e-5)


def test_missing_readings_are_unobserved_and_zero(tmp_path):
    times = np.arange(200) / 50
    columns = {f"{name}.x": np.ones(200) for name in ("hip", "wrist")}
    columns["wrist.x"][50:60] = np.nan
    columns["wrist.x"][100:102] = np.nan  # two in a row are bridged
    kept = np.r_[0:150, 170:200]
    path = write_table(tmp_path / "a.csv", times[kept], {name: column[kept] for name, column in columns.items()})
    reading = IMUReader(rate=50.0, channels=1, sensors=["wrist", "head", "hip"]).read(path, 0.0, 4.0)
    wrist, head, hip = reading.observed[..., 0].T
    assert (~wrist).nonzero()[:, 0].tolist() == [*range(50, 60), *range(150, 170)]
    assert not head.any() and (~hip).nonzero()[:, 0].tolist() == [*range(150, 170)]
    assert torch.equal(reading.values, reading.observed.float())


def test_a_slow_sensor_in_a_fast_table_is_observed(tmp_path):
    times = np.arange(400) / 200
    slow = np.where(np.arange(400) % 8 == 0, times, np.nan)  # 25 Hz
    path = write_table(tmp_path / "a.csv", times, {"fast.x": times, "slow.x": slow})
    reading = IMUReader(rate=50.0, channels=1, sensors=["fast", "slow"]).read(path, 0.0, 1.5)
    assert reading.observed.all()
    assert (reading.values[..., 0] - torch.arange(75)[:, None] / 50).abs().max() < 1e-6


def test_a_faster_source_is_averaged_and_a_slower_one_is_not(tmp_path):
    times = np.arange(1000) / 500
    buzz = write_table(tmp_path / "a.csv", times, {"a.x": np.cos(2 * np.pi * 100 * times)})  # folds to 0 Hz at 50 Hz
    values = IMUReader(rate=50.0, channels=1, sensors=1).read(buzz, 0.2, 1.0).values
    assert values.abs().max() < 1e-3
    steps = np.arange(20) % 2
    slow = write_table(tmp_path / "b.csv", np.arange(20) / 10, {"a.x": steps.astype(float)})
    values = IMUReader(rate=20.0, channels=1, sensors=1).read(slow, 0.0, 1.0).values[:, 0, 0]
    assert torch.equal(values, torch.tensor([0, 0.5, 1, 0.5] * 5))


def test_steps_are_counted_inside_the_recording_only(tmp_path):
    path = write_table(tmp_path / "a.csv", np.arange(60) / 50, straight(np.arange(60) / 50))
    reader = IMUReader(rate=50.0, channels=3, sensors=1)
    assert reader.seconds(path) == pytest.approx(1.2)
    reading = reader.read(path, 1.0, 2.0)
    assert reading.length == 10 and reading.values.shape == (100, 1, 3)
    assert reading.observed[:10].all() and not reading.observed[10:].any()
    assert reader.read(path, 1.5, 1.0) is None
    assert reader.blank(2.0).values.shape == reading.values.shape and reader.blank(2.0).length == 0


def test_the_time_column_begins_at_zero_or_with_its_first_stamp(tmp_path):
    reader = IMUReader(rate=10.0, channels=1, sensors=1)
    times = np.arange(20) / 10
    for first, lag in {0.5: 5, 1.0: 0, 1.7e9: 0}.items():
        path = write_table(tmp_path / "a.csv", times + first, {"x": times})
        reading = reader.read(path, 0.0, 2.0)
        assert (~reading.observed[:, 0, 0]).nonzero()[:, 0].tolist() == list(range(lag))
        assert reading.values[lag, 0, 0] == pytest.approx(0.0, abs=1e-5)


def test_arrays_need_the_rate_of_the_row(tmp_path):
    values = np.random.default_rng(0).normal(size=(100, 4, 6)).astype(np.float32)
    np.save(tmp_path / "a.npy", values)
    np.save(tmp_path / "b.npy", values[:, 0])
    many, one = IMUReader(sensors=4), IMUReader(sensors=1)
    reading = many.read({"path": str(tmp_path / "a.npy"), "rate": 50.0}, 0.5, 1.0)
    assert np.array_equal(reading.values.numpy(), values[25:75])
    reading = one.read({"path": str(tmp_path / "b.npy"), "rate": 50.0, "edges": None}, 0.5, 1.0)
    assert np.array_equal(reading.values[:, 0].numpy(), values[25:75, 0])
    for rate in (None, 0, -3.0, "fast", float("nan")):
        with pytest.raises(SampleError, match=r"a\.npy.*\n.*imu_rate"):
            many.read({"path": str(tmp_path / "a.npy"), "rate": rate}, 0.0, 1.0)


def test_edges_join_the_sensors_of_the_file(tmp_path):
    times = np.arange(50) / 50
    source = {"path": write_table(tmp_path / "a.csv", times, {f"{name}.x": times for name in "abc"})}
    reader = IMUReader(channels=1, sensors=["c", "b", "a"])
    expected = torch.tensor([[0, 0, 1.0], [0, 0, 1], [1, 1, 0]])
    for edges in ([[0, 1], [2, 0]], [["a", "b"], ["c", "a"]]):
        assert torch.equal(reader.read(source | {"edges": edges}, 0.0, 1.0).edges, expected)
    for edges in ([[0, 3]], [[0, -1]], [[0]], [["a", "x"]], [3], ["ab", None]):
        with pytest.raises(SampleError, match=r"a\.csv: edge"):
            reader.read(source | {"edges": edges}, 0.0, 1.0)


def test_a_survey_tells_sensors_and_channels(tmp_path):
    times = np.arange(10) / 50
    sources = [str(tmp_path / "missing.csv")] + [
        write_table(tmp_path / f"{n}.csv", times, {f"{name}.{axis}": times for name in names for axis in "xy"})
        for n, names in enumerate(["ab", "bc"])
    ]
    assert IMUReader.survey({"channels": 2}, sources, tmp_path) == {"sensors": ["a", "b", "c"]}
    assert IMUReader.survey({"channels": None, "sensors": 2}, sources, tmp_path) == {"channels": 2}
    np.save(tmp_path / "a.npy", np.zeros((10, 3, 6)))
    assert IMUReader.survey({}, [{"path": str(tmp_path / "a.npy"), "rate": 10}], tmp_path) == {"sensors": 3}
    with pytest.raises(InputError, match=r"missing\.csv"):
        IMUReader.survey({}, sources[:1], tmp_path)
    with pytest.raises(ValueError, match="sensors"):
        IMUReader().blank(1.0)


BAD_TABLES = {
    "time,a.x\n0,1\n0.1,two\n": r"column 'a\.x', row 2: 'two'",
    "time,a.x\n0,1\n0.2,1\n0.1,1\n": "row 3: time 0.1 s after 0.2 s",
    "time,a.x\n0,1\n0,1\n": "row 2: time",
    "time,a.x\n,1\n0.1,1\n": "row",
    "time,a.x\n2020-01-01,1\n2020-01-02,1\n": "column 'time' makes 1.16e-05 readings per second",
    "time,a.x\nnoon,1\nlater,1\n": "column 'time', row 1: 'noon'",
    "time,b.x\n0,1\n0.1,1\n": "sensors b, none of a",
    "time,a.x\n0,1\n0.1,1,1\n": "Expected 2 columns, got 3",
    "time,t,a.x\n0,0,1\n0.1,0.1,1\n0.2,9,1\n0.3,9.1,1\n": "clocks 'time' and 't' disagree by 8.8 s",
    "0,1\n0.1,1\n": "header",
    "time\n0\n1\n": "no column but the time",
    "time,a.x\n": "no readings",
    "time,a.x,a.x\n0,1,1\n": "a.x, a.x are the same channel, ax",
    "time,time,a.x\n0,0,1\n.1,.1,1\n": "'time' occurs twice",
    "a.x\n1\n2\n": "imu_rate",
    "": "is empty",
}


@pytest.mark.parametrize("text", BAD_TABLES)
def test_a_bad_table_is_named_with_its_place(tmp_path, text):
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(SampleError, match=BAD_TABLES[text]) as error:
        IMUReader(channels=1, sensors=["a"]).read(str(path), 0.0, 1.0)
    assert str(path) in str(error.value)


def test_a_header_that_is_no_text_is_named(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"time,w\xc0ist.x\n0,1\n0.1,1\n")
    with pytest.raises(SampleError, match="header is no UTF-8"):
        IMUReader(channels=1, sensors=1).read(str(tmp_path / "a.csv"), 0.0, 1.0)


def test_moments_of_sensors_are_those_of_all_readings_of_the_files(tmp_path):
    values = [np.random.default_rng(n).normal(n, 2 + n, size=(50, 2, 6)) for n in range(2)]
    values[0][:25, 1] = np.nan
    values[0][..., 5] = values[1][..., 5] = 3.0  # nothing to divide by
    sources = []
    for number, readings in enumerate(values):
        write_imu(tmp_path / f"{number}.csv", np.arange(50) / 50, {"hip": readings[:, 0], "wrist": readings[:, 1]})
        sources += [{"path": str(tmp_path / f"{number}.csv")}] * (3 - number)  # windows of one file count once
    found = IMUReader.survey({"sensors": 2, "mean": "data", "std": "data"}, sources, tmp_path)
    assert set(found) == {"mean", "std"}
    mean = np.mean([np.nanmean(v, axis=(0, 1)) for v in values], axis=0)
    square = np.mean([np.nanmean(v**2, axis=(0, 1)) for v in values], axis=0)
    std = np.append(np.sqrt(square - mean**2)[:5], 1.0)
    np.testing.assert_allclose(found["mean"], mean, rtol=1e-3)
    np.testing.assert_allclose(found["std"], std, rtol=1e-3)
    tokenizer = IMUTokenizer(8, patch=10, mean=found["mean"], std=found["std"])
    assert IMUReader.survey({"sensors": 2, "std": [1.0] * 6}, sources, tmp_path) == {}
    assert tokenizer.std[:5].tolist() == pytest.approx(found["std"][:5])
    with pytest.raises(ValueError, match="stft"):
        IMUTokenizer(8, patch=16, kind="stft", std="data")
