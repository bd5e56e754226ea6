"""A whole model as a classifier: what its own objective says of the labels of recordings, averaged over windows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from mmmae.data.bad_samples import Fault
from mmmae.data.classes import Classes, LabelSet
from mmmae.data.eval_windows import views
from mmmae.data.targets import Target
from mmmae.objectives.labelled import Labelled
from mmmae.probe.features import augmentation
from mmmae.probe.results import EvalRequest, Outcome, Result
from modalities.errors import InputError

if TYPE_CHECKING:
    from mmmae.api import MaskedAutoencoder
    from mmmae.data.clips import Clips
    from mmmae.data.manifest import Manifest
    from mmmae.probe.splits import Split
    from modalities.records import Batch


@dataclass(frozen=True)
class ClassScores:
    """What a model says of n recordings: indices (n,) in the manifest, probabilities or numbers (n, outputs)."""

    indices: np.ndarray
    probabilities: np.ndarray
    faults: list[Fault]


@torch.no_grad()
def told(
    model: MaskedAutoencoder,
    clips: Clips,
    indices: Sequence[int],
    *,
    batch_size: int,
    workers: int,
    tick: Callable[[int], object] = lambda count: None,
) -> ClassScores:
    """What a model says of labels, nothing hidden, averaged over those windows of a recording that have a stream.

    Raises:
        InputError: the model says nothing finite.
    """
    model.eval()
    objective = judge(model)
    found: list[tuple[np.ndarray, np.ndarray]] = []
    faults: list[Fault] = []
    for part in views(clips, indices, batch_size, workers):
        faults += part.faults
        if part.batch is not None:
            found.append((np.array(part.indices), averages(model, part.batch, len(part.indices))))
        tick(len(part.indices) + len(part.faults))
    nothing = np.zeros(0, dtype=int), np.zeros((0, objective.head.out_features))
    read, probabilities = (np.concatenate(parts) for parts in zip(*(found or [nothing]), strict=True))
    if not np.isfinite(probabilities).all():
        raise InputError("the model says nothing finite any more\n  lower --lr")
    return ClassScores(read, probabilities, faults)


@torch.no_grad()
def averages(model: MaskedAutoencoder, batch: Batch, recordings: int) -> np.ndarray:
    """What a model says of the labels of recordings (recordings, outputs), averaged over the windows of each.

    NaN where a recording has nothing in any window.
    """
    objective = judge(model)
    batch = augmentation(model)(batch.to(next(model.parameters()).device))
    outputs, there = objective.tell(model.encode(batch))
    said = objective.target.activated(outputs).unflatten(0, (recordings, -1))
    there = there.unflatten(0, (recordings, -1))[..., None]
    mean = torch.where(there, said, 0.0).sum(1) / there.sum(1)
    return objective.target.restore(mean.double().cpu().numpy())


def together(parts: Sequence[ClassScores], clips: Clips) -> ClassScores:
    """What several processes were told.

    Raises:
        InputError: no recording could be read.
    """
    faults = [fault for part in parts for fault in part.faults]
    if not any(len(part.indices) for part in parts):
        raise InputError(f"{clips.manifest.path}: no recording can be read\n  {faults[0] if faults else ''}")
    return ClassScores(
        np.concatenate([part.indices for part in parts]), np.concatenate([part.probabilities for part in parts]), faults
    )


def judge(model: MaskedAutoencoder) -> Labelled:
    """The model's own classifier.

    Raises:
        InputError: it has none.
    """
    for objective in model.objectives.values():
        if isinstance(objective, Labelled):
            return objective
    raise InputError(
        "the run was not trained with `classification`, `multilabel` or `regression`, but with "
        f"{', '.join(model.objectives)}\n"
        "  choose `mmmae probe --kind linear` or `finetune`, or train with objectives.classification.classes=null"
    )


def tellable(known: Target, manifest: Manifest) -> tuple[Target, list[str]]:
    """What a run's own classifier is tested by: its outputs by name, then the labels that it does not know; and notes.

    Raises:
        InputError: the labels are of another kind, or the names of the outputs cannot be known.
    """
    theirs = type(known).of(manifest)
    if not isinstance(known, (Classes, LabelSet)) or not isinstance(theirs, (Classes, LabelSet)):
        if len(theirs.names) != len(known.names):
            raise InputError(
                f"{manifest.path}: labels hold {len(theirs.names)} numbers, the run tells {len(known.names)}\n"
                "  give as many, in the same order"
            )
        return known, []
    strange = [name for name in theirs.names if name not in known.places]
    if not strange:
        return known, []
    if isinstance(known, Classes) and not known.certain:
        if len(theirs.names) != len(known.names):
            raise InputError(
                f"{manifest.path}: has {len(theirs.names)} labels, the run was trained to tell {len(known.names)}, "
                "whose names it was saved without\n  give all labels that it was trained with, or use --kind finetune"
            )
        named = ", ".join(theirs.names)
        return theirs, [f"the run was saved without the names of its classes: taken in this order for {named}"]
    if len(strange) == len(theirs.names):
        raise InputError(
            f"{manifest.path}: has the labels {', '.join(theirs.names[:8])}, none of which the run knows\n"
            f"  it tells {', '.join(known.names[:8])}; choose --kind linear or finetune to learn others"
        )
    note = f"the run does not know the labels {', '.join(strange)}: they count as never found"
    return type(known)((*known.names, *strange)), [note]


@dataclass
class Head:
    """The classifiers that models were trained with, tested as they are.

    rows: who is tested; the names of their target begin with those of the classifiers (see `tellable`).
    """

    models: Mapping[str, MaskedAutoencoder]
    rows: Split

    def run(self, wish: EvalRequest) -> Outcome:
        """One result for each model, on all streams of the clips together; in the main process.

        Raises:
            InputError: a model has no classifier; or what is asked for needs another kind.
        """
        clips, ranks = wish.clips, wish.ranks
        if wish.shots:
            raise InputError("--shots: --kind head learns from no label here\n  choose another --kind")
        refuse_drop(wish.drop, "head")
        bar = wish.progress.add_task("testing", total=len(self.models) * len(self.rows.test))
        results, faults = [], {}
        own = ranks.share(self.rows.test.tolist(), wish.batch_size)
        for name, model in self.models.items():
            tick = lambda count: wish.progress.advance(bar, ranks.counted(count))  # noqa: E731
            said = told(model, clips, own, tick=tick, **wish.reading)
            parts = ranks.gathered(said)
            if not ranks.main:
                continue
            found = together(parts, clips)
            result = Result("+".join(clips.readers), name)
            results.append(result)
            tested(result, found, self.rows)
            faults |= {fault.id: fault for fault in found.faults}
        return Outcome(results, [], list(faults.values()))


def tested(result: Result, found: ClassScores, rows: Split) -> None:
    """Add one seed's figures; labels that the model does not know are never found."""
    unknown = len(rows.target.names) - found.probabilities.shape[1]
    result.add(rows.labels[found.indices], np.pad(found.probabilities, ((0, 0), (0, unknown))), rows.target)


def refuse_drop(drop: bool, kind: str) -> None:
    """
    Raises:
        InputError: streams are to be withheld from what looks at all of them.
    """
    if drop:
        raise InputError(f"--drop: not with --kind {kind}\n  choose linear, knn or attentive")
