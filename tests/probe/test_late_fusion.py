"""Late fusion: probes of single streams together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from people import invented

from mmmae.probe.features import FrozenFeatures
from mmmae.probe.fitting import Ablation, Probe
from mmmae.probe.late_fusion import fuse
from mmmae.probe.results import ClassScores


@given(st.integers(0, 2**32), st.integers(1, 3))
def test_voices_are_multiplied_where_they_are_heard_in_any_order(seed, count):
    noise = np.random.default_rng(seed)
    voices = []
    for _ in range(count):
        indices = np.flatnonzero(noise.random(20) < 0.7) + 5
        voices.append(ClassScores(indices, noise.dirichlet(np.ones(4), len(indices))))
    said = fuse(voices)
    assert set(said.indices) == set(np.concatenate([voice.indices for voice in voices]))
    for index, row in zip(said.indices, said.probabilities, strict=True):
        heard = [voice.probabilities[voice.indices == index][0] for voice in voices if index in voice.indices]
        np.testing.assert_allclose(row, np.prod(heard, 0) / np.prod(heard, 0).sum(), rtol=1e-9)
    again = fuse(voices[::-1])
    np.testing.assert_allclose(again.probabilities, said.probabilities, rtol=1e-9)


def test_one_that_knows_nothing_changes_nothing_and_one_that_never_saw_a_class_does_not_settle_it():
    rows = np.arange(2)
    sure, vague = ClassScores(rows, np.array([[0.9, 0.1], [0.2, 0.8]])), ClassScores(rows, np.full((2, 2), 0.5))
    np.testing.assert_allclose(fuse([sure, vague]).probabilities, sure.probabilities)
    never = ClassScores(rows, np.array([[0.0, 1.0], [0.0, 1.0]]))
    said = fuse([ClassScores(rows, np.array([[1.0, 0.0], [1.0, 0.0]])), never]).probabilities
    assert np.isfinite(said).all() and np.allclose(said, 0.5)


def test_what_is_left_when_a_stream_is_withheld_is_what_the_other_says_alone(model):
    rows, noise = invented(), np.random.default_rng(0)
    size = len(rows.labels)
    found = {}
    for name, loud in (("imu", 1.0), ("text", 2.0)):
        x = noise.normal(size=(size, 4)) + loud * np.eye(4)[rows.labels]
        found[name, "pretrained"] = FrozenFeatures(np.arange(size), {name: x.astype(np.float32)})
    probe = Probe({"pretrained": model}, ["imu", "text"], [rows], "linear", 2)
    imu, text, both = probe.results(found, [])
    assert (imu.features, both.features, both.train) == ("imu", "imu|text", imu.train)
    accuracy = [np.mean([seed["accuracy"] for seed in result.seeds]) for result in (imu, text, both)]
    assert accuracy[0] < accuracy[1] < accuracy[2]
    sensors = Ablation("imu", "imu", (1, 3))
    left = {(r.features, r.withheld, r.sensors): r for r in probe.dropped({sensors: found["imu", "pretrained"]})}
    for told, expected in (
        (left["imu|text", "text", None], imu.seeds),
        (left["imu|text", "imu", None], text.seeds),
        (left["imu|text", "imu", (1, 3)], both.seeds[:1]),  # all sensors were there after all
    ):
        assert told.seeds == [pytest.approx(seed) for seed in expected]
