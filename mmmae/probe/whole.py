"""A whole model as a classifier: what its objective `classification` says of recordings, averaged over windows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from mmmae.data.faults import Fault
from mmmae.data.views import views
from mmmae.features import augmentation
from mmmae.objectives.classification import Classification
from mmmae.probe.results import Outcome, Result, Wish
from modalities.errors import InputError

if TYPE_CHECKING:
    from mmmae.api import MaskedAutoencoder
    from mmmae.data.dataset import Clips
    from mmmae.data.manifest import Manifest
    from mmmae.splits import Split


@dataclass(frozen=True)
class Told:
    """What a model says of n recordings: indices (n,) in the manifest, probabilities (n, classes)."""

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
) -> Told:
    """The probabilities of the labels, nothing hidden, averaged over those windows of a recording that have a stream.

    Raises:
        InputError: the model says nothing finite.
    """
    model.eval()
    objective, augment = judge(model), augmentation(model)
    device = next(model.parameters()).device
    found: list[tuple[np.ndarray, np.ndarray]] = []
    faults: list[Fault] = []
    for part in views(clips, indices, batch_size, workers):
        faults += part.faults
        if part.batch is not None:
            logits, there = objective.tell(model.encode(augment(part.batch.to(device))))
            shape = (len(part.indices), -1)
            said, there = logits.softmax(1).unflatten(0, shape), there.unflatten(0, shape)[..., None]
            mean = (said * there).sum(1) / there.sum(1).clamp_min(1)
            found.append((np.array(part.indices), mean.double().cpu().numpy()))
        tick(len(part.indices) + len(part.faults))
    nothing = np.zeros(0, dtype=int), np.zeros((0, objective.head.out_features))
    read, probabilities = (np.concatenate(parts) for parts in zip(*(found or [nothing]), strict=True))
    if not np.isfinite(probabilities).all():
        raise InputError("the model says nothing finite any more\n  lower --lr")
    return Told(read, probabilities, faults)


def together(parts: Sequence[Told], clips: Clips) -> Told:
    """What several processes were told.

    Raises:
        InputError: no recording could be read.
    """
    faults = [fault for part in parts for fault in part.faults]
    if not any(len(part.indices) for part in parts):
        raise InputError(f"{clips.manifest.path}: no recording can be read\n  {faults[0] if faults else ''}")
    return Told(
        np.concatenate([part.indices for part in parts]), np.concatenate([part.probabilities for part in parts]), faults
    )


def judge(model: MaskedAutoencoder) -> Classification:
    """The model's own classifier.

    Raises:
        InputError: it has none.
    """
    for objective in model.objectives.values():
        if isinstance(objective, Classification):
            return objective
    raise InputError(
        f"--kind head: the run was not trained with `classification`, but with {', '.join(model.objectives)}\n"
        "  choose --kind linear or finetune, or train with objectives.classification.classes=null"
    )


def require_same_labels(objective: Classification, manifest: Manifest) -> None:
    """
    Raises:
        InputError: the classifier was trained with other labels, as far as their number tells.
    """
    known = objective.head.out_features
    if known < manifest.labels or (manifest.classes and known != manifest.labels):
        raise InputError(
            f"{manifest.path}: has {manifest.labels} labels, the run was trained to tell {known}\n"
            "  give the labels that it was trained with, or choose --kind finetune"
        )


def counted(manifest: Manifest) -> list[int]:
    """Which of a manifest's labels occur, in the order in which a split counts them."""
    found = {manifest.number(row["label"]) for row in manifest.columns("label")}
    return sorted(label for label in found if label is not None and label >= 0)


@dataclass
class Head:
    """The classifiers that models were trained with, tested as they are. rows: who is tested."""

    models: Mapping[str, MaskedAutoencoder]
    rows: Split

    def run(self, wish: Wish) -> Outcome:
        """One result for each model, on all streams of the clips together; in the main process.

        Raises:
            InputError: a model has no classifier, or one of other labels; or what is asked for needs another kind.
        """
        clips, ranks = wish.clips, wish.ranks
        if wish.shots:
            raise InputError("--shots: --kind head learns from no label here\n  choose another --kind")
        refuse_drop(wish.drop, "head")
        for model in self.models.values():
            require_same_labels(judge(model), clips.manifest)
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
            tested(result, found, self.rows, counted(clips.manifest))
            faults |= {fault.id: fault for fault in found.faults}
        return Outcome(results, [], list(faults.values()))


def tested(result: Result, found: Told, rows: Split, columns: Sequence[int]) -> None:
    """Add one seed's figures; `columns` are those of the labels that the split knows."""
    result.add(rows.labels[found.indices], found.probabilities[:, columns])


def refuse_drop(drop: bool, kind: str) -> None:
    """
    Raises:
        InputError: streams are to be withheld from what looks at all of them.
    """
    if drop:
        raise InputError(f"--drop: not with --kind {kind}\n  choose linear, knn or attentive")
