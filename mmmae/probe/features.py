"""Frozen features: the representations of recordings by a checkpoint, as input of probes.

Deterministic and with nothing hidden: `encode`, then the mean over each stream's valid tokens, optionally with their
standard deviation, over one or several evenly spaced windows of each recording.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
import psutil
import torch

from mmmae.api import MaskedAutoencoder
from mmmae.data.bad_samples import Fault
from mmmae.data.eval_windows import Views, views
from mmmae.data.labels import Label, parsed
from mmmae.parallel.ranks import Ranks
from mmmae.pretrained import evaluating, loaded, reading
from modalities.errors import InputError
from modalities.noise import fold_in, uniform
from modalities.records import Batch, Signal, Tokens
from modalities.shapes import Tensor

if TYPE_CHECKING:
    from mmmae.data.clips import Clips

Key = TypeVar("Key")
Pool = Literal["mean", "statistics"]
MEMORY = 0.5  # share of the free memory that tokens may take


@dataclass(frozen=True)
class VisibleStreams:
    """The input of a model: the streams of a joint pass, with some sensors of one of them withheld.

    withheld: (stream, sensors, draw): the number of its sensors, chosen by a hash of recording and draw; smaller
        sets are subsets of larger ones.
    """

    streams: tuple[str, ...]
    withheld: tuple[str, int, int] | None = None

    def of(self, batch: Batch) -> Batch:
        """The batch reduced to these streams and sensors."""
        batch = batch.only(self.streams)
        if self.withheld is None:
            return batch
        name, count, draw = self.withheld
        signals = {**batch.signals, name: withhold(batch[name], fold_in(batch.key, f"withheld/{draw}"), count)}
        return replace(batch, signals=signals)


def withhold(signal: Signal, key: Tensor, count: int) -> Signal:
    """The signal as if `count` of its sensors had measured nothing."""
    order = uniform(key, "sensors", signal.values.shape[2]).argsort(1).argsort(1)
    left = (order >= count)[:, None, :, None].expand(signal.values.shape)
    observed = left if signal.observed is None else left & signal.observed
    return replace(signal, observed=observed, values=torch.where(observed, signal.values, 0.0))


@dataclass(frozen=True)
class FrozenFeatures:
    """Features of n recordings, in the order of the manifest.

    indices: (n,) of the recordings in the manifest.
    pooled: by stream (n, d), or (n, 2 d) with deviations; NaN where a recording lacks the stream.
    tokens: by stream (n, k, d) in half precision, NaN where there is none; empty unless requested.
    """

    indices: np.ndarray
    pooled: dict[str, np.ndarray]
    tokens: dict[str, np.ndarray] = field(default_factory=dict)

    def matrix(self, streams: Sequence[str]) -> np.ndarray:
        """(n, len(streams) * d): the pooled features concatenated; NaN for a stream that was withheld."""
        width = next(iter(self.pooled.values())).shape[1]
        absent = np.full((len(self.indices), width), np.nan, dtype=np.float32)
        return np.concatenate([self.pooled.get(name, absent) for name in streams], axis=1)

    def sequence(self, streams: Sequence[str]) -> np.ndarray:
        """(n, k, d): the tokens of some streams concatenated, without those of withheld streams."""
        return np.concatenate([self.tokens[name] for name in streams if name in self.tokens], axis=1)

    def rows(self, indices: Iterable[int] | np.ndarray) -> np.ndarray:
        """The positions of some recordings of the manifest; those that could not be read are left out."""
        place = {int(index): row for row, index in enumerate(self.indices)}
        return np.array([place[index] for index in map(int, indices) if index in place], dtype=int)


@dataclass(frozen=True)
class Features:
    """What `features` returns: a row for each of n recordings, in the order of the data.

    labels: as in the data: a name, a list of names, or None. arrays: by stream, float32 (n, d).
    bad: the recordings that could not be read, and why; their rows hold NaN, as do those that lack a stream.
    """

    ids: list[str]
    labels: list[Label | None]
    arrays: dict[str, np.ndarray]
    bad: list[Fault]


def features(
    run: str | Path | MaskedAutoencoder,
    data: Any = None,
    *,
    modalities: Sequence[str] | None = None,
    views: int = 1,
    pool: Pool = "mean",
    batch_size: int = 32,
    workers: int = 0,
    outside: bool = False,
) -> Features:
    """Features of recordings by a run, all their streams encoded jointly with nothing hidden; warns of bad recordings.

    Args:
        run: folder of a run, of a checkpoint or of a saved model; or the model itself.
        data: whatever `--data` may be, see `mmmae.data.source.open_data`.
        modalities: streams to encode, by default all that the data has; name one to have it encoded alone.
        views: windows of each recording, centred in as many equal parts of it, to average over.
        pool, batch_size: see `frozen`. workers: processes that read.
        outside: read files that lie outside of the data's folder, too.

    Raises:
        InputError: there is no such run or data, they do not fit each other, or no recording can be read.
    """
    from mmmae.data.source import open_for

    model = loaded(run)
    manifest = open_for(model.recipe, data, bad=1.0, outside=outside)
    clips = reading(model, manifest, modalities, views)
    settings: dict[str, Any] = {"batch_size": batch_size, "workers": workers, "pool": pool}
    with evaluating(model):
        given = {"all": (model, VisibleStreams(tuple(clips.readers)))}
        found, bad = frozen(clips, range(len(manifest)), given, **settings)
    if bad:
        warnings.warn(f"{len(bad)} of {len(manifest)} recordings are bad, e.g. {bad[0]}", stacklevel=2)
    arrays = {}
    for name, known in found["all"].pooled.items():
        arrays[name] = np.full((len(manifest), known.shape[1]), np.nan, dtype=known.dtype)
        arrays[name][found["all"].indices] = known
    ids = [row["id"] for row in manifest.columns("id")]
    return Features(ids, [parsed(text) for text in manifest.texts()], arrays, bad)


def frozen(
    clips: Clips,
    indices: Sequence[int],
    requests: Mapping[Key, tuple[MaskedAutoencoder, VisibleStreams]],
    *,
    batch_size: int = 32,
    workers: int = 0,
    pool: Pool = "mean",
    tokens: bool = False,
    tick: Callable[[int], None] | None = None,
    ranks: Ranks | None = None,
) -> tuple[dict[Key, FrozenFeatures], list[Fault]]:
    """The features of some recordings, for each model and what it is given; and the recordings that cannot be read.

    Every recording is read once. A feature is the mean over those of its windows in which the stream is there. Of
    several processes the main one gets all features, bit for bit those of one process, and the others get none.

    Args:
        batch_size: recordings at a time. Features do not depend on it.
        pool: the mean of a stream's tokens, or `statistics`: mean and standard deviation side by side (Snyder et al.
            2018, X-vectors), which also tell what happens in a part of a recording only.
        tokens: also keep the tokens themselves, those of all windows one after the other.
        tick: called with the number of recordings done since the last call, over all processes.
        ranks: this process among several.

    Raises:
        InputError: no recording can be read, or the tokens do not fit into the memory.
    """
    ranks = ranks or Ranks()
    found: dict[Key, list[FrozenFeatures]] = {key: [] for key in requests}
    faults: list[Fault] = []
    augment = {id(model): augmentation(model) for model, _ in requests.values()}
    for part in views(clips, ranks.share(indices, batch_size), batch_size, workers):
        faults += part.faults
        if part.batch is not None:
            for key, (model, given) in requests.items():
                found[key].append(encoded(model, augment[id(model)], given, part, pool, tokens))
            if tokens and all(len(parts) == 1 for parts in found.values()):
                copies = 1 if ranks.world == 1 else 2  # gathering holds both what comes and what is made of it
                require_memory(found.values(), copies * len(indices))
        done = ranks.counted(len(part.indices) + len(part.faults))
        if tick is not None:
            tick(done)
    faults = [fault for own in ranks.gathered(faults, tick) for fault in own]
    whole = {}
    for key in requests:
        own = found.pop(key)
        parts = [part for own in ranks.gathered([joined(own)] if own else []) for part in own]
        if ranks.main and not parts:
            first = f"\n  {faults[0]}" if faults else ""
            raise InputError(f"{clips.manifest.path}: no recording can be read{first}")
        if ranks.main:
            whole[key] = parts[0] if len(parts) == 1 else joined(parts)
    return whole, faults


def augmentation(model: MaskedAutoencoder) -> Callable[[Batch], Batch]:
    """What a batch goes through outside of training: only what a recipe does `always`."""
    return model.recipe.augment().eval()


@torch.inference_mode()
def encoded(
    model: MaskedAutoencoder,
    augment: Callable[[Batch], Batch],
    given: VisibleStreams,
    part: Views,
    pool: Pool,
    keep: bool,
) -> FrozenFeatures:
    """The features of one batch, averaged over the windows of each recording."""
    assert part.batch is not None
    batch = augment(part.batch.to(next(model.parameters()).device))
    streams = {name: tokens for name, tokens in model.encode(given.of(batch)).items() if name in given.streams}
    count = len(part.indices)
    pooled = {name: averaged(tokens, count, pool) for name, tokens in streams.items()}
    kept = {name: laid_out(tokens, count) for name, tokens in streams.items()} if keep else {}
    return FrozenFeatures(np.array(part.indices), pooled, kept)


def averaged(tokens: Tokens, recordings: int, pool: Pool) -> np.ndarray:
    """(recordings, d or 2 d): the mean over the windows of each that have the stream; NaN where none has."""
    tokens = replace(tokens, x=tokens.x.float())
    of = tokens.mean() if pool == "mean" else torch.cat([tokens.mean(), tokens.deviation()], 1)
    of = of.unflatten(0, (recordings, -1))
    there = tokens.present().unflatten(0, (recordings, -1))[..., None]
    total = torch.where(there, of, 0.0).sum(1)
    return torch.where(there.any(1), total / there.sum(1), torch.nan).cpu().numpy()


def laid_out(tokens: Tokens, recordings: int) -> np.ndarray:
    """(recordings, windows * k, d) in half precision, NaN where no token is."""
    x = tokens.x.float()
    if tokens.valid is not None:
        x = x.masked_fill(~tokens.valid[..., None], torch.nan)
    return x.half().cpu().numpy().reshape(recordings, -1, x.shape[-1])


def joined(parts: Sequence[FrozenFeatures]) -> FrozenFeatures:
    """The features of several batches, or processes, one after the other."""
    return FrozenFeatures(
        np.concatenate([part.indices for part in parts]),
        {name: np.concatenate([part.pooled[name] for part in parts]) for name in parts[0].pooled},
        {name: np.concatenate([part.tokens[name] for part in parts]) for name in parts[0].tokens},
    )


def require_memory(first: Iterable[Sequence[FrozenFeatures]], recordings: int) -> None:
    """Raise before hours of encoding if the tokens would not fit in memory, estimated from the first batch.

    Raises:
        InputError: the tokens of all recordings take more than half of the free memory.
    """
    sizes = [(sum(x.nbytes for x in part.tokens.values()), len(part.indices)) for (part,) in first]
    needed = sum(size / count for size, count in sizes) * recordings
    if needed > MEMORY * psutil.virtual_memory().available:
        raise InputError(
            f"the tokens of {recordings} recordings take {needed / 1e9:.1f} GB, more than half of the free memory\n"
            "  choose --kind linear, fewer --views, or name fewer streams with --modalities"
        )
