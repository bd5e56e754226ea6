"""Multilabel and regression probes on frozen features: a model for each output, one penalty for all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mmmae.probe.classifiers import STRENGTHS, Examples, Fitted, both, logistic, prepared, selection, strongest

if TYPE_CHECKING:
    from mmmae.data.targets import Target

COUNTS = (1, 3, 5, 10, 20)  # of neighbours


class Outputs:
    """A model for each output, fitted to the rows in which that is known; a constant output is predicted as such.

    make: a fresh model. ask: the predictions of a fitted one for inputs, (n,).
    """

    def __init__(self, make: Callable[[], Any], ask: Callable[[Any, np.ndarray], np.ndarray]):
        self.make, self.ask = make, ask

    def fit(self, examples: Examples) -> Outputs:
        self.models: list[Any] = []
        for column in examples.labels.T:
            known = ~np.isnan(column)
            if not known.any() or np.ptp(column[known]) == 0:
                self.models.append(float(column[known].mean()) if known.any() else np.nan)
            else:
                self.models.append(prepared(self.make()).fit(examples.x[known], column[known]))
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        """(n, outputs)."""
        constant = lambda value: np.full(len(x), value)  # noqa: E731
        said = [constant(m) if isinstance(m, float) else self.ask(m, x) for m in self.models]
        return np.stack(said, 1)


def linear(rounds: Sequence[tuple[Examples, Examples]], *, target: Target, seed: int, few: bool) -> Fitted:
    """Ridge regression of numbers, or logistic regression of each label, on standardised features.

    The penalty is the strongest whose error on the validation parts is within one standard error of the best, as for
    classes (mmmae/probe/classifiers.py): it is shared by all outputs, whose errors count in units of their deviation.
    """
    losses = []
    for strength in STRENGTHS:
        fits = [(weighted(target, strength).fit(train), held) for train, held in rounds]
        losses.append([-selection(target, held.labels, model.predict(held.x)) for model, held in fits])
    strength = STRENGTHS[strongest(np.array(losses))]
    final = weighted(target, strength).fit(rounds[0][0] if few else both(*rounds[0]))
    return Fitted(final.predict, {"C": strength})


def weighted(target: Target, strength: float) -> Outputs:
    """Linear models whose penalty is weaker the greater `strength` is."""
    if target.kind == "multilabel":
        return Outputs(lambda: logistic(C=strength), lambda model, x: model.predict_proba(x)[:, 1])
    from sklearn.linear_model import Ridge

    return Outputs(lambda: Ridge(alpha=1 / strength), lambda model, x: model.predict(x))


def knn(rounds: Sequence[tuple[Examples, Examples]], *, target: Target, seed: int, few: bool) -> Fitted:
    """The means of each output over the training rows at the smallest angle, after standardising.

    The validation part chooses how many rows, of COUNTS; then those of both parts are asked.
    """
    from sklearn.neighbors import KNeighborsRegressor

    def near(examples: Examples, count: int) -> Outputs:
        count = min(count, max(1, int((~np.isnan(examples.labels)).sum(0).min())))
        ask = lambda model, x: model.predict(x)  # noqa: E731
        return Outputs(lambda: KNeighborsRegressor(count, metric="cosine"), ask).fit(examples)

    train, held = rounds[0]
    found = [selection(target, held.labels, near(train, count).predict(held.x)) for count in COUNTS]
    count = COUNTS[int(np.argmax(found))]
    return Fitted(near(train if few else both(train, held), count).predict, {"neighbours": count})
