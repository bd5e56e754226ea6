"""Testing the head that a model was trained with: its predictions for recordings, averaged over windows."""

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
from mmmae.probe.results import ClassScores, EvalRequest, Outcome, Result
from modalities.errors import InputError

if TYPE_CHECKING:
    from mmmae.api import MaskedAutoencoder
    from mmmae.data.clips import Clips
    from mmmae.data.manifest import Manifest
    from mmmae.probe.splits import Split
    from modalities.records import Batch


@torch.no_grad()
def class_scores(
    model: MaskedAutoencoder,
    clips: Clips,
    indices: Sequence[int],
    *,
    batch_size: int,
    workers: int,
    tick: Callable[[int], object] = lambda count: None,
) -> ClassScores:
    """A model's predictions with nothing hidden, averaged over those windows of a recording that have a stream.

    Raises:
        InputError: the predictions are not finite.
    """
    model.eval()
    objective = head_of(model)
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
        raise InputError("the model's predictions are not finite any more\n  lower --lr")
    return ClassScores(read, probabilities, faults)


@torch.no_grad()
def averages(model: MaskedAutoencoder, batch: Batch, recordings: int) -> np.ndarray:
    """A model's predictions for recordings (recordings, outputs), averaged over the windows of each.

    NaN for a recording without data in any window.
    """
    objective = head_of(model)
    batch = augmentation(model)(batch.to(next(model.parameters()).device))
    outputs, there = objective.tell(model.encode(batch))
    values = objective.target.activated(outputs).unflatten(0, (recordings, -1))
    there = there.unflatten(0, (recordings, -1))[..., None]
    mean = torch.where(there, values, 0.0).sum(1) / there.sum(1)
    return objective.target.restore(mean.double().cpu().numpy())


def merged(parts: Sequence[ClassScores], clips: Clips) -> ClassScores:
    """The predictions of several processes as one.

    Raises:
        InputError: no recording could be read.
    """
    faults = [fault for part in parts for fault in part.faults]
    if not any(len(part.indices) for part in parts):
        raise InputError(f"{clips.manifest.path}: no recording can be read\n  {faults[0] if faults else ''}")
    return ClassScores(
        np.concatenate([part.indices for part in parts]), np.concatenate([part.probabilities for part in parts]), faults
    )


def head_of(model: MaskedAutoencoder) -> Labelled:
    """The head that a model was trained with.

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


def matched_outputs(known: Target, manifest: Manifest) -> tuple[Target, list[str]]:
    """The target that a run's own head is tested with: its outputs by name, then the labels unknown to it; and notes.

    Raises:
        InputError: the labels are of another kind, or the names of the outputs cannot be known.
    """
    theirs = type(known).of(manifest)
    if not isinstance(known, (Classes, LabelSet)) or not isinstance(theirs, (Classes, LabelSet)):
        if len(theirs.names) != len(known.names):
            raise InputError(
                f"{manifest.path}: labels hold {len(theirs.names)} numbers, the run predicts {len(known.names)}\n"
                "  give as many, in the same order"
            )
        return known, []
    strange = [name for name in theirs.names if name not in known.places]
    if not strange:
        return known, []
    if isinstance(known, Classes) and not known.certain:
        if len(theirs.names) != len(known.names):
            raise InputError(
                f"{manifest.path}: has {len(theirs.names)} labels, the run was trained with {len(known.names)}, "
                "whose names were not saved with it\n  give all labels that it was trained with, or use --kind finetune"
            )
        named = ", ".join(theirs.names)
        return theirs, [f"the run was saved without the names of its classes: taken in this order for {named}"]
    if len(strange) == len(theirs.names):
        raise InputError(
            f"{manifest.path}: has the labels {', '.join(theirs.names[:8])}, none of which the run knows\n"
            f"  it predicts {', '.join(known.names[:8])}; choose --kind linear or finetune to learn others"
        )
    note = f"the run does not know the labels {', '.join(strange)}: they count as errors"
    return type(known)((*known.names, *strange)), [note]


@dataclass
class Head:
    """Evaluation of the heads that models were trained with, without further training.

    rows: the split whose test rows are used; the names of its target begin with those of the heads, see
        `matched_outputs`.
    """

    models: Mapping[str, MaskedAutoencoder]
    rows: Split

    def run(self, request: EvalRequest) -> Outcome:
        """One result for each model, on all streams of the clips jointly; in the main process.

        Raises:
            InputError: a model has no such head; or the request needs another --kind.
        """
        clips, ranks = request.clips, request.ranks
        if request.shots:
            raise InputError("--shots: --kind head trains nothing\n  choose another --kind")
        refuse_drop(request.drop, "head")
        bar = request.progress.add_task("testing", total=len(self.models) * len(self.rows.test))
        results, faults = [], {}
        own = ranks.share(self.rows.test.tolist(), request.batch_size)
        for name, model in self.models.items():
            tick = lambda count: request.progress.advance(bar, ranks.counted(count))  # noqa: E731
            scores = class_scores(model, clips, own, tick=tick, **request.reading)
            parts = ranks.gathered(scores)
            if not ranks.main:
                continue
            found = merged(parts, clips)
            result = Result("+".join(clips.readers), name)
            results.append(result)
            tested(result, found, self.rows)
            faults |= {fault.id: fault for fault in found.faults}
        return Outcome(results, [], list(faults.values()))


def tested(result: Result, found: ClassScores, rows: Split) -> None:
    """Add the metrics of one seed; labels unknown to the model are never predicted."""
    unknown = len(rows.target.names) - found.probabilities.shape[1]
    result.add(rows.labels[found.indices], np.pad(found.probabilities, ((0, 0), (0, unknown))), rows.target)


def refuse_drop(drop: bool, kind: str) -> None:
    """Refuse `--drop` for a kind of evaluation that does not support it.

    Raises:
        InputError: drop is set.
    """
    if drop:
        raise InputError(f"--drop: not with --kind {kind}\n  choose linear, knn or attentive")
