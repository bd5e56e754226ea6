"""People with sensors who say what they do, the run of a small model of them, and rows whose labels are drawn."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from mmmae import Recipe
from mmmae.corpora.writing import write_imu
from mmmae.data.classes import Classes
from mmmae.data.manifest import Manifest
from mmmae.data.open_settings import fit
from mmmae.probe.splits import Split

MOTIONS = ("rest", "shake", "turn")
SENSORS = ("hand", "hip", "foot")


def motion(kind: str, person: int, take: int, seconds: float) -> np.ndarray:
    """What a sensor measures, (t, 6) at 50 Hz."""
    noise = np.random.default_rng([person, take, len(kind)])
    time = np.arange(round(50 * seconds)) / 50
    values = 0.3 * noise.normal(size=(len(time), 6)) + [0, 0, 9.8, 0, 0, 0]
    if kind == "shake":
        values[:, 0] += 8 * np.sin(2 * np.pi * (3 + 0.1 * person) * time)
    if kind == "turn":
        values[:, 5] += 3
    return values


def recorded(folder: Path) -> Path:
    """Six people with three sensors each, captions for some; a file that is no table; and the run of a small model."""
    rows = []
    for person in range(6):
        for take, kind in enumerate(MOTIONS * 2):
            name = f"{person}-{take}"
            seconds = (0.5, 0.8, 2.4)[(person + take) % 3]
            readings = {sensor: motion(kind, person, take, seconds) for sensor in SENSORS}
            write_imu(folder / f"{name}.csv", np.arange(round(50 * seconds)) / 50, readings)
            text = f"they {kind} " + "and go on " * (take % 3) if take % 4 else None
            rows.append({"id": name, "imu": f"{name}.csv", "text": text, "label": kind, "group": f"person {person}"})
    (folder / "bad.csv").write_text("no table")
    rows.insert(5, {"id": "bad", "imu": "bad.csv", "label": "rest", "group": "person 0"})
    rows.insert(9, {"id": "unlabelled", "imu": "1-0.csv", "group": "person 1"})
    write(folder, rows)
    recipe = Recipe.load("default", ["size=tiny", "window=0.8", "modalities.text.length=12"], ["imu", "text"])
    fit(recipe, Manifest.open(folder, bad=1.0), folder / "learned").build().save_pretrained(folder / "run")
    return folder


def write(folder: Path, rows: list[dict]) -> Path:
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def invented(classes: int = 3, size: int = 240, groups: int = 24) -> Split:
    """A split of rows whose labels are drawn."""
    labels = np.random.default_rng(0).integers(0, classes, size)
    rows, units = np.arange(size), [f"group {n % groups}" for n in range(size)]
    test = rows % groups < groups // 4
    return Split(labels, Classes(tuple(map(str, range(classes)))), rows[~test], rows[test], units, [])
