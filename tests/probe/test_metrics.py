"""Figures: of classification those of scikit-learn, of retrieval perfect for the same and chance for noise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from places import CASES
from sklearn import metrics as reference

from mmmae.probe.metrics import ranking, scores, spread


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


# Equal items are all right answers

REPEATED = CASES / "retrieval-same-caption" / "similarity.npy"


def brute_force(similarity: np.ndarray, queries: list, targets: list, draws: int = 400) -> dict[str, float]:
    """R@1, R@5 and the median rank of the first right answer, by sorting with ties in an order drawn many times."""
    noise, n = np.random.default_rng(0), len(similarity)
    pairs = set(zip(queries, targets, strict=True))
    right = np.array([[(q, t) in pairs for t in targets] for q in queries])
    ranks = np.empty((draws, n))
    for draw in range(draws):
        for i in range(n):
            order = np.lexsort([noise.random(n), -similarity[i]])
            ranks[draw, i] = 1 + np.flatnonzero(right[i][order])[0]
    return {"R@1": (ranks <= 1).mean(), "R@5": (ranks <= 5).mean(), "median rank": float(np.median(ranks.mean(0)))}


def test_a_perfect_model_is_perfect_though_captions_repeat():
    similarity = np.load(REPEATED)
    for found in (ranking(similarity), ranking(similarity.T)):
        assert found["R@1"] == found["R@10"] == found["median rank"] == 1
        assert found["own R@1"] == found["ceiling R@1"] == 0.25 and found["own median rank"] == 2.5
        assert found["chance R@1"] == pytest.approx(1 / 3) and found["repeated"] == 1
        assert (found["N"], found["distinct queries"], found["distinct targets"]) == (12, 3, 3)


def test_videos_that_differ_share_the_right_caption():
    """Rows differ, columns are equal: what a good model gives for videos of which four each have one caption."""
    noise = np.random.default_rng(0)
    captions = np.repeat(noise.normal(size=(10, 16)), 4, axis=0)
    similarity = (captions + 0.01 * noise.normal(size=captions.shape)) @ captions.T
    for found in (ranking(similarity), ranking(similarity.T)):
        assert found["R@1"] == found["median rank"] == 1 and found["ceiling R@1"] == 0.25
        assert found["own R@1"] <= 0.5
    assert ranking(similarity)["distinct queries"] == 40 and ranking(similarity)["distinct targets"] == 10


def test_one_repeated_caption_counts_for_its_recordings_alone():
    similarity = np.eye(6)
    similarity[0, 1], similarity[0, 0] = 2, 1  # the caption of 1 is nearer to the video of 0, and is the same
    assert ranking(similarity, range(6), list("aabcde"))["R@1"] == 1
    assert ranking(similarity, range(6), list("abcdef"))["R@1"] == pytest.approx(5 / 6)
    found = ranking(similarity, range(6), list("aabcde"))
    assert found["repeated"] == pytest.approx(1 / 3) and found["ceiling R@1"] == pytest.approx(5 / 6)


def test_a_video_with_two_captions_shares_them_with_other_videos():
    """Videos v, v, w with captions x, y, x: y is right for v alone, x for both videos, and either video for x."""
    similarity = np.array([[0.0, 0, 1], [0, 0, 1], [1, 0, 0]])
    assert ranking(similarity, list("vvw"), list("xyx"))["R@1"] == 1
    assert ranking(similarity.T, list("xyx"), list("vvw"))["R@1"] == pytest.approx((1 + 2 / 3 + 1) / 3)


@given(st.integers(0, 10_000))
def test_figures_are_the_mean_over_random_orders_of_ties(seed):
    noise = np.random.default_rng(seed)
    n = int(noise.integers(2, 9))
    similarity = noise.integers(0, 3, (n, n)).astype(float)
    queries, targets = (noise.integers(0, 4, n).tolist() for _ in range(2))
    found, expected = ranking(similarity, queries, targets), brute_force(similarity, queries, targets)
    assert found["R@1"] == pytest.approx(expected["R@1"], abs=0.1)
    assert found["R@5"] == pytest.approx(expected["R@5"], abs=0.1)
    assert found["median rank"] == pytest.approx(expected["median rank"], abs=0.5)


def test_chance_is_what_a_random_order_gives():
    noise = np.random.default_rng(1)
    captions = [i // 10 for i in range(300)] + list(range(100, 160))
    similarity = noise.normal(size=(360, 360))
    found = ranking(similarity, range(360), captions)
    assert found["R@10"] == pytest.approx(found["chance R@10"], abs=0.06)
    assert found["median rank"] == pytest.approx(found["chance median rank"], abs=8)
    collapsed = ranking(np.zeros((360, 360)), range(360), captions)
    assert collapsed["R@10"] == pytest.approx(collapsed["chance R@10"])


def test_a_collapsed_model_is_not_taken_for_equal_items():
    noise = np.random.default_rng(2)
    same = np.repeat(noise.normal(size=(1, 8)), 50, axis=0)
    for similarity in (noise.normal(size=(50, 8)) @ same.T, same @ same.T):
        found = ranking(similarity)
        assert found["repeated"] == 0 and found["chance R@1"] == pytest.approx(1 / 50)
        assert found["R@1"] < 0.1


def test_items_of_another_number_are_refused():
    with pytest.raises(ValueError, match="3 pairs got 2 items"):
        ranking(np.eye(3), ["a", "b"])


@given(st.integers(0, 1000), st.floats(1e-9, 1e9))
def test_a_ranking_does_not_depend_on_the_scale_of_similarities(seed, scale):
    """Items are equal where their rows are, however small all similarities are."""
    noise = np.random.default_rng(seed)
    rows = noise.integers(0, 4, 12)
    similarity = noise.normal(size=(4, 4))[rows][:, rows]
    assert ranking(scale * similarity) == ranking(similarity)
    assert ranking(similarity)["distinct queries"] == len(np.unique(rows))


def test_the_spread_of_one_seed_is_nothing():
    assert spread([{"a": 2.0}])["a"] == {"mean": 2.0, "std": 0.0, "values": [2.0]}
    assert math.isnan(spread([{"a": 2.0}, {"a": math.nan}])["a"]["std"])
