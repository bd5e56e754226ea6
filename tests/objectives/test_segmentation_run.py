"""A run that learns labels over time: it finds segments to the token, keeps their names, and resumes bit for bit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import moving
import numpy as np
import pytest
import torch

from mmmae import MaskedAutoencoder
from mmmae.build import build_clips
from mmmae.corpora.writing import write_imu
from mmmae.data.loader import Loader
from mmmae.data.source import open_for
from mmmae.probe.metrics import time_scores
from mmmae.storage.checkpoint import find, load_recipe

OBJECTIVE = "segmentation: {stream: imu}"
SHORT = ("modalities.imu.patch=5", "training.save_every=40")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Recordings of 3 s at 50 Hz, pushed and turned for a while each; one row has no segments."""
    folder = tmp_path_factory.mktemp("pushed")
    noise = np.random.default_rng(0)
    rows = []
    for number in range(27):
        readings = 0.1 * noise.normal(size=(150, 6)) + [0, 0, 9.8, 0, 0, 0]
        segments = []
        for label, column in (("push", 0), ("turn", 5)):
            first = 5 * int(noise.integers(2, 12))
            readings[first : first + 60, column] += 5
            segments.append({"start": first / 50, "end": (first + 60) / 50, "label": label})
        write_imu(folder / f"{number}.csv", np.arange(150) / 50, {"hand": readings})
        rows.append({"id": f"r{number}", "imu": f"{number}.csv", "segments": segments if number else None})
        rows[-1]["split"] = "train" if number % 3 != 1 else "test"
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "rows.jsonl"


@pytest.fixture(scope="module")
def run(data, tmp_path_factory) -> Path:
    return moving.trained(data, tmp_path_factory.mktemp("run"), OBJECTIVE, *SHORT, steps=60)


@torch.no_grad()
def test_it_finds_segments_to_the_token(run, data):
    model = MaskedAutoencoder.from_pretrained(run).eval()
    _, test = open_for(model.recipe, data).split(0.2)
    batch = next(iter(Loader(build_clips(model.recipe, test, centre=True), len(test))))
    head = model.objectives["segmentation"]
    logits, _ = head.logits(model.encode(batch)["imu"])
    found = time_scores(batch.targets["segments"].numpy(), logits.sigmoid().numpy(), head.classes)
    assert found["map push"] > 0.95 and found["map turn"] > 0.95, found
    late = batch.targets["segments"].roll(2, 1).numpy()
    assert time_scores(late, logits.sigmoid().numpy())["map"] < found["map"] - 0.05


def test_the_run_keeps_the_names(run):
    assert load_recipe(find(run)).tree["objectives"]["segmentation"]["classes"] == ["push", "turn"]


def test_it_resumes_bit_for_bit(run, data, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(run, again)
    shutil.rmtree(again / "checkpoints" / "step-60")
    moving.trained(data, again, OBJECTIVE, *SHORT, steps=60)
    for name in ("model.safetensors", "optimizer.safetensors"):
        fresh, old = (folder / "checkpoints" / "step-60" / name for folder in (again, run))
        assert fresh.read_bytes() == old.read_bytes(), name
    line = json.loads((run / "log.jsonl").read_text().splitlines()[-1])
    assert "segmentation/segments" in line and "segmentation/accuracy" in line
