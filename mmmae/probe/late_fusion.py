"""Late fusion: the product of the class probabilities of single-stream probes (Kittler et al. 1998, On combining
classifiers).

In a joint pass a missing stream changes the representations of the others, and an uninformative one adds noise; here a
missing stream is dropped from the product.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmmae.probe.results import ClassScores

JOINT, LATE = "+", "|"  # between the names of streams that are encoded in one pass, or each alone


def fuse(scores: Sequence[ClassScores], kind: str = "class") -> ClassScores:
    """The fused scores of several probes, each recording over the probes that have it.

    Classes: normalised products of probabilities. Several labels: the same for each label and its absence. Numbers: the
    mean.
    """
    indices = np.unique(np.concatenate([part.indices for part in scores]))
    total, absent = np.zeros((2, len(indices), scores[0].probabilities.shape[1]))
    count = np.zeros((len(indices), 1))
    for part in scores:
        here = np.searchsorted(indices, part.indices)
        count[here] += 1
        total[here] += part.probabilities if kind == "regression" else logarithm(part.probabilities)
        absent[here] += 0 if kind == "regression" else logarithm(1 - part.probabilities)
    if kind == "regression":
        return ClassScores(indices, total / count)
    highest = np.maximum(total, absent) if kind == "multilabel" else total.max(1, keepdims=True)
    products = np.exp(total - highest)
    whole = products + np.exp(absent - highest) if kind == "multilabel" else products.sum(1, keepdims=True)
    return ClassScores(indices, products / whole)


def logarithm(probabilities: np.ndarray) -> np.ndarray:
    """The logarithm, finite also for the probability 0 of a class that a probe never saw."""
    return np.log(np.maximum(probabilities, np.finfo(float).tiny))
