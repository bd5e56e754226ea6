"""Late fusion: what the probes of single streams say together, by the product rule.

Where streams are encoded in one pass, one that is missing changes what is made of the others, and one that says nothing
disturbs them; here either has no voice (Kittler et al. 1998, On combining classifiers).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

JOINT, LATE = "+", "|"  # between the names of streams that are encoded in one pass, or each alone


class ClassScores(NamedTuple):
    """What a probe says of recordings: their indices in the manifest (n,), probabilities or numbers (n, outputs)."""

    indices: np.ndarray
    probabilities: np.ndarray


def together(voices: Sequence[ClassScores], kind: str = "class") -> ClassScores:
    """What those that say something of a recording say together.

    Classes: products of their probabilities, scaled to a sum of one. Several labels: the same for each label and its
    absence. Numbers: their mean.
    """
    indices = np.unique(np.concatenate([voice.indices for voice in voices]))
    total, absent = np.zeros((2, len(indices), voices[0].probabilities.shape[1]))
    count = np.zeros((len(indices), 1))
    for voice in voices:
        here = np.searchsorted(indices, voice.indices)
        count[here] += 1
        total[here] += voice.probabilities if kind == "regression" else logarithm(voice.probabilities)
        absent[here] += 0 if kind == "regression" else logarithm(1 - voice.probabilities)
    if kind == "regression":
        return ClassScores(indices, total / count)
    highest = np.maximum(total, absent) if kind == "multilabel" else total.max(1, keepdims=True)
    products = np.exp(total - highest)
    whole = products + np.exp(absent - highest) if kind == "multilabel" else products.sum(1, keepdims=True)
    return ClassScores(indices, products / whole)


def logarithm(probabilities: np.ndarray) -> np.ndarray:
    """Finite also where a probe gives no chance to what it never saw."""
    return np.log(np.maximum(probabilities, np.finfo(float).tiny))
