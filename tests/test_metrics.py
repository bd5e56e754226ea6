"""Figures: of classification those of scikit-learn, of retrieval perfect for the same and chance for noise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from mmmae.metrics import ranking, scores, spread


@given(st.integers(0, 1000))
def test_figures_are_those_of_scikit_learn(seed):
    noise = np.random.default_rng(seed)
    labels = noise.choice([0, 1, 3], 60)
    given = noise.dirichlet(np.ones(4), 60) + 0.3 * np.eye(4)[labels]
    found, predicted, known = scores(labels, given), given.argmax(1), [0, 1, 3]
    recall = [(predicted[labels == c] == c).mean() for c in known]
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(labels, predicted))
    assert found["balanced"] == pytest.approx(np.mean(recall))
    assert found["f1"] == pytest.approx(np.mean([reference.f1_score(labels == c, predicted == c) for c in known]))
    area = np.mean([reference.roc_auc_score(labels == c, given[:, c]) for c in known])
    assert found["auroc"] == pytest.approx(area)
    assert found["map"] == pytest.approx(
        np.mean([reference.average_precision_score(labels == c, given[:, c]) for c in known])
    )


def test_dprime_is_the_distance_of_two_bells():
    noise = np.random.default_rng(0)
    labels = np.repeat([0, 1], 50_000)
    heard = noise.normal(size=100_000) + 1.7 * labels
    assert scores(labels, np.stack([-heard, heard], 1))["dprime"] == pytest.approx(1.7, abs=0.03)
    assert math.isinf(scores(labels[::5000], np.eye(2)[labels[::5000]])["dprime"])
    values = spread([{"a": 1.0}, {"a": 3.0}])["a"]
    assert values["mean"] == 2 and values["std"] == pytest.approx(math.sqrt(2))


def test_retrieval_of_the_same_is_perfect_of_noise_chance_and_of_nothing_chance():
    noise = np.random.default_rng(0)
    a, b = noise.normal(size=(2, 400, 32))
    same, chance, alike = ranking(a @ a.T), ranking(a @ b.T), ranking(np.zeros((400, 400)))
    assert same["R@1"] == same["R@10"] == same["median rank"] == 1 and same["N"] == 400
    for found in (chance, alike):
        assert abs(found["R@10"] - found["chance R@10"]) < 0.02
        assert abs(found["median rank"] - found["chance median rank"]) < 40
    similarity = np.array([[3, 1, 2], [1, 2, 3], [3, 3, 3]])  # ranks 1, 2 and any
    assert ranking(similarity)["R@1"] == pytest.approx((1 + 0 + 1 / 3) / 3)
    assert ranking(similarity)["median rank"] == 2
