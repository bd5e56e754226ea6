"""Recordings as loggers write them: what each channel measured is read, what is not certain is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from places import CASES
from pyarrow import parquet

from mmmae import Recipe
from modalities.errors import InputError, SampleError
from modalities.imu import IMUReader, IMUTokenizer

SIX = ("ax", "ay", "az", "gx", "gy", "gz")
TRUE = np.genfromtxt(CASES / "imu-slow-magnetometer/dense.csv", delimiter=",", names=True)


def reader(**settings) -> IMUReader:
    return IMUReader(**{"rate": 50.0, "channels": 6, "sensors": 1, **settings})


def write(path: Path, columns: dict, rows: int = 500) -> str:
    """The first rows of some columns as CSV; NaN is an empty cell."""
    cells = [["" if isinstance(x, float) and np.isnan(x) else str(x) for x in list(c)[:rows]] for c in columns.values()]
    path.write_text("\n".join([",".join(columns), *map(",".join, zip(*cells, strict=True))]) + "\n")
    return str(path)


def true(*names: str) -> dict:
    return {"time": TRUE["time"], **{name: TRUE[name] for name in names}}


def same(reading, start: float = 1.0, channels=SIX) -> bool:
    first = round(start * 50)
    expected = np.stack([TRUE[name][first : first + len(reading.values)] for name in channels], axis=1)
    found = reading.values[:, 0, : len(channels)].numpy()
    return bool(reading.observed[:, 0, : len(channels)].all()) and np.abs(found - expected).max() < 0.02


# Validity belongs to each channel


def test_a_slower_magnetometer_changes_nothing_of_the_others():
    slow, dense = (str(CASES / "imu-slow-magnetometer" / name) for name in ("slow.csv", "dense.csv"))
    for start in (0.0, 2.0, 17.44):
        a, b = (reader().read(path, start, 2.56) for path in (slow, dense))
        assert torch.equal(a.values, b.values) and torch.equal(a.observed, b.observed) and same(a, start)
    nine = reader(channels=9).read(slow, 2.0, 2.56)
    assert same(nine, 2.0) and nine.observed.all()
    assert torch.equal(nine.values[0, 0, 6:], torch.tensor([20.0, 21, 22]))


@pytest.mark.parametrize("period", [7, 250, 10_000])
def test_unread_columns_never_thin_a_recording(tmp_path, period):
    rare = np.where(np.arange(1000) % period == 3, 40.0, np.nan)
    path = write(tmp_path / "a.csv", true(*SIX) | {"mx": rare, "heart_rate": rare, "temperature": rare})
    reading = reader().read(path, 1.0, 2.0)
    assert same(reading) and reader().seconds(path) == pytest.approx(10.0)


def test_accelerometer_and_gyroscope_in_turn_are_each_interpolated_from_their_own_rows():
    path = str(CASES / "imu-interleaved-acc-gyro/merged.csv")
    table = np.genfromtxt(path, delimiter=",", names=True)
    reading = reader().read(path, 2.0, 2.56)
    assert reading.observed.all()
    ticks = 2.0 + np.arange(128) / 50
    for place, name in enumerate(("ax", "ay", "az")):
        rows = np.isfinite(table[name])
        line = np.interp(ticks, table["time"][rows], table[name][rows])
        np.testing.assert_allclose(reading.values[:, 0, place], line, atol=1e-5)
    assert np.abs(reading.values[:, 0, 3:].numpy().std(0) - [0.43, 0.215, 0.141]).max() < 0.01
    assert reader(channels=3).read(path, 2.0, 2.56).observed.all()


def test_rows_of_one_stamp_may_hold_different_sensors(tmp_path):
    lines = ["time,ax,ay,az,gx,gy,gz"]
    for row in TRUE[:300]:
        lines += [
            f"{row['time']},{row['ax']},{row['ay']},{row['az']},,,",
            f"{row['time']},,,,{row['gx']},{row['gy']},{row['gz']}",
        ]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    assert same(reader().read(str(tmp_path / "a.csv"), 1.0, 2.0))
    lines.insert(200, lines[199])
    (tmp_path / "a.csv").write_text("\n".join(lines))
    with pytest.raises(SampleError, match=r"row 200: time .* does not increase\n.*imu_rate"):
        reader().read(str(tmp_path / "a.csv"), 1.0, 2.0)


def test_sensors_of_two_rates_and_channels_share_a_table(tmp_path):
    half = np.where(np.arange(1000) % 2 == 0, TRUE["ax"], np.nan)
    columns = true() | {f"hip.{name}": TRUE[name] for name in SIX} | {"wrist_acc_x": half}
    reading = reader(sensors=["hip", "wrist"]).read(write(tmp_path / "a.csv", columns), 1.0, 2.0)
    assert same(reading) and reading.observed[:, 1].float().mean(0).tolist() == [1, 0, 0, 0, 0, 0]
    assert np.abs(reading.values[::2, 1, 0].numpy() - TRUE["ax"][50:150:2]).max() < 1e-5
    assert any("lacks channels" in note for note in reading.notes)


def test_a_sensor_without_gyroscope_keeps_its_acceleration(tmp_path):
    reading = reader().read(write(tmp_path / "a.csv", true("ax", "ay", "az")), 1.0, 2.0)
    assert same(reading, channels=SIX[:3]) and not reading.observed[..., 3:].any()
    assert reading.notes == ("lacks channels that the recipe reads, which are unobserved: gx, gy, gz",)
    with pytest.raises(InputError, match=r"has gx, gy, gz.*\n.*channels=3"):
        IMUReader.survey({}, [str(tmp_path / "a.csv")], tmp_path)


def test_a_gap_is_judged_by_the_period_of_its_own_channel(tmp_path):
    columns = true(*SIX)
    columns["gx"] = columns["gx"].copy()
    columns["gx"][60:70] = np.nan
    reading = reader().read(write(tmp_path / "a.csv", columns), 1.0, 2.0)
    assert (~reading.observed[:, 0, 3]).nonzero()[:, 0].tolist() == list(range(10, 20))
    assert reading.observed[:, 0, [0, 1, 2, 4, 5]].all()


# Channels by name


def test_a_label_among_the_readings_is_passed_over_with_a_note():
    reading = reader().read(str(CASES / "imu-label-column/rec.csv"), 2.0, 2.56)
    assert same(reading, 2.0) and reading.notes == ("ignored columns that are no readings: activity",)


def test_words_in_columns_that_are_not_read_are_no_matter(tmp_path):
    columns = {"subject": ["anna"] * 1000, "label": ["walk"] * 1000} | true(*SIX) | {"placement": [1] * 1000}
    with pytest.raises(
        SampleError, match=r"column placement: no reading .*\n.*`modalities.imu.ignore='\[placement\]'`"
    ):
        reader().read(write(tmp_path / "a.csv", columns), 1.0, 2.0)
    assert same(reader(ignore=["placement"]).read(str(tmp_path / "a.csv"), 1.0, 2.0))


def test_a_mapping_says_which_columns_are_read(tmp_path):
    columns = (
        {"clock no 1": TRUE["time"] * 1000} | {f"c{i}": TRUE[name] for i, name in enumerate(SIX)} | {"c6": TRUE["ax"]}
    )
    path = write(tmp_path / "a.csv", columns)
    with pytest.raises(SampleError, match=r"columns clock no 1, c0, .*\n.*columns='\{time: COLUMN, ax: COLUMN,"):
        reader().read(path, 1.0, 2.0)
    mapping = {"time": "clock no 1"} | {name: f"c{i}" for i, name in enumerate(SIX)}
    assert same(reader(columns=mapping).read(path, 1.0, 2.0))
    line = "modalities.imu.columns={" + ", ".join(f"{key}: {name}" for key, name in mapping.items()) + "}"
    recipe = Recipe.load("default", [line, "modalities.imu.sensors=1", "modalities.imu.units.time=ms"], ["imu"])
    assert same(recipe.readers()["imu"].read(path, 1.0, 2.0))
    with pytest.raises(SampleError, match=r"no column 'c9', which `modalities.imu.columns` maps to gz"):
        reader(columns=mapping | {"gz": "c9"}).read(path, 1.0, 2.0)
    with pytest.raises(ValueError, match=r"columns\.azimuth"):
        reader(columns={"azimuth": "c1"})


def test_channels_may_be_named_and_be_others(tmp_path):
    path = write(tmp_path / "a.csv", true(*SIX) | {"pressure": np.arange(1000.0)})
    reading = reader(channels=["gz", "ax", "pressure"]).read(path, 1.0, 2.0)
    assert same(reading, channels=("gz", "ax")) and torch.equal(reading.values[:, 0, 2], torch.arange(50.0, 150))
    recipe = Recipe.load("default", ["modalities.imu.channels=[gz,ax,pressure]", "modalities.imu.sensors=1"], ["imu"])
    assert recipe.readers()["imu"].shape == (1, 3)
    assert IMUTokenizer(8, channels=["gz", "ax", "mx", "pressure"]).std[:4].tolist() == pytest.approx(
        [3.14, 9.81, 50, 1]
    )
    assert IMUReader.survey({"channels": None}, [path], tmp_path) == {"sensors": ["imu"], "channels": 6}


def test_a_file_of_its_own_tells_what_x_y_z_are(tmp_path):
    columns = {"seconds_elapsed": TRUE["time"], "z": TRUE["gz"], "y": TRUE["gy"], "x": TRUE["gx"]}
    reading = reader().read(write(tmp_path / "Gyroscope.csv", columns), 1.0, 2.0)
    assert np.abs(reading.values[:, 0, 3:].numpy() - np.stack([TRUE[c][50:150] for c in SIX[3:]], 1)).max() < 1e-5
    assert not reading.observed[..., :3].any()
    reading = reader().read(write(tmp_path / "walk.csv", columns), 1.0, 2.0)
    assert "columns x, y, z are read as acceleration" in reading.notes
    with pytest.raises(SampleError, match="no reading"):
        reader().read(write(tmp_path / "Gravity.csv", columns), 1.0, 2.0)


def test_acceleration_with_gravity_goes_before_that_without(tmp_path):
    user = {f"userAcceleration.{axis}": TRUE[f"g{axis}"] for axis in "xyz"}
    reading = reader().read(write(tmp_path / "a.csv", true() | user | {k: TRUE[k] for k in SIX}), 1.0, 2.0)
    assert same(reading) and "acceleration with gravity is read, that without is ignored" in reading.notes
    reading = reader(channels=3).read(write(tmp_path / "b.csv", true() | user), 1.0, 2.0)
    assert np.abs(reading.values[:, 0, 0].numpy() - 9.80665 * TRUE["gx"][50:150]).max() < 1e-4
    assert {"acceleration is without gravity", "acceleration is in g: converted to m/s^2"} <= set(reading.notes)
    mixed = true("ax") | user
    with pytest.raises(SampleError, match="fewer axes of acceleration itself"):
        reader(channels=3).read(write(tmp_path / "c.csv", mixed), 1.0, 2.0)


def test_parquet_columns_may_be_dates_and_words(tmp_path):
    times = [np.datetime64("2024-05-01T12:00:00") + np.timedelta64(round(t * 1e6), "us") for t in TRUE["time"][:300]]
    table = {"gz": TRUE["gz"][:300], "when": ["x"] * 300, "activity": ["walk"] * 300, "timestamp": times}
    table |= {name: TRUE[name][:300] for name in SIX[:5]}
    parquet.write_table(pa.table(table), tmp_path / "a.parquet")
    assert same(reader(ignore=["when"]).read(str(tmp_path / "a.parquet"), 1.0, 2.0))


# Units and rates that can be


def test_milliseconds_are_converted_with_a_note():
    reading = reader().read(str(CASES / "imu-time-in-milliseconds/ms.csv"), 2.0, 2.56)
    assert same(reading, 2.0)
    assert reading.notes == ("time stamps of column 'timestamp' are in milliseconds: converted to seconds",)
    assert reader().seconds(str(CASES / "imu-time-in-milliseconds/ms.csv")) == pytest.approx(20.0)


def test_units_of_the_recipe_are_converted(tmp_path):
    columns = {"time": TRUE["time"] * 1000} | {k: TRUE[k] / (9.80665 if k[0] == "a" else np.pi / 180) for k in SIX}
    stated = {"acceleration": "g", "angular_velocity": "deg/s", "time": "ms"}
    path = write(tmp_path / "a.csv", columns)
    reading = reader(units=stated).read(path, 1.0, 2.0)
    assert same(reading) and "angular velocity is in deg/s: converted to rad/s" in reading.notes
    counts = {"time": TRUE["time"]} | {k: np.round(TRUE[k] / (9.80665 / 4096)) for k in SIX[:3]}
    reading = reader(units={"acceleration": 9.80665 / 4096}).read(write(tmp_path / "b.csv", counts), 1.0, 2.0)
    assert same(reading, channels=SIX[:3])
    for bad in ({"speed": "m/s"}, {"acceleration": "kg"}, {"time": "fortnights"}, {"acceleration": -1.0}):
        with pytest.raises(ValueError, match=r"units|unit|factor"):
            reader(units=bad)


def test_readings_without_gravity_are_not_converted(tmp_path):
    random = np.random.default_rng(0)
    columns = {"time": np.arange(1000) / 50} | {k: random.normal(0, 0.65, 1000) for k in SIX[:3]}  # norms about 1
    reading = reader(channels=3).read(write(tmp_path / "a.csv", columns, 1000), 1.0, 2.0)
    assert np.abs(reading.values[:, 0, 0].numpy() - columns["ax"][50:150]).max() < 1e-5 and reading.notes == ()


def test_walking_in_g_without_a_unit_is_refused(tmp_path):
    random = np.random.default_rng(0)
    size = 1 + 0.2 * np.sin(np.arange(1000) / 40) + random.normal(0, 0.1, 1000)
    columns = {"time": np.arange(1000) / 50, "ax": 0.1 * size, "ay": 0.2 * size, "az": 0.97 * size}
    with pytest.raises(SampleError, match=r"looks like g.*\n.*units.acceleration=g"):
        reader(channels=3).read(write(tmp_path / "a.csv", columns, 1000), 1.0, 2.0)
    reading = reader(channels=3, units={"acceleration": "g"}).read(str(tmp_path / "a.csv"), 1.0, 2.0)
    assert reading.values[..., 2].mean() == pytest.approx(9.5, abs=1.5)


def test_two_seconds_of_a_fall_do_not_contradict_a_stated_unit(tmp_path):
    columns = {"time": np.arange(1000) / 50, **{f"{k} (m/s^2)": np.full(1000, 0.58) for k in SIX[:3]}}
    short = write(tmp_path / "short.csv", columns, 150)
    reading = reader(channels=3).read(short, 0.0, 2.0)
    assert float(reading.values.max()) == pytest.approx(0.58) and "header states m/s^2" in reading.notes[0]
    with pytest.raises(SampleError, match="is in g"):  # ten seconds do
        reader(channels=3).read(write(tmp_path / "long.csv", columns, 1000), 0.0, 2.0)


def test_degrees_read_as_radians_are_refused_where_they_are_too_fast(tmp_path):
    columns = true(*SIX) | {k: TRUE[k] * 180 / np.pi * 9 for k in SIX[3:]}
    with pytest.raises(SampleError, match=r"too fast for rad/s\n.*angular_velocity=deg/s"):
        reader().read(write(tmp_path / "a.csv", columns), 1.0, 2.0)


@pytest.mark.parametrize(("rate", "note"), [(50, False), (25, False), (20, True), (10, True), (4, None), (0.05, None)])
def test_a_slow_recording_is_noted_and_a_far_too_slow_one_refused(tmp_path, rate, note):
    columns = {"time (s)": np.arange(200) / rate, "ax": np.ones(200)}
    path = write(tmp_path / "a.csv", columns)
    if note is None:
        with pytest.raises(SampleError, match=rf"makes {rate:g} readings per second, the recipe reads 50\n.*imu.rate"):
            reader().read(path, 0.0, 1.0)
        assert reader(units={"time": "s"}).read(path, 0.0, 1.0).notes  # who states it has it, with the note
        assert reader(rate=float(rate)).read(path, 0.0, 10 / rate).length == 10
    else:
        assert any("half as many" in text for text in reader().read(path, 0.0, 1.0).notes) == note


# Arrays


def test_an_array_of_windows_is_refused_and_read_by_its_rows():
    path = str(CASES / "imu-npy-of-windows/X.npy")
    for settings in ({"sensors": None}, {}):
        with pytest.raises(SampleError, match=r"\(24, 128, 6\).*\n.*`imu_window` 0 to 23"):
            reader(**settings).seconds({"path": path, "rate": 50})
    with pytest.raises(InputError, match="128 sensors"):
        IMUReader.survey({}, [{"path": path, "rate": 50}], Path())
    array = np.load(path)
    for window in (0, 23):
        source = {"path": path, "rate": 50, "window": window}
        assert reader().seconds(source) == 2.56
        assert np.array_equal(reader().read(source, 0.0, 2.56).values[:, 0].numpy(), array[window].astype(np.float32))
    for window in (24, -1, 1.0, "1", True):
        with pytest.raises(SampleError, match="window"):
            reader().read({"path": path, "rate": 50, "window": window}, 0.0, 1.0)


@pytest.mark.parametrize("shape", [(64, 200, 3), (30, 32, 6), (300, 20, 6), (6, 1000), (1000, 7), (9, 4, 128, 6)])
def test_shapes_that_are_no_recording_are_refused(tmp_path, shape):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(size=shape).cumsum(-2))
    with pytest.raises(SampleError, match="has the shape"):
        reader(sensors=None).seconds({"path": str(tmp_path / "a.npy"), "rate": 50})


@pytest.mark.parametrize(
    ("shape", "sensors"), [((500, 17, 6), None), ((500, 64, 6), 64), ((10, 3, 6), 3), ((500, 9), 1)]
)
def test_shapes_of_recordings_are_read(tmp_path, shape, sensors):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(size=shape).cumsum(0))
    source = {"path": str(tmp_path / "a.npy"), "rate": 50}
    assert reader(sensors=sensors).seconds(source) == shape[0] / 50
    assert reader(sensors=17 if sensors is None else sensors).read(source, 0.0, 0.2).values.shape[1:] == (
        sensors or 17,
        6,
    )


def test_windows_of_an_array_are_all_in_one_unit(tmp_path):
    array = np.stack([TRUE[name] / (9.80665 if name[0] == "a" else 1) for name in SIX], axis=1)[:960].reshape(-1, 64, 6)
    array[4] *= 0.2  # a window that alone would not tell
    np.save(tmp_path / "a.npy", array)
    for window in (3, 4):
        found = (
            reader().read({"path": str(tmp_path / "a.npy"), "rate": 50, "window": window}, 0.0, 1.28).values[:, 0, :3]
        )
        np.testing.assert_allclose(found, array[window, :, :3] * 9.80665, rtol=1e-5)


# What is reported


def test_a_description_tells_rate_units_channels_and_gaps(tmp_path):
    columns = (
        {"Time (s)": TRUE["time"]} | {f"Acc {k[1]} (g)": TRUE[k] / 9.80665 for k in SIX[:3]} | {"gx": np.zeros(1000)}
    )
    rows = np.r_[0:200, 250:500]
    found = reader().describe(write(tmp_path / "a.csv", {key: cells[rows] for key, cells in columns.items()}))
    assert found["seconds"] == pytest.approx(10.0) and found["rate"] == pytest.approx(50.0)
    assert found["units"] == "acceleration g, angular velocity rad/s" and found["channels"] == "ax, ay, az, gx"
    assert found["largest gap (s)"] == pytest.approx(1.02) and found["constant channels"] == "gx"
    assert found["missing ax"] == pytest.approx(0.102) and found["sensors"] == "imu"


def test_moments_are_those_of_each_channel(tmp_path):
    path = str(tmp_path / "slow.csv")
    shutil.copy(CASES / "imu-slow-magnetometer/slow.csv", path)
    found = IMUReader.survey({"channels": 9, "mean": "data", "std": "data"}, [path], tmp_path)
    np.testing.assert_allclose(found["mean"][:6], [TRUE[name].mean() for name in SIX], atol=1e-3)
    assert found["mean"][6:] == [20.0, 21.0, 22.0] and found["std"][6:] == [1.0, 1.0, 1.0]
