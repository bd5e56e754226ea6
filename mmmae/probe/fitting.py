"""Probes: classifiers fitted to frozen features and tested, with all labels or few, and with streams withheld."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mmmae.probe import multi_output as several
from mmmae.probe.attentive import attentive
from mmmae.probe.classifiers import Examples, Fitted, knn, linear
from mmmae.probe.features import FrozenFeatures, Pool, VisibleStreams, frozen
from mmmae.probe.late_fusion import JOINT, LATE, fuse
from mmmae.probe.results import ClassScores, EvalRequest, Outcome, Result

if TYPE_CHECKING:
    from mmmae.api import MaskedAutoencoder
    from mmmae.data.clips import Clips
    from mmmae.data.targets import Target
    from mmmae.probe.splits import Split

CLASSIFIERS = {"linear": linear, "knn": knn, "attentive": attentive}
SEVERAL = {"linear": several.linear, "knn": several.knn, "attentive": attentive}  # of labels or numbers


class Ablation(NamedTuple):
    """What is withheld in a test: a stream, or `sensors` (how many, of how many) of it, drawn with the seed `draw`."""

    features: str
    withheld: str
    sensors: tuple[int, int] | None = None
    draw: int = 0


@dataclass
class Probe:
    """Probes of one kind on each stream alone, on all streams jointly, and by late fusion of the single streams.

    streams: of the joint pass. folds: training, validation and test rows; with several, metrics are over the test rows
    of all folds. seeds: number of random draws. pool: how tokens are pooled (not for `attentive`).
    """

    models: Mapping[str, MaskedAutoencoder]
    streams: Sequence[str]
    folds: Sequence[Split]
    kind: str
    seeds: int
    pool: Pool = "mean"

    def __post_init__(self) -> None:
        self.fitted: dict[tuple[str, int, int], Fitted] = {}  # of the checkpoint with all labels: features, seed, fold
        self.scores: dict[tuple[str, str, int | None, int, int], ClassScores] = {}  # features, model, shots, seed, fold

    @property
    def target(self) -> Target:
        """How labels are interpreted."""
        return self.folds[0].target

    @property
    def sequences(self) -> bool:
        """Whether the classifier takes tokens instead of pooled features."""
        return self.kind == "attentive"

    @property
    def kinds(self) -> list[str]:
        """The features: each stream alone, and all of them in one pass."""
        return [*self.streams, *([JOINT.join(self.streams)] if len(self.streams) > 1 else [])]

    def inputs_of_models(self) -> dict[tuple[str, str], tuple[MaskedAutoencoder, VisibleStreams]]:
        """What to encode, by features and model."""
        return {
            (features, name): (model, VisibleStreams(tuple(features.split(JOINT))))
            for features in self.kinds
            for name, model in self.models.items()
        }

    def fits(self, shots: int) -> int:
        """How many classifiers `results` fits."""
        return len(self.kinds) * len(self.models) * (1 + shots) * self.seeds * len(self.folds)

    def run(self, request: EvalRequest) -> Outcome:
        """Encode the rows of the clips, fit probes and test them, with `drop` also with streams and sensors withheld.

        All processes encode; the main process does the rest and has the outcome.
        """
        clips, ranks, progress = request.clips, request.ranks, request.progress
        sweep = ablations(clips, self.kinds, self.seeds) if request.drop else {}
        settings = {**request.reading, "pool": self.pool, "tokens": self.sequences, "ranks": ranks}
        labelled = sorted({index for rows in self.folds for index in [*rows.train.tolist(), *rows.test.tolist()]})
        test = sorted({index for rows in self.folds for index in rows.test.tolist()})
        bar = progress.add_task("encoding", total=len(labelled) + len(test) * bool(sweep))
        tick = lambda count: progress.advance(bar, count)  # noqa: E731
        found, faults = frozen(clips, labelled, self.inputs_of_models(), tick=tick, **settings)
        requests = {key: (self.models["pretrained"], given) for key, given in sweep.items()}
        less, _ = frozen(clips, test, requests, tick=tick, **settings) if requests else ({}, [])
        if not ranks.main:
            return Outcome([], [], [])
        fitting = progress.add_task("fitting", total=self.fits(len(request.shots)))
        results = self.results(found, request.shots, lambda: progress.advance(fitting))
        return Outcome(results, self.dropped(less), faults)

    def results(
        self,
        found: Mapping[tuple[str, str], FrozenFeatures],
        shots: Sequence[int],
        tick: Callable[[], object] = lambda: None,
    ) -> list[Result]:
        """The metrics of every kind of feature and model: first with all labels, then few-shot."""
        done = []
        for k in (None, *shots):
            for (features, model), part in found.items():
                done.append(result := Result(features, model, k))
                for seed in range(self.seeds):
                    self.fit(result, part, seed, tick)
            alone = [model for model in self.models if all((name, model) in found for name in self.streams)]
            for model in alone if len(self.streams) > 1 else []:
                rows = max(result.train for result in done if (result.model, result.shots) == (model, k))
                done.append(replace(self.late(model, k), train=rows))
        return done

    def late(self, model: str, shots: int | None = None, withheld: str | None = None) -> Result:
        """The metrics of late fusion of the single-stream probes, except that of a withheld stream."""
        result = Result(LATE.join(self.streams), model, shots, withheld=withheld)
        present = [name for name in self.streams if name != withheld]
        for seed in range(self.seeds):
            numbers = range(len(self.folds))
            scores = [
                fuse([self.scores[name, model, shots, seed, number] for name in present], self.target.kind)
                for number in numbers
            ]
            add(result, [self.pairs(one) for one in scores], self.target)
        return result

    def pairs(self, scores: ClassScores) -> tuple[np.ndarray, np.ndarray]:
        """Ground truth and predictions."""
        return self.folds[0].labels[scores.indices], scores.probabilities

    def fit(self, result: Result, part: FrozenFeatures, seed: int, tick: Callable[[], object]) -> None:
        """Fit one classifier in each fold and add the metrics over their test rows."""
        pairs = []
        few = result.shots is not None
        for number, rows in enumerate(self.folds):
            streams = result.features.split(JOINT)
            rounds = rows.rounds(seed)
            if result.shots is not None:
                train, validation = rounds[0]
                rounds = [(rows.shots(train, result.shots, seed), rows.shots(validation, result.shots, seed))]
            elif self.kind != "linear":  # one part is enough for the others to select by
                rounds = rounds[:1]
            of = partial(self.examples, part, streams=streams)
            parts = [(of(train), of(validation)) for train, validation in rounds]
            fit = (CLASSIFIERS if self.target.kind == "class" else SEVERAL)[self.kind]
            fitted = fit(parts, target=rows.target, seed=seed, few=few)
            here = self.present(part, rows.test, streams)
            scores = ClassScores(part.indices[here], fitted.predict(self.inputs(part, streams)[here]))
            self.scores[result.features, result.model, result.shots, seed, number] = scores
            pairs.append(self.pairs(scores))
            learned, selecting = parts[0]
            result.train = len(learned.labels) + (0 if few else len(selecting.labels))
            result.chosen.append(fitted.chosen)
            if result.model == "pretrained" and not few:
                self.fitted[result.features, seed, number] = fitted
            tick()
        add(result, pairs, self.target)

    def present(self, part: FrozenFeatures, rows: np.ndarray, streams: Sequence[str]) -> np.ndarray:
        """The positions of some rows among the features, without rows that lack all streams or are bad."""
        here = part.rows(rows)
        return here[[any(not np.isnan(part.pooled[m][row, 0]) for m in streams if m in part.pooled) for row in here]]

    def examples(self, part: FrozenFeatures, rows: np.ndarray, streams: Sequence[str]) -> Examples:
        """Inputs and labels of those rows that have a stream."""
        here = self.present(part, rows, streams)
        return Examples(self.inputs(part, streams)[here], self.folds[0].labels[part.indices[here]])

    def inputs(self, part: FrozenFeatures, streams: Sequence[str]) -> np.ndarray:
        return part.sequence(streams) if self.sequences else part.matrix(streams)

    def dropped(self, less: Mapping[Ablation, FrozenFeatures]) -> list[Result]:
        """The metrics of the probes fitted by `results` on test rows with something withheld."""
        done: dict[tuple, Result] = {}

        def tested(case: Ablation, features: str, scores: Sequence[ClassScores]) -> None:
            key = features, case.withheld, case.sensors
            result = done.setdefault(key, Result(features, "pretrained", withheld=case.withheld, sensors=case.sensors))
            add(result, [self.pairs(one) for one in scores], self.target)

        for case, part in less.items():
            x = self.inputs(part, case.features.split(JOINT))
            for seed in range(self.seeds) if case.sensors is None else [case.draw]:
                scores = []
                for number, rows in enumerate(self.folds):
                    here = part.rows(rows.test)
                    scores.append(
                        ClassScores(part.indices[here], self.fitted[case.features, seed, number].predict(x[here]))
                    )
                tested(case, case.features, scores)
                if case.features == case.withheld and len(self.streams) > 1:  # a stream alone without some sensors
                    others = [name for name in self.streams if name != case.withheld]
                    singles = [
                        [self.scores[name, "pretrained", None, seed, n] for name in others] for n in range(len(scores))
                    ]
                    fused = [fuse([one, *rest], self.target.kind) for one, rest in zip(scores, singles, strict=True)]
                    tested(case, LATE.join(self.streams), fused)
        if less and len(self.streams) > 1:
            done |= {(name,): self.late("pretrained", withheld=name) for name in self.streams}
        return list(done.values())


def add(result: Result, pairs: Sequence[tuple[np.ndarray, np.ndarray]], target: Target) -> None:
    """Add the metrics of one seed from labels (n,) or (n, outputs) and predictions (n, outputs) of each fold's test."""
    labels, predicted = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    result.add(labels, predicted, target)


def majority(folds: Sequence[Split]) -> Result:
    """The baseline that always predicts the training frequencies of classes (or labels); for numbers, their mean."""
    target = folds[0].target
    result = Result("none", "mean" if target.kind == "regression" else "majority", train=len(folds[-1].train))
    pairs = []
    for rows in folds:
        learned = rows.labels[rows.train]
        if target.kind == "class":
            shares = np.bincount(learned, minlength=len(rows.classes)) / len(rows.train)
        else:
            shares = np.nanmean(learned, 0)
        pairs.append((rows.labels[rows.test], np.tile(shares, (len(rows.test), 1))))
    add(result, pairs, target)
    return result


def ablations(clips: Clips, kinds: Sequence[str], draws: int) -> dict[Ablation, VisibleStreams]:
    """All ablations of a test: each of several streams withheld, and 1 to n - 1 of the n sensors of a stream."""
    found = {}
    for features in kinds:
        streams = tuple(features.split(JOINT))
        for name in streams:
            if len(streams) > 1:
                found[Ablation(features, name)] = VisibleStreams(tuple(other for other in streams if other != name))
            observed = clips.readers[name].blank(clips.spans[name]).observed
            count = 1 if observed is None else observed.shape[1]
            for missing in range(1, count):
                for draw in range(draws):
                    given = VisibleStreams(streams, (name, missing, draw))
                    found[Ablation(features, name, (missing, count), draw)] = given
    return found
