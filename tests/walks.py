"""Short recordings of one sensor with captions, some of which lack the one or the other, to train on in a second."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mmmae.corpora.writing import write_imu

SMALL = ["size=tiny", "window=0.8", "modalities.text.length=8", "trunk.depth=1", "data.holdout=0.2"]
QUIET = ["--workers", "0", "--log-every", "1", "--track", "none"]


def walks(folder: Path, count: int = 20, felt: Callable[[int], bool] = lambda number: True) -> Path:
    """felt: which recordings have their sensor; all have a caption."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(count):
        row = {"id": f"{number}", "text": f"they walk {'on ' * (number % 3)}"}
        if felt(number):
            noise = np.random.default_rng(number).normal(size=(50, 6))
            write_imu(folder / f"{number}.csv", np.arange(50) / 50, {"hip": noise + number % 3})
            row["imu"] = f"{number}.csv"
        rows.append(row)
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder
