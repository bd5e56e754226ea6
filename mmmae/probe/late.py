"""Late fusion: what a model makes of each stream alone, side by side.

Where streams are encoded in one pass, one that is missing changes what is made of the others; here it changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mmmae.features import Frozen

JOINT, LATE = "+", "|"  # between the names of streams that are encoded in one pass, or each alone


class Case(NamedTuple):
    """What is withheld in a test: a stream, or (how many, of how many) sensors of it, drawn by `draw`."""

    features: str
    withheld: str
    sensors: tuple[int, int] | None = None
    draw: int = 0


def streams_of(features: str) -> list[str]:
    """The streams that features are made of."""
    return features.replace(LATE, JOINT).split(JOINT)


def beside(alone: Mapping[str, Frozen]) -> Frozen:
    """The features of each stream, encoded alone, as those of all; all are of the same recordings."""
    indices = next(iter(alone.values())).indices
    tokens = {name: part.tokens[name] for name, part in alone.items() if name in part.tokens}
    return Frozen(indices, {name: part.pooled[name] for name, part in alone.items()}, tokens)


def lacking(whole: Frozen, less: Mapping[Case, Frozen], streams: Sequence[str]) -> dict[Case, Frozen]:
    """What is left of the features of all streams when one of them, or some sensors of one, are withheld.

    less: features in each case of something withheld, among them those of a stream alone without some of its sensors.
    """
    features = LATE.join(streams)
    found = {Case(features, name): without(whole, name) for name in streams}
    for case, part in less.items():
        if case.features == case.withheld and case.sensors:
            found[case._replace(features=features)] = exchanged(whole, case.withheld, part)
    return found


def without(whole: Frozen, name: str) -> Frozen:
    """The features of all streams but one."""
    pooled, tokens = ({n: x for n, x in of.items() if n != name} for of in (whole.pooled, whole.tokens))
    return Frozen(whole.indices, pooled, tokens)


def exchanged(whole: Frozen, name: str, part: Frozen) -> Frozen:
    """The features of the recordings that both have, those of one stream taken from `part`."""
    indices = np.intersect1d(whole.indices, part.indices)
    here, there = whole.rows(indices), part.rows(indices)
    pooled = {n: part.pooled[n][there] if n == name else x[here] for n, x in whole.pooled.items()}
    tokens = {n: part.tokens[n][there] if n == name else x[here] for n, x in whole.tokens.items()}
    return Frozen(indices, pooled, tokens)
