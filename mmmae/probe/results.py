"""Requests and results of evaluations, with results as a table and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mmmae.probe.metrics import FIGURES, figures, spread

if TYPE_CHECKING:
    from rich.progress import Progress
    from rich.table import Table

    from mmmae.data.bad_samples import Fault
    from mmmae.data.clips import Clips
    from mmmae.data.targets import Target
    from mmmae.parallel.ranks import Ranks

FIRST = {**FIGURES, "class": ("accuracy", "balanced", "auroc")}  # metrics that fit a narrow terminal
WIDE = 130  # columns of one that has room for all
KEYS = ("features", "model", "shots", "withheld", "sensors", "train", "test")


class ClassScores(NamedTuple):
    """Predictions for n recordings: class probabilities, or numbers for a regression.

    indices: (n,) of the recordings in the manifest. probabilities: (n, outputs).
    faults: the recordings that could not be read.
    """

    indices: np.ndarray
    probabilities: np.ndarray
    faults: Sequence[Fault] = ()


@dataclass
class Result:
    """The metrics of one classifier, a dictionary for each seed.

    features: the streams of its input, joined by `+`. model: `pretrained`, or `random` (the baseline).
    shots: labels per class; None for all. withheld: the stream that was missing in the test, or of which
    `sensors` were: (how many, of how many).
    train, test: how many rows. confusion: (classes, classes) summed over the seeds, labels down, predictions across.
    kind: of the target. pairs: for a regression, ground truth and the predictions of the last seed, (n, outputs) each.
    """

    features: str
    model: str
    shots: int | None = None
    withheld: str | None = None
    sensors: tuple[int, int] | None = None
    train: int = 0
    test: int = 0
    seeds: list[dict[str, float]] = field(default_factory=list)
    chosen: list[dict[str, Any]] = field(default_factory=list)
    confusion: np.ndarray | None = None
    kind: str = "class"
    pairs: tuple[np.ndarray, np.ndarray] | None = None

    def add(self, labels: np.ndarray, predicted: np.ndarray, target: Target) -> None:
        """Add the predictions of one seed, (n, outputs), for rows with these labels."""
        self.test, self.kind = len(labels), target.kind
        self.seeds.append(figures(target.kind, labels, predicted, target.names))
        if target.kind == "regression":
            self.pairs = labels, predicted
        if target.kind != "class":
            return
        if self.confusion is None:
            self.confusion = np.zeros((predicted.shape[1],) * 2, dtype=int)
        np.add.at(self.confusion, (labels, predicted.argmax(1)), 1)

    @property
    def lacking(self) -> str | None:
        """What was withheld, for display."""
        return self.withheld if self.sensors is None else "{}: {} of {}".format(self.withheld, *self.sensors)

    def tree(self) -> dict[str, Any]:
        named = {name: getattr(self, name) for name in KEYS}
        counts = None if self.confusion is None else self.confusion.tolist()
        return {**named, "scores": spread(self.seeds), "chosen": self.chosen, "confusion": counts}


@dataclass(frozen=True)
class EvalRequest:
    """The settings that every kind of evaluation takes.

    clips: the windows of the rows to encode or test. shots: numbers of labels per class to train with, besides all.
    drop: also test with streams and sensors withheld. batch_size: recordings per batch. workers: processes that read.
    """

    clips: Clips
    shots: Sequence[int]
    progress: Progress
    ranks: Ranks
    drop: bool
    batch_size: int
    workers: int

    @property
    def reading(self) -> dict[str, Any]:
        return {"batch_size": self.batch_size, "workers": self.workers}


@dataclass(frozen=True)
class Outcome:
    """The outcome of an evaluation: results, results with something withheld, and unreadable recordings."""

    results: list[Result]
    dropped: list[Result]
    faults: list[Fault]


def table(results: Sequence[Result], title: str, *, wide: bool = True) -> Table:
    """Mean and standard deviation over the seeds; only the first metrics where the terminal is not wide."""
    from rich.table import Table

    inner = {
        name: values
        for name, values in {
            "shots": [result.shots for result in results], "withheld": [result.lacking for result in results],
        }.items()
        if any(values)
    }  # fmt: skip
    known = FIGURES[results[0].kind]
    room = list(FIRST[results[0].kind])
    shown = known if wide else {name: known[name] for name in room[: -1 if "withheld" in inner else None]}
    grid = Table(title=title, title_justify="left")
    grid.add_column("features", overflow="fold")
    for name in ("model", *inner, *(["rows"] if wide else []), *shown.values()):
        grid.add_column(name, no_wrap=True)
    for number, result in enumerate(results):
        figures = spread(result.seeds)
        several = len(result.seeds) > 1
        cells = [f"{f['mean']:.3f}" + (f" ±{f['std']:.3f}" if several else "") for f in map(figures.__getitem__, shown)]
        more = [str(values[number] or "") for values in inner.values()]
        more += [f"{result.train}/{result.test}"] if wide else []
        grid.add_row(result.features, result.model, *more, *cells)
        for name in [key.removeprefix("mae ") for key in figures if key.startswith("mae ")]:  # each of several numbers
            own = [f"{figures[f'{key} {name}']['mean']:.3f}" for key in shown]
            grid.add_row(f"  {name}", "", *[""] * len(more), *own)
    return grid


def written(tree: Any) -> str:
    """A tree as JSON, with null for numbers that are not finite."""
    return json.dumps(finite(tree), indent=2)


def finite(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: finite(value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [finite(value) for value in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree
