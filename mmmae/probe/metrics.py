"""Metrics of predictions and rankings, from scikit-learn wherever it has them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Hashable, Sequence
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


def time_scores(on: np.ndarray, probabilities: np.ndarray, names: Sequence[str] | None = None) -> dict[str, float]:
    """Figures of classes over time: (recordings, t, classes) or (t, classes), NaN where nothing is known.

    mAP is the mean over the classes of the average precision over all known times, as scikit-learn defines it; `map
    NAME` is that of each class, NaN where it is never on or never off. macro-F1 and AUROC as in `set_scores`.
    """
    from sklearn.metrics import average_precision_score

    classes = on.shape[-1]
    truth, given = on.reshape(-1, classes), probabilities.reshape(-1, classes)
    known = ~np.isnan(truth).any(1)
    truth, given = np.asarray(truth[known], dtype=int), given[known]
    if not len(truth):
        return dict.fromkeys(SETS, math.nan)
    mixed = np.asarray(truth.any(axis=0) & ~truth.all(axis=0))
    each = {
        f"map {name}": float(average_precision_score(truth[:, i], given[:, i])) if mixed[i] else math.nan
        for i, name in enumerate(names or map(str, range(classes)))
    }
    return set_scores(truth, given) | each


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


RANKS = (1, 5, 10)  # the k of R@k
EQUAL = 1e-6  # of the largest similarity: rows that differ by less are those of equal items


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


def ranking(
    similarity: np.ndarray,
    query_items: Sequence[Hashable] | None = None,
    target_items: Sequence[Hashable] | None = None,
) -> dict[str, float | int]:
    """Figures of retrieving targets (columns) by queries (rows) of (n, n), in which row i and column i are a pair.

    Equal items are all right answers: a target is right where it, or one equal to it, is paired with the query, or with
    one equal to that. `R@k` is the share of queries that have a right answer among the k most similar targets, `median
    rank` where the first right one stands; `own R@k` and `own median rank` count the pair's own target alone, and
    `ceiling R@k` and `ceiling median rank` are the best that those can be, for nothing tells equal targets apart.
    `repeated` is the share of queries with several right answers, `distinct queries` and `distinct targets` how many
    different items there are, `chance R@k` and `chance median rank` what a random order gives.

    Targets as similar as the right one are ranked in random order, so that a model to which all is alike finds
    nothing: recall is the expectation over that order, the rank its mean.

    Args:
        query_items, target_items: what stands for each item, equal for equal ones (the text of a caption). By default
            items with equal rows, or columns, are equal, unless all are: then the model has collapsed.
    """
    similarity = np.asarray(similarity, dtype=np.float64)
    n = len(similarity)
    queries = alike(similarity) if query_items is None else numbers(query_items, n)
    targets = alike(similarity.T) if target_items is None else numbers(target_items, n)
    paired = np.zeros((queries.max() + 1, targets.max() + 1), dtype=bool)
    paired[queries, targets] = True
    right = paired[queries][:, targets]

    best = np.where(right, similarity, -np.inf).max(1, keepdims=True)
    above, level = (similarity > best).sum(1), similarity == best
    good, wrong = (level & right).sum(1), (level & ~right).sum(1)
    own, equal = np.diagonal(similarity)[:, None], targets[:, None] == targets
    own_above, own_level = ((similarity > own) & ~equal).sum(1), ((similarity == own) | equal).sum(1)
    answers = right.sum(1)
    return {
        "N": n,
        **{f"R@{k}": mean(first_found(k - above, good, wrong)) for k in RANKS},
        "median rank": float(np.median(above + 1 + wrong / (good + 1))),
        **{f"chance R@{k}": mean(first_found(np.full(n, k), answers, n - answers)) for k in RANKS},
        "chance median rank": chance_median_rank(answers),
        "repeated": mean(answers > 1),
        "distinct queries": len(np.unique(queries)), "distinct targets": len(np.unique(targets)),
        **{f"own R@{k}": mean(np.clip((k - own_above) / own_level, 0, 1)) for k in RANKS},
        "own median rank": float(np.median(own_above + (own_level + 1) / 2)),
        **{f"ceiling R@{k}": mean(np.minimum(k / answers, 1)) for k in RANKS},
        "ceiling median rank": float(np.median((answers + 1) / 2)),
    }  # fmt: skip


def mean(values: np.ndarray) -> float:
    """The mean (n,), exact where all are the same."""
    return math.fsum(values) / len(values)


def numbers(items: Sequence[Hashable], count: int) -> np.ndarray:
    """Items (n,) as whole numbers from 0, equal for equal items."""
    if len(items) != count:
        raise ValueError(f"ranking of {count} pairs got {len(items)} items, expected one for each")
    known: dict[Hashable, int] = {}
    return np.array([known.setdefault(item, len(known)) for item in items])


def alike(rows: np.ndarray) -> np.ndarray:
    """Rows (n, d) as whole numbers from 0, equal for rows that differ by rounding only; all different where all agree.

    Rows are compared with their neighbours in the order of a random projection, which equal rows share.
    """
    order = np.argsort(rows @ np.random.default_rng(0).normal(size=rows.shape[1]), kind="stable")
    new = np.abs(np.diff(rows[order], axis=0)).max(1, initial=0) > EQUAL * np.abs(rows).max(initial=0)
    if not new.any():
        return np.arange(len(rows))
    found = np.empty(len(rows), dtype=int)
    found[order] = np.concatenate([[0], np.cumsum(new)])
    return found


def first_found(k: np.ndarray, right: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """Probability (n,) that a right one is among the first k (n,), at most 10, of a random order of right and wrong."""
    found, missed = np.zeros(len(k)), np.ones(len(k))
    for place in range(max(RANKS)):
        left = np.maximum(right + wrong - place, 1)
        found += np.where(place < k, missed * right / left, 0)
        missed = missed * np.maximum(wrong - place, 0) / left
    return np.minimum(found, 1)


def chance_median_rank(answers: np.ndarray) -> float:
    """The median over queries and random orders of the rank of the first of `answers` (n,) right ones among n."""
    n = len(answers)
    right, weight = np.unique(answers, return_counts=True)
    missed = weight / n
    for rank in range(n):
        missed = missed * np.maximum(n - right - rank, 0) / (n - rank)
        if (left := missed.sum()) < 0.5 + 1e-9:
            return rank + (1.5 if left > 0.5 - 1e-9 else 1.0)
    return float(n)


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
