"""Frozen features: what a checkpoint makes of the recordings of a manifest, for whatever is learned on top of them.

Nothing is hidden and nothing drawn: `encode`, then the mean over each stream's valid tokens, and their deviation where
asked for, over one or several evenly spaced windows of each recording.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
import psutil
import torch

from mmmae.data.faults import Fault
from mmmae.data.views import Views, views
from mmmae.model import MaskedAutoencoder
from mmmae.ranks import Ranks
from modalities.errors import InputError
from modalities.noise import apart, uniform
from modalities.records import Batch, Signal, Tokens
from modalities.shapes import Tensor

if TYPE_CHECKING:
    from mmmae.data.dataset import Clips
    from mmmae.data.manifest import Manifest

Key = TypeVar("Key")
Pool = Literal["mean", "statistics"]
MEMORY = 0.5  # share of the free memory that tokens may take


@dataclass(frozen=True)
class Given:
    """What a model is shown of each window: a joint pass over `streams`, with some sensors of one of them withheld.

    withheld: (stream, sensors, draw): so many of its sensors, which ones a hash of recording and draw decides; those of
        a smaller number are among those of a larger one.
    """

    streams: tuple[str, ...]
    withheld: tuple[str, int, int] | None = None

    def of(self, batch: Batch) -> Batch:
        """The batch as the model is shown it."""
        batch = batch.only(self.streams)
        if self.withheld is None:
            return batch
        name, count, draw = self.withheld
        signals = {**batch.signals, name: withhold(batch[name], apart(batch.key, f"withheld/{draw}"), count)}
        return replace(batch, signals=signals)


def withhold(signal: Signal, key: Tensor, count: int) -> Signal:
    """The signal as if `count` of its sensors had measured nothing."""
    order = uniform(key, "sensors", signal.values.shape[2]).argsort(1).argsort(1)
    left = (order >= count)[:, None, :, None].expand(signal.values.shape)
    observed = left if signal.observed is None else left & signal.observed
    return replace(signal, observed=observed, values=torch.where(observed, signal.values, 0.0))


@dataclass(frozen=True)
class Frozen:
    """Features of n recordings, in the order of the manifest.

    indices: (n,) of the recordings in the manifest.
    pooled: by stream (n, d), or (n, 2 d) with deviations; NaN where a recording lacks the stream.
    tokens: by stream (n, k, d) in half precision, NaN where there is none; empty unless asked for.
    """

    indices: np.ndarray
    pooled: dict[str, np.ndarray]
    tokens: dict[str, np.ndarray] = field(default_factory=dict)

    def matrix(self, streams: Sequence[str]) -> np.ndarray:
        """(n, len(streams) * d): what is pooled, side by side; NaN for a stream that was not shown."""
        width = next(iter(self.pooled.values())).shape[1]
        absent = np.full((len(self.indices), width), np.nan, dtype=np.float32)
        return np.concatenate([self.pooled.get(name, absent) for name in streams], axis=1)

    def sequence(self, streams: Sequence[str]) -> np.ndarray:
        """(n, k, d): the tokens of some streams one after the other; those that were not shown are not there."""
        return np.concatenate([self.tokens[name] for name in streams if name in self.tokens], axis=1)

    def rows(self, indices: Iterable[int] | np.ndarray) -> np.ndarray:
        """Where some recordings of the manifest stand here; those that could not be read are passed over."""
        place = {int(index): row for row, index in enumerate(self.indices)}
        return np.array([place[index] for index in map(int, indices) if index in place], dtype=int)


def reading(
    model: MaskedAutoencoder, manifest: Manifest, names: Sequence[str] | None = None, windows: int = 1
) -> Clips:
    """The streams of a model that the data has, or those named, over the middle windows of equal parts of a recording.

    Of streams that share a tokenizer the first stands for all, unless they are named.

    Raises:
        InputError: the model or the data has none of them.
    """
    from mmmae.data.dataset import Clips

    recipe = model.recipe
    assert recipe is not None  # a checkpoint always has one
    streams = {name: recipe.stream(name) for name in recipe.streams}
    if unknown := [name for name in names or () if name not in streams]:
        raise InputError(f"--modalities {unknown[0]}: the run has {', '.join(streams)}")
    if absent := [name for name in names or () if not manifest.has(streams[name].source)]:
        raise InputError(f"{manifest.path}: no row has {absent[0]}\n  name others with --modalities")
    wanted = names or [name for name, stream in streams.items() if stream.share is None]
    chosen = {name: streams[name] for name in wanted if manifest.has(streams[name].source)}
    if not chosen:
        raise InputError(f"{manifest.path}: has none of {', '.join(streams)}, which the run reads")
    readers = {name: reader for name, reader in recipe.readers().items() if name in chosen}
    return Clips(
        manifest, {name: readers[name] for name in chosen}, window=recipe.sections.window, streams=chosen, centre=True,
        repeats=windows, repeat="windows",
    )  # fmt: skip


def frozen(
    clips: Clips,
    indices: Sequence[int],
    asked: Mapping[Key, tuple[MaskedAutoencoder, Given]],
    *,
    batch_size: int = 32,
    workers: int = 0,
    pool: Pool = "mean",
    tokens: bool = False,
    tick: Callable[[int], None] | None = None,
    ranks: Ranks | None = None,
) -> tuple[dict[Key, Frozen], list[Fault]]:
    """The features of some recordings, for each model and what it is given; and the recordings that cannot be read.

    Every recording is read once. A feature is the mean over those of its windows in which the stream is there. Of
    several processes the main one gets all features, bit for bit those of one process, and the others get none.

    Args:
        batch_size: recordings at a time. Features do not depend on it.
        pool: the mean of a stream's tokens, or `statistics`: mean and standard deviation side by side (Snyder et al.
            2018, X-vectors), which also tell what happens in a part of a recording only.
        tokens: also keep the tokens themselves, those of all windows one after the other.
        tick: is told how many recordings are done since the last time, by all processes.
        ranks: this process among several.

    Raises:
        InputError: no recording can be read, or the tokens do not fit into the memory.
    """
    ranks = ranks or Ranks()
    found: dict[Key, list[Frozen]] = {key: [] for key in asked}
    faults: list[Fault] = []
    augment = {id(model): augmentation(model) for model, _ in asked.values()}
    for part in views(clips, ranks.share(indices, batch_size), batch_size, workers):
        faults += part.faults
        if part.batch is not None:
            for key, (model, given) in asked.items():
                found[key].append(encoded(model, augment[id(model)], given, part, pool, tokens))
            if tokens and all(len(parts) == 1 for parts in found.values()):
                copies = 1 if ranks.world == 1 else 2  # gathering holds both what comes and what is made of it
                require_memory(found.values(), copies * len(indices))
        done = ranks.counted(len(part.indices) + len(part.faults))
        if tick is not None:
            tick(done)
    faults = [fault for own in ranks.gathered(faults, tick) for fault in own]
    whole = {}
    for key in asked:
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
    assert model.recipe is not None
    return model.recipe.augment().eval()


@torch.inference_mode()
def encoded(
    model: MaskedAutoencoder, augment: Callable[[Batch], Batch], given: Given, part: Views, pool: Pool, keep: bool
) -> Frozen:
    """The features of one batch, averaged over the windows of each recording."""
    assert part.batch is not None
    batch = augment(part.batch.to(next(model.parameters()).device))
    streams = {name: tokens for name, tokens in model.encode(given.of(batch)).items() if name in given.streams}
    count = len(part.indices)
    pooled = {name: averaged(tokens, count, pool) for name, tokens in streams.items()}
    kept = {name: laid_out(tokens, count) for name, tokens in streams.items()} if keep else {}
    return Frozen(np.array(part.indices), pooled, kept)


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


def joined(parts: Sequence[Frozen]) -> Frozen:
    """The features of several batches, or processes, one after the other."""
    return Frozen(
        np.concatenate([part.indices for part in parts]),
        {name: np.concatenate([part.pooled[name] for part in parts]) for name in parts[0].pooled},
        {name: np.concatenate([part.tokens[name] for part in parts]) for name in parts[0].tokens},
    )


def require_memory(first: Iterable[Sequence[Frozen]], recordings: int) -> None:
    """Refuse before hours of encoding what would not fit, judged by the first batch.

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
