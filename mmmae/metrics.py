"""How good predictions and rankings are: the figures of an evaluation, scikit-learn's wherever it has them."""

from __future__ import annotations

import math
import warnings

import numpy as np

NAMES = {
    "accuracy": "accuracy",
    "balanced": "balanced",
    "f1": "macro-F1",
    "map": "mAP",
    "auroc": "AUROC",
    "dprime": "d'",
}


def scores(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Figures of predictions (n, classes) for labels (n,), by the keys of NAMES.

    The macro averages are over the classes that occur among the labels. mAP and AUROC tell each of them from all
    others (NaN where there are none); d' is that of the mean AUROC, sqrt(2) * Phi^-1(AUROC), infinite where that is 1.
    """
    from scipy.stats import norm
    from sklearn.metrics import (
        accuracy_score,
        average_precision_score,
        balanced_accuracy_score,
        f1_score,
        roc_auc_score,
    )

    predicted = probabilities.argmax(1)
    known = np.unique(labels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of classes that are predicted and do not occur, and of one class
        balanced = float(balanced_accuracy_score(labels, predicted))
    found = {
        "accuracy": float(accuracy_score(labels, predicted)),
        "balanced": balanced,
        "f1": float(f1_score(labels, predicted, labels=known, average="macro")),
    }
    if len(known) < 2:
        return found | {"map": math.nan, "auroc": math.nan, "dprime": math.nan}
    wanted, given = labels[:, None] == known, probabilities[:, known]
    area = float(roc_auc_score(wanted, given, average="macro"))
    precision = float(average_precision_score(wanted, given, average="macro"))
    return found | {"map": precision, "auroc": area, "dprime": float(math.sqrt(2) * norm.ppf(area))}


def ranking(similarity: np.ndarray) -> dict[str, float | int]:
    """Figures of retrieving column i by row i of (n, n): R@1, R@5, R@10, the median rank, n and what chance gives.

    Those that are as similar as the right one are ranked in random order, so that a model to which all is alike finds
    nothing: recall is the expectation over that order, the rank its mean.
    """
    n = len(similarity)
    right = np.diagonal(similarity)[:, None]
    above, alike = (similarity > right).sum(1), (similarity == right).sum(1)
    recall = {k: float(np.clip((k - above) / alike, 0, 1).mean()) for k in (1, 5, 10)}
    return {
        "N": n, **{f"R@{k}": value for k, value in recall.items()},
        "median rank": float(np.median(above + (alike - 1) / 2)) + 1,
        **{f"chance R@{k}": min(k / n, 1.0) for k in recall}, "chance median rank": (n + 1) / 2,
    }  # fmt: skip


def spread(values: list[dict[str, float]]) -> dict[str, dict[str, float | list[float]]]:
    """Mean and standard deviation (of the sample; 0 for one seed) of every figure over the seeds."""
    table: dict[str, dict[str, float | list[float]]] = {}
    for name in values[0]:
        x = np.array([one[name] for one in values])
        bound = float(x.std(ddof=1)) if len(x) > 1 and np.isfinite(x).all() else 0.0 if len(x) == 1 else math.nan
        table[name] = {
            "mean": float(x.mean()),
            "std": bound,
            "values": x.tolist(),
        }
    return table
