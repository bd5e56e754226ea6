"""One true recording under many headers comes back as the same signal or as an error, never as another signal."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from places import ROOT

sys.path.insert(0, str(ROOT / "stress"))
import imu_headers

from modalities.errors import SampleError
from modalities.imu import IMUReader
from modalities.imu.names import is_no_reading, read_name

PLAIN = {key: options[0] for key, options in imu_headers.CHOICES.items()} | {"order": 0}


@settings(max_examples=150)
@given(changed=st.lists(st.sampled_from(list(imu_headers.CHOICES)), max_size=5, unique=True), data=st.data())
def test_no_header_gives_another_signal(tmp_path_factory, changed, data):
    draw = PLAIN | {key: data.draw(st.sampled_from(imu_headers.CHOICES[key])) for key in changed}
    draw["order"] = data.draw(st.integers(0, 5))
    if imu_headers.untold(draw):
        return
    verdict, reason = imu_headers.outcome(tmp_path_factory.mktemp("imu"), draw)
    assert verdict != "other", reason


READ = {
    "names": [name for name in imu_headers.NAMES if name != "unheard of"],
    "units": ["none", "plain", "square", "g", "G", "mg", "suffix", "degree", "g unstated"],
    "clock": [
        "time", "t", "late", "Time (s)", "elapsed", "ms", "us", "ns", "time_ms", "named ns", "epoch", "epoch ms",
        "unix us", "logger", "metawear", "fine", "none", "dates", "stamp and date",
    ],
    "delimiter": [",", ";", "\t", "|"],
    "extra": [
        "activity", "label", "subject", "heart_rate", "temperature", "Unnamed: 0", "", "mx", "magnetometer",
        "orientation", "gravity", "user", "magnitude", "text",
    ],
    "missing": ["g", "a", "az", "gx"], "bom": [True], "quotes": [True], "newline": ["\r\n"], "spaces": [True],
    "trailing": ["both"], "rows": ["interleaved", "gap"],
    "above": ["# made by a logger", "sep=;", "Device: 7", "\n", "#header"],
}  # fmt: skip


@pytest.mark.parametrize(("key", "option"), [(key, option) for key, options in READ.items() for option in options])
def test_usual_headers_are_read_right(tmp_path, key, option):
    draw = PLAIN | {key: option, "order": 3}
    if option == "sep=;":
        draw["delimiter"] = ";"
    assert imu_headers.outcome(tmp_path, draw) == ("same", "")


REFUSED = {
    ("names", "unheard of"): r"columns='\{time: time, ",
    ("units", "counts"): "'LSB' of acceleration is not known",
    ("units", "counts unstated"): "not in m/s",
    ("units", "wrong"): "states m/s.2, but its acceleration is in g",
    ("units", "wrong too"): "states g, but its acceleration is in m/s.2",
    ("clock", "mislabelled"): "makes 5e.04 readings per second",
    ("clock", "mislabelled too"): "makes 0.05 readings per second",
    ("clock", "counter"): "its unit is not certain",
    ("clock", "ticks"): "its unit is not certain",
    ("clock", "liar"): "'timestamp' and 'time' disagree",
    ("extra", "flux"): r"ignore='\[flux\]'",
    ("extra", "acc_mean_x"): r"ignore='\[acc_mean_x\]'",
    ("extra", "acc twice"): "are the same channel, ax",
    ("rows", "shuffled"): "does not increase",
    ("rows", "twice"): "does not increase",
    ("trailing", "rows"): "Expected 7 columns, got 8",
}


@pytest.mark.parametrize(("key", "option"), REFUSED)
def test_doubtful_headers_are_refused_with_words(tmp_path, key, option):
    source = imu_headers.write(tmp_path / "a.csv", PLAIN | {key: option})
    with pytest.raises(SampleError, match=REFUSED[key, option]):
        IMUReader(sensors=1).read(source, 0.5, 2.0)


def test_decimal_commas_are_read_where_they_separate_nothing(tmp_path):
    for delimiter in ";\t|":
        draw = PLAIN | {"comma": True, "delimiter": delimiter}
        assert imu_headers.outcome(tmp_path, draw) == ("same", "")
    assert imu_headers.outcome(tmp_path, PLAIN | {"comma": True})[0] == "refused"


NAMES = {
    "body0.ax": ("body0", "ax", None), "body_1_acc_x": ("body_1", "ax", None), "lthigh.gz": ("lthigh", "gz", None),
    "ax": ("", "ax", None), "acc_x": ("", "ax", None), "accX": ("", "ax", None), "AccelX": ("", "ax", None),
    "Acceleration x (m/s^2)": ("", "ax", "m/s^2"), "linear_acceleration.x": ("", "ax", None),
    "userAcceleration.x": ("", "ax", "g"), "Accelerometer_y": ("", "ay", None), 
    "LinearAccelerometer.z": ("", "az", None),
    "accelerometerAccelerationX(G)": ("", "ax", "g"), "motionRotationRateX(rad/s)": ("", "gx", "rad/s"),
    "rotationRate.y": ("", "gy", None), "wz": ("", "gz", None), "GYR_X": ("", "gx", None), "Mag_Z": ("", "mz", None),
    "Magnetic field x (µT)": ("", "mx", "uT"), "x-axis (g)": ("", "ax", "g"), "x-axis (deg/s)": ("", "gx", "deg/s"),
    "x-axis (T)": ("", "mx", "T"), "wrist.ax": ("wrist", "ax", None), "left wrist.gx": ("left wrist", "gx", None),
    "left_wrist_gyro_z": ("left_wrist", "gz", None), "hand_acc_16g_x": ("hand", "ax", None),
    "wrist.accelerometer.x": ("wrist", "ax", None), "IMU1_acc_x": ("IMU1", "ax", None), 
    "gyro_rad[2]": ("", "gz", "rad/s"),
    "accelerometer_m_s2[0]": ("", "ax", "m/s^2"), "acc_x_mg": ("", "ax", "mg"), "gyro_x_deg_s": ("", "gx", "deg/s"),
    "w_RS_S_x [rad s^-1]": ("RS_S", "gx", "rad/s"), "accelerationIncludingGravity.x": ("", "ax", None),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_names_of_loggers_are_known(name):
    found = read_name(name)
    assert found is not None and found.known and (found.sensor, found.channel, found.unit) == NAMES[name]


@pytest.mark.parametrize(
    "name",
    ["acc_x_mean", "mean_acc_x", "gyro_bias_x", "position.x", "wrist_x", "acc_1_x", "gravity_x", "acc_mag", "c0"],
)
def test_what_is_made_of_readings_is_no_reading(name):
    assert read_name(name) is None


def test_labels_and_counters_are_known_as_such_and_readings_are_not():
    for name in (
        "activity",
        "Subject_ID",
        "Unnamed: 0",
        "heart_rate",
        "quaternion_w",
        "PacketCounter",
        "acc_magnitude",
    ):
        assert is_no_reading(name), name
    for name in ("flux", "c0", "acc_x_filtered", "emg", "position.x"):
        assert not is_no_reading(name), name


def test_the_true_recording_is_worth_the_name():
    true = imu_headers.recording()
    assert true.shape == (400, 7) and (true[:, 1:].std(0) > 0.1).all() and np.ptp(np.diff(true[:, 0])) < 1e-6
