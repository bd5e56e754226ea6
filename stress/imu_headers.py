"""Writes one recording under many headers and reads it back: the same signal or an error, never another signal.

    python stress/imu_headers.py --draws 5000

Draws differ in the order and names of columns, units, clocks, further and absent columns, separators, decimal commas
and what stands around the header. Prints how many were read, how many were refused, by reason, and every draw that gave
another signal.
"""

from __future__ import annotations

import argparse
import random
import re
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from modalities.errors import SampleError
from modalities.imu import IMUReader
from modalities.imu.units import DEGREE, GRAVITY
from modalities.imu.words import CHANNELS

RECORDING = Path(__file__).parents[1] / "tests/cases/imu-slow-magnetometer/dense.csv"
RATE, ROWS = 50.0, 400
SIX = CHANNELS[:6]
PREFIXES = {"a": "acceleration", "g": "angular velocity"}
NAMES: dict[str, tuple[str, str]] = {  # acceleration and angular velocity, with {x} or {X} for the axis
    "ax": ("a{x}", "g{x}"),
    "acc_x": ("acc_{x}", "gyro_{x}"),
    "accX": ("acc{X}", "gyr{X}"),
    "AccelX": ("Accel{X}", "Gyro{X}"),
    "Acc_X": ("Acc_{X}", "Gyr_{X}"),
    "ACC_X": ("ACC_{X}", "GYR_{X}"),
    "phyphox": ("Acceleration {x}", "Gyroscope {x}"),
    "ros": ("linear_acceleration.{x}", "angular_velocity.{x}"),
    "watch": ("accelerometerAcceleration{X}", "motionRotationRate{X}"),
    "wx": ("a{x}", "w{x}"),
    "long": ("accelerometer_{x}", "gyroscope_{x}"),
    "wrist": ("wrist_acc_{x}", "wrist_gyro_{x}"),
    "hand": ("hand_acc_16g_{x}", "hand_gyro_{x}"),
    "dot": ("wrist.a{x}", "wrist.g{x}"),
    "last": ("{x}_acc", "{x}_gyro"),
    "rate": ("acceleration.{x}", "rotationRate.{x}"),
    "euroc": ("a_RS_S_{x}", "w_RS_S_{x}"),
    "unheard of": ("c{x}", "d{x}"),
    "bare": ("{x}", "gyro_{x}"),
}
UNITS: dict[str, tuple[str, float, str, float]] = {  # as written (after the name), and what one is
    "none": ("", 1.0, "", 1.0),
    "plain": (" (m/s^2)", 1.0, " (rad/s)", 1.0),
    "square": (" [m/s²]", 1.0, " [rad/s]", 1.0),
    "g": (" (g)", GRAVITY, " (deg/s)", DEGREE),
    "G": ("(G)", GRAVITY, "(rad/s)", 1.0),
    "mg": (" [mg]", GRAVITY / 1000, " [dps]", DEGREE),
    "suffix": ("_g", GRAVITY, "_dps", DEGREE),
    "degree": (" (g)", GRAVITY, " (°/s)", DEGREE),
    "counts": (" (LSB)", GRAVITY / 4096, " (LSB)", DEGREE / 16.4),
    "g unstated": ("", GRAVITY, "", 1.0),
    "counts unstated": ("", GRAVITY / 4096, "", 1.0),
    "mg unstated": ("", GRAVITY / 1000, "", 1.0),
    "wrong": (" (m/s^2)", GRAVITY, "", 1.0),
    "wrong too": (" (g)", 1.0, "", 1.0),
}
EPOCH = 1.7e9
CLOCKS: dict[str, list[tuple[str, float, float]]] = {  # names, units and first stamps in seconds
    "time": [("time", 1.0, 0.0)],
    "t": [("t", 1.0, 0.0)],
    "late": [("time", 1.0, 3.0)],
    "Time (s)": [("Time (s)", 1.0, 0.0)],
    "elapsed": [("seconds_elapsed", 1.0, 0.0)],
    "ms": [("timestamp", 1e-3, 0.0)],
    "us": [("timestamp", 1e-6, 7.0)],
    "ns": [("Timestamp", 1e-9, 86400.0)],
    "time_ms": [("time_ms", 1e-3, 0.0)],
    "named ns": [("timestamp [ns]", 1e-9, EPOCH)],
    "epoch": [("timestamp", 1.0, EPOCH)],
    "epoch ms": [("epoch", 1e-3, EPOCH)],
    "unix us": [("unix_time", 1e-6, EPOCH)],
    "logger": [("time", 1e-9, EPOCH), ("seconds_elapsed", 1.0, 0.0)],
    "metawear": [("epoc (ms)", 1e-3, EPOCH), ("elapsed (s)", 1.0, 0.0)],
    "fine": [("PacketCounter", 1 / RATE, 0.0), ("SampleTimeFine", 1e-6, 5.0)],
    "mislabelled": [("time_ms", 1.0, 0.0)],
    "mislabelled too": [("Time (s)", 1e-3, 0.0)],
    "counter": [("timestamp", 1 / RATE, 0.0)],
    "ticks": [("time", 1e-7, EPOCH)],
    "days": [("time", 86400.0, 7e5 * 86400)],
    "liar": [("time", 1.0, 0.0), ("timestamp", 5.0, 0.0)],
    "none": [],
    "dates": [("date", 0.0, EPOCH)],
    "stamp and date": [("time", 1.0, 0.0), ("timestamp", 0.0, EPOCH)],
}
EXTRA = [
    "activity",
    "label",
    "subject",
    "heart_rate",
    "temperature",
    "Unnamed: 0",
    "",
    "mx",
    "magnetometer",
    "orientation",
    "gravity",
    "user",
    "magnitude",
    "flux",
    "x_filtered",
    "acc_mean_x",
    "text",
    "acc twice",
]
CHOICES: dict[str, list[Any]] = {
    "names": list(NAMES),
    "units": list(UNITS),
    "clock": list(CLOCKS),
    "delimiter": list(",;\t|"),
    "comma": [False, False, True],
    "extra": [None, *EXTRA],
    "more": [None, None, *EXTRA],
    "missing": [None, None, None, "g", "a", "az", "gx"],
    "bom": [False, True],
    "trailing": ["", "", "both", "rows", "header"],
    "above": ["", "", "# made by a logger", "sep=;", "Device: 7", "\n", "#header"],
    "below": ["", "", "units"],
    "quotes": [False, True],
    "newline": ["\n", "\r\n"],
    "rows": ["", "", "interleaved", "shuffled", "twice", "gap"],
    "spaces": [False, True],
}


def recording() -> np.ndarray:
    """Times and six readings (rows, 7) of the true recording."""
    return np.genfromtxt(RECORDING, delimiter=",", skip_header=1)[:ROWS]


def drawn(generator: random.Random) -> dict[str, Any]:
    """One draw; most of its choices are the plain ones, so that single causes show."""
    plain = {key: options[0] for key, options in CHOICES.items()} | {"order": 0}
    chosen = {key: generator.choice(options) for key, options in CHOICES.items()} | {"order": generator.randrange(1000)}
    few = generator.choice([2, 4, 8, 99])
    keys = generator.sample(list(chosen), min(few, len(chosen)))
    draw = plain | {key: chosen[key] for key in keys}
    return draw if not untold(draw) else plain


def untold(draw: Mapping[str, Any]) -> bool:
    """Whether nothing in the file can tell that it is not what it seems.

    Gravity takes three axes to see; rows without a clock have no order, and empty ones count; another accelerometer may
    stand for the first.
    """
    blind = draw["missing"] == "az" and ("unstated" in draw["units"] or "wrong" in draw["units"])
    timeless = draw["clock"] == "none" and (draw["rows"] in ("shuffled", "twice", "gap") or draw["below"] == "units")
    return blind or timeless or (draw["missing"] == "a" and "acc twice" in (draw["extra"], draw["more"]))


def write(path: Path, draw: Mapping[str, Any]) -> dict[str, Any]:
    """The recording under the header that a draw describes; returns the reader's source."""
    true, noise = recording(), np.random.default_rng(draw["order"])
    acc, acc_one, gyro, gyro_one = UNITS[draw["units"]]
    row_of_units = draw["below"] == "units"
    columns: list[tuple[str, list[str], str]] = []  # name, cells, which part of an interleaved log it belongs to
    stated = []
    for place, channel in enumerate(SIX):
        kind, axis = channel
        if draw["missing"] in (kind, channel):
            continue
        template = NAMES[draw["names"]][kind == "g"]
        name = template.format(x=axis, X=axis.upper()) + ("" if row_of_units else (acc, gyro)[kind == "g"])
        values = true[:, 1 + place] / (acc_one, gyro_one)[kind == "g"]
        columns.append((name, [f"{value:.8g}" for value in values], kind))
        stated.append((acc, gyro)[kind == "g"].strip(" ()[]_"))
    for extra in {draw["extra"], draw["more"]} - {None}:
        for name, cells in further(extra, true, noise).items():
            columns.append((name, cells, "e"))
            stated.append("")
    for name, unit, first in CLOCKS[draw["clock"]]:
        columns.append((name, stamps(true[:, 0], unit, first), "t"))
        stated.append("")
    order = noise.permutation(len(columns)) if draw["order"] else np.r_[len(columns) - 1, : len(columns) - 1]
    columns, stated = [columns[i] for i in order], [stated[i] for i in order]
    path.write_bytes(text(draw, columns, stated).encode("utf-8-sig" if draw["bom"] else "utf-8"))
    return {"path": str(path), "rate": RATE if not CLOCKS[draw["clock"]] else None}


def further(extra: str, true: np.ndarray, noise: np.random.Generator) -> dict[str, list[str]]:
    """A column (or three) that is none of the six channels."""
    count = len(true)
    slow = [f"{n % 50 + 20}.5" if n % 5 == 0 else "" for n in range(count)]
    if extra in ("mx", "magnetometer"):
        return {f"{'m' if extra == 'mx' else 'magnetometer_'}{axis}": slow for axis in "xyz"}
    if extra in ("orientation", "gravity"):
        return {f"{extra}.{axis}": [f"{value:.3f}" for value in noise.normal(size=count)] for axis in "xyz"}
    if extra == "user":
        return {f"userAcceleration.{axis}": [f"{value:.3f}" for value in noise.normal(size=count)] for axis in "xyz"}
    if extra == "text":
        return {"activity_name": ["walking"] * count}
    if extra == "acc twice":
        return {"Accelerometer X": [f"{value:.3f}" for value in noise.normal(size=count)]}
    if extra == "heart_rate":
        return {extra: slow}
    name = "acceleration_magnitude" if extra == "magnitude" else extra
    return {name: [str(n) for n in range(count)]}


def stamps(times: np.ndarray, unit: float, first: float) -> list[str]:
    if unit == 0.0:  # dates
        exact = np.datetime64(int(first), "s").astype("datetime64[us]")
        return [str(exact + np.timedelta64(round(t * 1e6), "us")).replace("T", " ") for t in times]
    if unit < 1:
        return [str(round(first / unit) + round(t / unit)) for t in times]
    return [repr(float((first + t) / unit)) for t in times]


def text(draw: Mapping[str, Any], columns: list[tuple[str, list[str], str]], stated: list[str]) -> str:
    """The file's text."""
    delimiter, quote = draw["delimiter"], '"' if draw["quotes"] else ""
    gap = " " if draw["spaces"] else ""
    names = [f"{quote}{name}{quote}" if quote or delimiter in name else name for name, _, _ in columns]
    rows = [list(row) for row in zip(*(cells for _, cells, _ in columns), strict=True)]
    if draw["rows"] == "interleaved":
        parts = [
            [cell if k in ("t", "e", kind) else "" for cell, (_, _, k) in zip(row, columns, strict=True)]
            for row in rows
            for kind in "ag"
        ]
        rows = parts
    elif draw["rows"] == "shuffled":
        rows[50], rows[60] = rows[60], rows[50]
    elif draw["rows"] == "twice":
        rows.insert(100, rows[100])
    elif draw["rows"] == "gap":
        rows = rows[:200] + rows[220:]
    if draw["comma"]:
        rows = [[cell.replace(".", ",") if re.fullmatch(r"[-\d.e+]+", cell) else cell for cell in row] for row in rows]
    lines = [(delimiter + gap).join(names) + delimiter * (draw["trailing"] in ("both", "header"))]
    if draw["below"] == "units":
        lines.append(delimiter.join(stated) + delimiter * (draw["trailing"] in ("both", "rows")))
    lines += [(delimiter + gap).join(row) + delimiter * (draw["trailing"] in ("both", "rows")) for row in rows]
    above = draw["above"]
    if above == "#header":
        lines[0] = "# " + lines[0]
    elif above:
        lines.insert(0, above)
    return draw["newline"].join(lines) + draw["newline"]


def outcome(folder: Path, draw: Mapping[str, Any]) -> tuple[str, str]:
    """ "same", "refused" or "other" for a draw, and the reason."""
    path = folder / "drawn.csv"
    try:
        source = write(path, draw)
        reader = IMUReader(rate=RATE, channels=6, sensors=1)
        found = [reader.read(source, start, 2.0) for start in (0.5, 4.0)]
    except SampleError as error:
        return "refused", error.reason
    true = recording()
    for reading, start in zip(found, (0.5, 4.0), strict=True):
        first = round(start * RATE)
        there = np.ones((100, 6), dtype=bool)
        for i, channel in enumerate(SIX):
            there[:, i] &= draw["missing"] not in (channel[0], channel)
        if draw["rows"] == "gap":
            there[max(0, 200 - first) : max(0, 220 - first)] = False
        if "user" in (draw["extra"], draw["more"]) and draw["missing"] == "a":  # then it is what there is, and said
            return (
                ("same", "") if reading is None or any("without gravity" in n for n in reading.notes) else ("other", "")
            )
        if reading is None:
            return "other", "nothing is read"
        observed, values = reading.observed[:, 0].numpy(), reading.values[:, 0].numpy()
        if (observed & ~there).any():
            return "other", "observes what is not there"
        if (there & ~observed).any():
            return "other", "misses what is there"
        apart = np.abs(values - true[first : first + 100, 1:])[there]
        if len(apart) and apart.max() > 0.02:
            return "other", f"differs by {apart.max():.3g}"
    return "same", ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--draws", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    generator = random.Random(arguments.seed)
    counts, reasons = Counter(), Counter()
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(arguments.draws):
            draw = drawn(generator)
            verdict, reason = outcome(Path(folder), draw)
            counts[verdict] += 1
            if verdict == "refused":
                reasons[re.sub(r"'.*?'|\(.*\)|[-\d.]*\d[-\d.e+]*", "..", reason)[:90]] += 1
            if verdict == "other":
                print(
                    "OTHER:", reason, {key: value for key, value in draw.items() if value != CHOICES.get(key, [0])[0]}
                )
    for reason, count in reasons.most_common():
        print(f"{count:6} refused: {reason}")
    same, refused, other = (counts[verdict] for verdict in ("same", "refused", "other"))
    print(f"{arguments.draws} draws: {same} the same signal, {refused} refused, {other} another signal")


if __name__ == "__main__":
    main()
