"""Classifiers of probes: they find what is in the features, and are chosen without the test."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from people import invented
from sklearn.linear_model import LogisticRegression

from mmmae.api import MaskedAutoencoder
from mmmae.data.classes import Classes
from mmmae.probe.attentive import attentive
from mmmae.probe.classifiers import STRENGTHS, Examples, knn, linear, log_loss, prepared, strongest
from mmmae.probe.features import FrozenFeatures
from mmmae.probe.fitting import CLASSIFIERS, Probe, majority
from mmmae.probe.splits import Split


def classes(count: int) -> Classes:
    return Classes(tuple(map(str, range(count))))


def features(rows: Split, hint: float, width: int = 8, tokens: int = 3) -> FrozenFeatures:
    """Noise of two streams; the first tells the label as loudly as `hint` says."""
    noise = np.random.default_rng(1)
    size = len(rows.labels)
    told = np.eye(width)[rows.labels % width] * hint
    made = {name: noise.normal(size=(size, tokens, width)).astype(np.float32) for name in ("imu", "text")}
    made["imu"] += told[:, None].astype(np.float32)
    means = {name: x.mean(1) for name, x in made.items()}
    return FrozenFeatures(np.arange(size), means, {name: x.astype(np.float16) for name, x in made.items()})


def probed(
    model: MaskedAutoencoder, rows: Split, found: FrozenFeatures, kind: str, seeds: int = 2, shots: tuple = ()
) -> list:
    probe = Probe({"pretrained": model}, ["imu", "text"], [rows], kind, seeds)
    return probe.results({("imu+text", "pretrained"): found}, shots)


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_what_is_in_the_features_is_found_and_what_is_not_is_not(model, kind):
    rows = invented()
    for hint, low, high in ((20.0, 0.95 if kind == "attentive" else 1.0, 1.0), (0.0, 0.15, 0.5)):
        (result,) = probed(model, rows, features(rows, hint), kind)
        assert low <= np.mean([seed["accuracy"] for seed in result.seeds]) <= high
    (few,) = [r for r in probed(model, rows, features(rows, 20.0), kind, 1, (5,)) if r.shots]
    assert few.train == 15 and few.seeds[0]["accuracy"] > 0.8


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_labels_of_the_test_select_nothing(model, kind):
    rows = invented()
    poisoned = rows.labels.copy()
    poisoned[rows.test] = np.roll(poisoned[rows.test], 1)
    found = features(rows, 1.0)
    seeds, shots = (1, ()) if kind == "attentive" else (3, (5,))  # the slow one
    before, after = (probed(model, one, found, kind, seeds, shots) for one in (rows, replace(rows, labels=poisoned)))
    assert [result.chosen for result in before] == [result.chosen for result in after]
    assert before[0].seeds != after[0].seeds


def test_figures_of_folds_are_those_of_all_their_tests(model):
    rows = invented()
    probe = Probe({"pretrained": model}, ["imu", "text"], rows.folds(4), "knn", 2)
    (result,) = probe.results({("imu+text", "pretrained"): features(rows, 20.0)}, [])
    everyone = len(rows.train) + len(rows.test)
    assert result.test == everyone and result.confusion.sum() == 2 * everyone and len(result.chosen) == 8
    assert majority(rows.folds(4)).test == everyone and result.seeds[0]["accuracy"] == 1.0


def test_the_validation_part_selects():
    """Of many features one tells the label: a part with other rows asks for a strong penalty."""
    noise = np.random.default_rng(0)
    x = noise.normal(size=(60, 40)).astype(np.float32)
    labels = noise.integers(0, 2, 60)
    x[:, 0] += 1.5 * labels
    validation, test = (noise.normal(size=(500, 40)).astype(np.float32) for _ in range(2))
    truth = noise.integers(0, 2, 500)
    validation[:, 0] += 1.5 * truth
    chosen = linear([(Examples(x, labels), Examples(validation, truth))], target=classes(2), seed=0, few=True)
    assert chosen.chosen["C"] <= 0.03 and chosen.predict(test).shape == (500, 2)
    assert linear([(Examples(x, labels),) * 2], target=classes(2), seed=0, few=True).chosen["C"] >= 0.1


def test_the_strongest_penalty_within_one_standard_error_of_the_best_is_chosen():
    rounds = np.array([[2.0, 2.0, 2.0], [1.2, 1.0, 1.4], [1.0, 0.8, 1.5], [1.0, 0.7, 1.3]])  # the last: 1.0 +- 0.17
    assert strongest(rounds) == 2
    assert strongest(rounds[:, :1]) == 2  # of one round the best, and of equal ones the strongest
    assert strongest(rounds - 0.5 * (np.arange(4) == 0)[:, None]) == 2 and strongest(rounds[:1]) == 0


@pytest.mark.parametrize("noise", [0.3, 3.0, 30.0])
def test_the_penalty_is_the_one_that_fitting_all_of_them_from_nothing_would_choose(noise):
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 240)
    x = (np.eye(3)[labels] @ random.normal(size=(3, 12)) + noise * random.normal(size=(240, 12))).astype(np.float32)
    parts = [np.arange(240) % 5 == part for part in range(5)]
    rounds = [(Examples(x[~part], labels[~part]), Examples(x[part], labels[part])) for part in parts]
    fit = lambda c, train: prepared(LogisticRegression(C=c, max_iter=500)).fit(train.x, train.labels)  # noqa: E731
    losses = [[log_loss(fit(c, train), held) for train, held in rounds] for c in STRENGTHS]
    expected = STRENGTHS[strongest(np.array(losses))]
    assert linear(rounds, target=classes(3), seed=0, few=False).chosen == {"C": expected}


def test_labels_that_a_part_never_showed_do_not_choose():
    noise = np.random.default_rng(0)
    x, labels = noise.normal(size=(60, 4)).astype(np.float32), noise.integers(0, 2, 60)
    model = prepared(LogisticRegression()).fit(x, labels)
    more = Examples(np.concatenate([x, x[:5]]), np.concatenate([labels, np.full(5, 7)]))
    assert log_loss(model, more) == log_loss(model, Examples(x, labels)) > 0


def test_a_missing_stream_is_its_training_mean_and_an_absent_token_is_nothing():
    rows = invented()
    part = features(rows, 3.0)
    examples = Examples(part.matrix(["imu", "text"]), rows.labels)
    for classify in (linear, knn):
        fitted = classify([(examples, examples)], target=classes(3), seed=0, few=True)
        gone, filled = examples.x.copy(), examples.x.copy()
        gone[:, 8:], filled[:, 8:] = np.nan, examples.x[:, 8:].mean(0)
        np.testing.assert_allclose(fitted.predict(gone), fitted.predict(filled), atol=1e-5)
    tokens = Examples(part.sequence(["imu", "text"]), rows.labels)
    fitted = attentive([(tokens, tokens)], target=classes(3), seed=0, few=True)
    padded = np.concatenate([tokens.x, np.full_like(tokens.x, np.nan)], 1)
    np.testing.assert_allclose(fitted.predict(tokens.x), fitted.predict(padded), atol=1e-5)
    assert np.isfinite(fitted.predict(np.full_like(tokens.x, np.nan))).all()
