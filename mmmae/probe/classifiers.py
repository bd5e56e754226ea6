"""Classifiers on frozen features; whatever they choose, they choose by the validation part."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)  # values of C, the inverse of the regularisation's strength
NEIGHBOURS = 20


@dataclass(frozen=True)
class Examples:
    """Inputs x (n, d), or (n, k, d) for `attentive`, with NaN where a stream is absent; labels (n,)."""

    x: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Fitted:
    """predict: inputs to probabilities (n, classes). chosen: what the validation part decided."""

    predict: Callable[[np.ndarray], np.ndarray]
    chosen: dict[str, Any]


def linear(train: Examples, validation: Examples, *, classes: int, seed: int, few: bool) -> Fitted:
    """Logistic regression on standardised features.

    C is the one with the best balanced accuracy on the validation part (of equal ones that nearest to 1); then it
    learns from both parts, unless `few` says that the number of labels is what is asked.
    """

    def fitted(strength: float, examples: Examples) -> Any:
        from sklearn.linear_model import LogisticRegression

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=UserWarning)  # not converged: its figures tell
            return prepared(LogisticRegression(C=strength, max_iter=500)).fit(examples.x, examples.labels)

    found = {c: balanced(fitted(c, train), validation) for c in STRENGTHS}
    best = max(found.values())
    strength = min((c for c in STRENGTHS if found[c] == best), key=lambda c: abs(math.log(c)))
    final = fitted(strength, train if few else both(train, validation))
    return Fitted(lambda x: spread_out(final, x, classes), {"C": strength})


def knn(train: Examples, validation: Examples, *, classes: int, seed: int, few: bool) -> Fitted:
    """The shares of the classes among the 20 training rows (both parts) at the smallest angle, after standardising.

    No more neighbours are asked than the largest class has rows: of a few rows, all would be neighbours of everything.
    """
    from sklearn.neighbors import KNeighborsClassifier

    examples = train if few else both(train, validation)
    count = min(NEIGHBOURS, int(np.bincount(examples.labels).max()))
    model = prepared(KNeighborsClassifier(count, metric="cosine")).fit(examples.x, examples.labels)
    return Fitted(lambda x: spread_out(model, x, classes), {"neighbours": count})


def prepared(model: Any) -> Any:
    """The model behind what it is given: what is absent becomes the training mean, then everything is standardised."""
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler(), model)


def both(train: Examples, validation: Examples) -> Examples:
    """All training rows."""
    return Examples(np.concatenate([train.x, validation.x]), np.concatenate([train.labels, validation.labels]))


def balanced(model: Any, examples: Examples) -> float:
    """Mean recall over the classes of the examples."""
    return mean_recall(examples.labels, model.predict(examples.x))


def mean_recall(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Balanced accuracy: the mean over the classes of the labels (n,) of the share that is predicted."""
    from sklearn.metrics import recall_score

    return float(recall_score(labels, predicted, labels=np.unique(labels), average="macro"))


def spread_out(model: Any, x: np.ndarray, classes: int) -> np.ndarray:
    """Probabilities (n, classes); 0 for classes that the model never saw."""
    found = np.zeros((len(x), classes))
    found[:, model.classes_] = model.predict_proba(x)
    return found
