"""Classifiers on frozen features; hyperparameters are chosen on the validation part.

Multilabel and regression probes are in mmmae/probe/multi_output.py.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmmae.data.measurements import Numbers
from mmmae.data.targets import Target

STRENGTHS = (1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0)  # values of C, weakest penalty last
NEIGHBOURS = 20


@dataclass(frozen=True)
class Examples:
    """Inputs and labels of n rows.

    x: (n, d), or (n, k, d) for `attentive`, with NaN where a stream is absent.
    labels: (n,) or (n, outputs), see `Split`.
    """

    x: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Fitted:
    """predict: inputs to probabilities or numbers (n, outputs). chosen: what the validation part decided."""

    predict: Callable[[np.ndarray], np.ndarray]
    chosen: dict[str, Any]


def linear(rounds: Sequence[tuple[Examples, Examples]], *, target: Target, seed: int, few: bool) -> Fitted:
    """Logistic regression on standardised features.

    Its penalty is the strongest whose loss on the validation parts, one of each round, is within one standard error of
    the best (Breiman et al. 1984; the default of glmnet): other people and places will differ as the parts do. Then it
    is trained on all parts, unless `few` is set: then the number of labels matters.
    """

    def fitted(model: Any, strength: float, examples: Examples) -> Any:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=UserWarning)  # not converged: its metrics show it
            return model.set_params(logisticregression__C=strength).fit(examples.x, examples.labels)

    paths = [prepared(logistic(warm_start=True)) for _ in rounds]  # each fit begins where a stronger penalty ended
    losses: list[list[float]] = []
    for strength in STRENGTHS:
        learned = [fitted(path, strength, train) for path, (train, _) in zip(paths, rounds, strict=True)]
        losses.append([log_loss(m, validation) for m, (_, validation) in zip(learned, rounds, strict=True)])
        if overfits(losses):
            break
    strength = STRENGTHS[strongest(np.array(losses))]
    final = fitted(prepared(logistic()), strength, rounds[0][0] if few else both(*rounds[0]))
    return Fitted(lambda x: spread_out(final, x, len(target.names)), {"C": strength})


def logistic(**settings: Any) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=500, **settings)


def overfits(losses: Sequence[Sequence[float]]) -> bool:
    """Whether the last two penalties are both worse than a stronger one; weaker ones are the slowest to fit."""
    means = [float(np.mean(loss)) for loss in losses]
    return len(means) > 2 and min(means[-2:]) > min(means[:-2])


def strongest(losses: np.ndarray) -> int:
    """The first row of losses (penalties, rounds) whose mean is within one standard error of the least."""
    means, rounds = losses.mean(1), losses.shape[1]
    best = int(means.argmin())
    error = losses[best].std(ddof=1) / rounds**0.5 if rounds > 1 else 0.0
    return int(np.argmax(means <= means[best] + error))


def knn(rounds: Sequence[tuple[Examples, Examples]], *, target: Target, seed: int, few: bool) -> Fitted:
    """Class frequencies among the 20 nearest training rows (both parts) by cosine, after standardising.

    There are at most as many neighbours as the largest class has rows: of a few rows, all would be neighbours.
    """
    from sklearn.neighbors import KNeighborsClassifier

    train, validation = rounds[0]
    examples = train if few else both(train, validation)
    count = min(NEIGHBOURS, int(np.bincount(examples.labels).max()))
    model = prepared(KNeighborsClassifier(count, metric="cosine")).fit(examples.x, examples.labels)
    return Fitted(lambda x: spread_out(model, x, len(target.names)), {"neighbours": count})


def prepared(model: Any) -> Any:
    """The model with preprocessing: imputation of missing values by the training mean, then standardisation."""
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler(), model)


def both(train: Examples, validation: Examples) -> Examples:
    """All training rows."""
    return Examples(np.concatenate([train.x, validation.x]), np.concatenate([train.labels, validation.labels]))


def log_loss(model: Any, examples: Examples) -> float:
    """Mean negative log-likelihood of the labels that the model has seen; of no others can it know."""
    known = np.isin(examples.labels, model.classes_)
    if not known.any():
        return 0.0
    said = model.predict_proba(examples.x[known])
    own = said[np.arange(len(said)), np.searchsorted(model.classes_, examples.labels[known])]
    return float(-np.log(np.maximum(own, np.finfo(float).tiny)).mean())


def selection(target: Target, labels: np.ndarray, predicted: np.ndarray) -> float:
    """How good predictions are, higher is better, to choose by on a validation part.

    Balanced accuracy of classes; the log-likelihood of several labels and the squared error of numbers, in units of
    their deviation, both negative.
    """
    if target.kind == "class":
        return mean_recall(labels, predicted.argmax(1))
    if isinstance(target, Numbers):
        return -float(np.nanmean(((labels - predicted) / np.array(target.deviations)) ** 2))
    return -cross_entropy(labels, predicted)


def cross_entropy(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean over rows and labels, 0 or 1 (n, labels); none costs more than a chance of one in a million does."""
    p = np.clip(probabilities, 1e-6, 1 - 1e-6)
    return -float((labels * np.log(p) + (1 - labels) * np.log(1 - p)).mean())


def mean_recall(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Balanced accuracy: the mean over the classes of the labels (n,) of the share that is predicted."""
    from sklearn.metrics import recall_score

    return float(recall_score(labels, predicted, labels=np.unique(labels), average="macro"))


def spread_out(model: Any, x: np.ndarray, classes: int) -> np.ndarray:
    """Probabilities (n, classes); 0 for classes that the model never saw."""
    found = np.zeros((len(x), classes))
    found[:, model.classes_] = model.predict_proba(x)
    return found
