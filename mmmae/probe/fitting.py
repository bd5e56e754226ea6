"""Classifiers fitted and tested: on each kind of feature, with all labels and few, and with something withheld."""

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
from mmmae.probe.late_fusion import JOINT, LATE, ClassScores, together
from mmmae.probe.results import EvalRequest, Outcome, Result

if TYPE_CHECKING:
    from mmmae.api import MaskedAutoencoder
    from mmmae.data.clips import Clips
    from mmmae.data.targets import Target
    from mmmae.probe.splits import Split

CLASSIFIERS = {"linear": linear, "knn": knn, "attentive": attentive}
SEVERAL = {"linear": several.linear, "knn": several.knn, "attentive": attentive}  # of labels or numbers


class Ablation(NamedTuple):
    """What is withheld in a test: a stream, or (how many, of how many) sensors of it, drawn by `draw`."""

    features: str
    withheld: str
    sensors: tuple[int, int] | None = None
    draw: int = 0


@dataclass
class Probe:
    """Probes of one kind on models' features of each stream alone and of all together: in one pass, and by late fusion.

    streams: of the joint pass. folds: who learns, selects and is tested; where there are several, the figures are those
    of all their tests together. seeds: how many draws. pool: what of a stream's tokens, where means are looked at.
    """

    models: Mapping[str, MaskedAutoencoder]
    streams: Sequence[str]
    folds: Sequence[Split]
    kind: str
    seeds: int
    pool: Pool = "mean"

    def __post_init__(self) -> None:
        self.fitted: dict[tuple[str, int, int], Fitted] = {}  # of the checkpoint with all labels: features, seed, fold
        self.said: dict[tuple[str, str, int | None, int, int], ClassScores] = {}  # features, model, shots, seed, fold

    @property
    def target(self) -> Target:
        """What is asked of a label."""
        return self.folds[0].target

    @property
    def sequences(self) -> bool:
        """Whether the classifier looks at tokens instead of means."""
        return self.kind == "attentive"

    @property
    def kinds(self) -> list[str]:
        """The features: each stream alone, and all of them in one pass."""
        return [*self.streams, *([JOINT.join(self.streams)] if len(self.streams) > 1 else [])]

    def asked(self) -> dict[tuple[str, str], tuple[MaskedAutoencoder, VisibleStreams]]:
        """What to encode, by features and model."""
        return {
            (features, name): (model, VisibleStreams(tuple(features.split(JOINT))))
            for features in self.kinds
            for name, model in self.models.items()
        }

    def fits(self, shots: int) -> int:
        """How many classifiers `results` fits."""
        return len(self.kinds) * len(self.models) * (1 + shots) * self.seeds * len(self.folds)

    def run(self, wish: EvalRequest) -> Outcome:
        """Encode the rows of the clips, fit the probes, and test them; with `drop` also where something is withheld.

        All processes encode, the main one does the rest; the outcome is there.
        """
        clips, ranks, progress = wish.clips, wish.ranks, wish.progress
        sweep = cases(clips, self.kinds, self.seeds) if wish.drop else {}
        settings = {**wish.reading, "pool": self.pool, "tokens": self.sequences, "ranks": ranks}
        labelled = sorted({index for rows in self.folds for index in [*rows.train.tolist(), *rows.test.tolist()]})
        test = sorted({index for rows in self.folds for index in rows.test.tolist()})
        bar = progress.add_task("encoding", total=len(labelled) + len(test) * bool(sweep))
        tick = lambda count: progress.advance(bar, count)  # noqa: E731
        found, faults = frozen(clips, labelled, self.asked(), tick=tick, **settings)
        asked = {key: (self.models["pretrained"], given) for key, given in sweep.items()}
        less, _ = frozen(clips, test, asked, tick=tick, **settings) if asked else ({}, [])
        if not ranks.main:
            return Outcome([], [], [])
        fitting = progress.add_task("fitting", total=self.fits(len(wish.shots)))
        results = self.results(found, wish.shots, lambda: progress.advance(fitting))
        return Outcome(results, self.dropped(less), faults)

    def results(
        self,
        found: Mapping[tuple[str, str], FrozenFeatures],
        shots: Sequence[int],
        tick: Callable[[], object] = lambda: None,
    ) -> list[Result]:
        """The figures of every kind of feature and model: with all labels first, then with so many of each class."""
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
        """The figures of the streams' own probes together, without that of a stream that is withheld."""
        result = Result(LATE.join(self.streams), model, shots, withheld=withheld)
        voices = [name for name in self.streams if name != withheld]
        for seed in range(self.seeds):
            numbers = range(len(self.folds))
            said = [
                together([self.said[name, model, shots, seed, number] for name in voices], self.target.kind)
                for number in numbers
            ]
            add(result, [self.judged(one) for one in said], self.target)
        return result

    def judged(self, said: ClassScores) -> tuple[np.ndarray, np.ndarray]:
        """The true labels beside what is said."""
        return self.folds[0].labels[said.indices], said.probabilities

    def fit(self, result: Result, part: FrozenFeatures, seed: int, tick: Callable[[], object]) -> None:
        """Fit one classifier in each fold and add the figures of their tests."""
        told = []
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
            here = self.shown(part, rows.test, streams)
            said = ClassScores(part.indices[here], fitted.predict(self.inputs(part, streams)[here]))
            self.said[result.features, result.model, result.shots, seed, number] = said
            told.append(self.judged(said))
            learned, selecting = parts[0]
            result.train = len(learned.labels) + (0 if few else len(selecting.labels))
            result.chosen.append(fitted.chosen)
            if result.model == "pretrained" and not few:
                self.fitted[result.features, seed, number] = fitted
            tick()
        add(result, told, self.target)

    def shown(self, part: FrozenFeatures, rows: np.ndarray, streams: Sequence[str]) -> np.ndarray:
        """Where some rows stand among the features; those that have none of the streams, or are bad, do not."""
        here = part.rows(rows)
        return here[[any(not np.isnan(part.pooled[m][row, 0]) for m in streams if m in part.pooled) for row in here]]

    def examples(self, part: FrozenFeatures, rows: np.ndarray, streams: Sequence[str]) -> Examples:
        """Inputs and labels of the rows that are shown."""
        here = self.shown(part, rows, streams)
        return Examples(self.inputs(part, streams)[here], self.folds[0].labels[part.indices[here]])

    def inputs(self, part: FrozenFeatures, streams: Sequence[str]) -> np.ndarray:
        return part.sequence(streams) if self.sequences else part.matrix(streams)

    def dropped(self, less: Mapping[Ablation, FrozenFeatures]) -> list[Result]:
        """The figures of the probes fitted by `results` where the test rows lack something."""
        done: dict[tuple, Result] = {}

        def told(case: Ablation, features: str, said: Sequence[ClassScores]) -> None:
            key = features, case.withheld, case.sensors
            result = done.setdefault(key, Result(features, "pretrained", withheld=case.withheld, sensors=case.sensors))
            add(result, [self.judged(one) for one in said], self.target)

        for case, part in less.items():
            x = self.inputs(part, case.features.split(JOINT))
            for seed in range(self.seeds) if case.sensors is None else [case.draw]:
                said = []
                for number, rows in enumerate(self.folds):
                    here = part.rows(rows.test)
                    said.append(
                        ClassScores(part.indices[here], self.fitted[case.features, seed, number].predict(x[here]))
                    )
                told(case, case.features, said)
                if case.features == case.withheld and len(self.streams) > 1:  # a stream alone without some sensors
                    others = [name for name in self.streams if name != case.withheld]
                    voices = [
                        [self.said[name, "pretrained", None, seed, n] for name in others] for n in range(len(said))
                    ]
                    fused = [together([one, *rest], self.target.kind) for one, rest in zip(said, voices, strict=True)]
                    told(case, LATE.join(self.streams), fused)
        if less and len(self.streams) > 1:
            done |= {(name,): self.late("pretrained", withheld=name) for name in self.streams}
        return list(done.values())


def add(result: Result, told: Sequence[tuple[np.ndarray, np.ndarray]], target: Target) -> None:
    """Add one seed's figures: labels (n,) or (n, outputs) and what is predicted (n, outputs) in each fold's test."""
    labels, given = (np.concatenate(parts) for parts in zip(*told, strict=True))
    result.add(labels, given, target)


def majority(folds: Sequence[Split]) -> Result:
    """What always naming the shares of the training classes (or of each label) gives; of numbers, their mean."""
    target = folds[0].target
    result = Result("none", "mean" if target.kind == "regression" else "majority", train=len(folds[-1].train))
    told = []
    for rows in folds:
        learned = rows.labels[rows.train]
        if target.kind == "class":
            shares = np.bincount(learned, minlength=len(rows.classes)) / len(rows.train)
        else:
            shares = np.nanmean(learned, 0)
        told.append((rows.labels[rows.test], np.tile(shares, (len(rows.test), 1))))
    add(result, told, target)
    return result


def cases(clips: Clips, kinds: Sequence[str], draws: int) -> dict[Ablation, VisibleStreams]:
    """Everything that may be missing in a test: each stream of several, and 1 to n - 1 of n sensors of a stream."""
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
