"""Recordings whose labels can be read off: how strong a push is and how fast a turn, as numbers and as names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from mmmae.__main__ import main
from mmmae.corpora.writing import write_imu

SMALL = (
    "size=tiny", "trunk.depth=1", "window=1", "modalities.imu.patch=10", "masking={imu: {use: random, ratio: 0}}",
    "training.batch_size=16", "training.workers=0", "training.trackers=[]", "training.save_every=60",
    "training.evaluate_every=60", "optimizer.lr=0.03",
)  # fmt: skip


def recorded(folder: Path, count: int = 24) -> np.ndarray:
    """Write `count` recordings of 1.2 s; push and turn of each (count, 2)."""
    noise = np.random.default_rng(0)
    truth = np.stack([noise.uniform(1, 9, count), noise.uniform(-3, 3, count)], 1).round(3)
    for number, (push, turn) in enumerate(truth):
        readings = 0.1 * noise.normal(size=(60, 6)) + [push, 0, 9.8, 0, 0, turn]
        write_imu(folder / f"{number}.csv", np.arange(60) / 50, {"hand": readings})
    return truth


def manifest(folder: Path, labels: list[Any], name: str = "rows.jsonl") -> Path:
    """A row for each recording; every third is for the test."""
    rows = [
        {"id": f"r{n}", "imu": f"{n}.csv", "label": label, "split": "train" if n % 3 else "test"}
        for n, label in enumerate(labels)
    ]
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder / name


def trained(data: Path, output: Path, objective: str, *more: str, steps: int = 40) -> Path:
    """The run of a small model that learns only the labels."""
    done = main(
        ["train", "--recipe", "imu_mae", "--data", str(data), "--output", str(output), "--steps", str(steps), *SMALL,
         f"objectives={{reconstruction: null, {objective}}}", *more]
    )  # fmt: skip
    assert done == 0
    return output
