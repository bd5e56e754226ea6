"""Late fusion: what the probes of single streams say together, by the product rule.

Where streams are encoded in one pass, one that is missing changes what is made of the others, and one that says nothing
disturbs them; here either has no voice (Kittler et al. 1998, On combining classifiers).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

JOINT, LATE = "+", "|"  # between the names of streams that are encoded in one pass, or each alone


class Said(NamedTuple):
    """What a probe says of some recordings: their indices in the manifest (n,), probabilities (n, classes)."""

    indices: np.ndarray
    probabilities: np.ndarray


def together(voices: Sequence[Said]) -> Said:
    """Products of the probabilities of those that say something of a recording, scaled to a sum of one."""
    indices = np.unique(np.concatenate([voice.indices for voice in voices]))
    logarithms = np.zeros((len(indices), voices[0].probabilities.shape[1]))
    for voice in voices:
        least = np.finfo(float).tiny  # of a class that a probe never saw
        logarithms[np.searchsorted(indices, voice.indices)] += np.log(np.maximum(voice.probabilities, least))
    products = np.exp(logarithms - logarithms.max(1, keepdims=True))
    return Said(indices, products / products.sum(1, keepdims=True))
