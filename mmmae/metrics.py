"""How good predictions and rankings are: the figures of an evaluation, scikit-learn's wherever it has them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

NAMES = {
    "accuracy": "accuracy",
    "balanced": "balanced",
    "f1": "macro-F1",
    "map": "mAP",
    "auroc": "AUROC",
    "dprime": "d'",
}
SETS = {"map": "mAP", "f1": "macro-F1", "auroc": "AUROC"}
NUMBERS = {"mae": "MAE", "r2": "R^2", "pearson": "Pearson"}
FIGURES = {"class": NAMES, "multilabel": SETS, "regression": NUMBERS}  # of each kind of target


def figures(
    kind: str, labels: np.ndarray, predicted: np.ndarray, names: Sequence[str] | None = None
) -> dict[str, float]:
    """Figures of what is predicted (n, outputs) for labels of a kind; see `scores`, `set_scores`, `number_scores`."""
    if kind == "class":
        return scores(labels, predicted)
    return set_scores(labels, predicted) if kind == "multilabel" else number_scores(labels, predicted, names)


def set_scores(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Figures of several labels at once, 0 or 1 (n, labels), given their probabilities.

    mAP and AUROC are means over the labels that some rows have and others have not (NaN where there is none); macro-F1,
    of probabilities from 0.5 up, over those that some rows have or are predicted for.
    """
    from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

    told = (probabilities >= 0.5).astype(int)
    shown = labels.any(0) | told.any(0)
    never: Any = 0  # what a label counts that is never predicted
    f1 = f1_score(labels[:, shown], told[:, shown], average="macro", zero_division=never) if shown.any() else math.nan
    mixed = labels.any(0) & ~labels.all(0)
    if not mixed.any():
        return {"map": math.nan, "f1": float(f1), "auroc": math.nan}
    pairs = list(zip(labels.T[mixed], probabilities.T[mixed], strict=True))
    return {
        "map": float(np.mean([average_precision_score(wanted, given) for wanted, given in pairs])),
        "f1": float(f1),
        "auroc": float(np.mean([roc_auc_score(wanted, given) for wanted, given in pairs])),
    }


def number_scores(labels: np.ndarray, predicted: np.ndarray, names: Sequence[str] | None = None) -> dict[str, float]:
    """Figures of predicted numbers (n, outputs): the mean absolute error in their units, R^2 and Pearson's correlation.

    Means over the outputs; where there are several, also those of each, by `FIGURE NAME`. R^2 and the correlation are
    NaN where they are not defined: for fewer than two rows, or what does not vary.
    """
    from sklearn.metrics import mean_absolute_error, r2_score

    found: list[dict[str, float]] = []
    for wanted, given in zip(labels.T, predicted.T, strict=True):
        wanted, given = wanted[known := ~np.isnan(wanted)], given[known]
        varies = len(wanted) > 1 and np.ptp(wanted) > 0
        related = varies and np.ptp(given) > 1e-9 * np.abs(given).max()
        found.append({
            "mae": float(mean_absolute_error(wanted, given)) if len(wanted) else math.nan,
            "r2": float(r2_score(wanted, given)) if varies else math.nan,
            "pearson": float(np.corrcoef(wanted, given)[0, 1]) if related else math.nan,
        })  # fmt: skip
    means = {key: float(np.mean([one[key] for one in found])) for key in NUMBERS}
    if len(found) == 1:
        return means
    names = names or [str(number) for number in range(len(found))]
    return means | {f"{key} {name}": one[key] for name, one in zip(names, found, strict=True) for key in NUMBERS}


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
