"""The records that a batch passes through: Signal, Patches, Tokens (and Places, tokens without contents)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from modalities.shapes import Bool, Float, Int, Shaped, Tensor


@dataclass(frozen=True)
class Signal:
    """One modality of a batch before any parameter.

    values: video uint8 (b, t, c, h, w), or float32 in [0, 1] where it holds measurements of a stated range; audio
        float32 waveform (b, s); IMU float32 (b, t, sensors, channels) in m/s^2 and rad/s; text int64 ids (b, l);
        embedding float32 (b, l, d).
    length: valid steps (0: this sample lacks the modality); None when every step of every sample is valid.
    start, duration: the window in the recording, in seconds, that all steps together cover; None means [0, 1).
    observed: which readings exist (b, t, sensors, channels), each channel by itself; None when all do.
    edges: adjacency between sensors (b, sensors, sensors); None leaves it to the tokenizer.
    lag: seconds by which the window begins after the sample's; None when all streams of the sample begin together.
    hint: coarse maps (b, t, ...) of something that a masking may follow; None when the reader gives none.
    accepted: whether a tokenizer has checked it (`Tokenizer.accept`), so that it is not checked again.
    """

    values: Shaped[Tensor, "b t ..."]
    length: Int[Tensor, " b"] | None = None
    start: Float[Tensor, " b"] | None = None
    duration: Float[Tensor, " b"] | None = None
    observed: Bool[Tensor, "b t parts channels"] | None = None
    edges: Float[Tensor, "b parts parts"] | None = None
    lag: Float[Tensor, " b"] | None = None
    hint: Shaped[Tensor, "b t ..."] | None = None
    accepted: bool = field(default=False, repr=False, compare=False)

    @classmethod
    def of(cls, values: Any) -> Signal:
        """A signal as it is, or one made of a plain tensor or array, whose every step is valid.

        Raises:
            ValueError: it is nothing of the kind, or has no batch and time axes.
        """
        given: dict[str, Any] = (
            {f.name: getattr(values, f.name) for f in fields(cls)} if isinstance(values, cls) else {"values": values}
        )
        given = {name: torch.as_tensor(x) if isinstance(x, np.ndarray) else x for name, x in given.items()}
        for name, x in given.items():
            if not isinstance(x, Tensor) and (x is not None or name == "values") and name != "accepted":
                raise ValueError(f"{name} is a tensor or a numpy array, got {type(x).__name__}")
        if given["values"].ndim < 2:
            raise ValueError(f"values have axes for batch and time, got the shape {tuple(given['values'].shape)}")
        return values if isinstance(values, cls) and given["values"] is values.values else cls(**given)

    def to(self, device, non_blocking: bool = False) -> Signal:
        return self.map(lambda x: x.to(device, non_blocking=non_blocking))

    def map(self, function) -> Signal:
        """The signal with `function` applied to each of its tensors."""
        held = {f.name: getattr(self, f.name) for f in fields(self)}
        changed: Any = {name: function(x) if isinstance(x, Tensor) else x for name, x in held.items()}
        return type(self)(**changed)

    def seconds(self) -> Float[Tensor, " b"]:
        """How long each sample's window lasts."""
        if self.duration is None:
            return torch.ones(self.values.shape[0], device=self.values.device)
        return self.duration

    def present(self) -> Bool[Tensor, " b"]:
        """Which samples have the modality at all."""
        if self.length is None:
            return torch.ones(self.values.shape[0], dtype=torch.bool, device=self.values.device)
        return self.length > 0

    def silenced(self) -> Signal:
        """The signal with every padded step set to zero, so that nothing computed from it can depend on padding."""
        if self.length is None:
            return self
        steps = torch.arange(self.values.shape[1], device=self.values.device)
        inside = steps < self.length[:, None]
        inside = inside.reshape(*inside.shape, *[1] * (self.values.ndim - 2))
        return replace(self, values=torch.where(inside, self.values, torch.zeros_like(self.values)))


@dataclass(frozen=True)
class Mixed:
    """What the samples of a batch were mixed with (mixup, arXiv:1710.09412).

    label: of the other sample, as in `Batch`. weight: of the sample itself, in [0, 1]; the other has the rest.
    """

    label: Shaped[Tensor, "b ..."]
    weight: Float[Tensor, " b"]

    def map(self, function) -> Mixed:
        """The record with `function` applied to each of its tensors."""
        return Mixed(function(self.label), function(self.weight))


@dataclass(frozen=True)
class Batch(Mapping[str, Signal]):
    """Signals by modality, plus what each sample is called.

    key: the hash of (seed, epoch, index) from which everything random about a sample is drawn.
    label: a class (b,), -1 where it is missing, or numbers (b, outputs), NaN where they are; None if no sample has one.
    targets: what else objectives learn of the samples (b, ...), by name: labels over time (b, t, classes), NaN where
        nothing is known.
    mixed: with which other samples these were mixed; None where they are themselves.
    trusted: whether a reader made the signals; those of a caller are checked by the tokenizers (`Batch.of`).
    """

    signals: dict[str, Signal]
    key: Int[Tensor, " b"]
    ids: Sequence[str] = ()
    label: Shaped[Tensor, "b ..."] | None = None
    mixed: Mixed | None = None
    trusted: bool = True
    targets: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, signals: Any) -> Batch:
        """A batch as it is, or one made of signals or plain arrays, whose samples are keyed by their place.

        Raises:
            ValueError: it is no mapping or empty, or its streams differ in batch size or device.
        """
        if isinstance(signals, Batch):
            return signals
        if not isinstance(signals, Mapping):
            raise ValueError(f"a batch maps names of streams to signals, got {type(signals).__name__}")
        if not signals:
            raise ValueError("a batch needs at least one modality, got an empty mapping")
        made: dict[str, Signal] = {}
        for name, signal in signals.items():
            try:
                made[name] = Signal.of(signal)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
        sizes = {name: signal.values.shape[0] for name, signal in made.items()}
        if any(size != other for size, other in pairwise(sizes.values())):
            raise ValueError(f"all streams of a batch have the same number of samples, got {sizes}")
        places = {name: str(signal.values.device) for name, signal in made.items()}
        if len(set(places.values())) > 1:
            raise ValueError(f"all streams of a batch are on one device, got {places}; move them: .to(device)")
        values = next(iter(made.values())).values
        return cls(made, torch.arange(values.shape[0], device=values.device), trusted=False)

    def __getitem__(self, modality: str) -> Signal:
        return self.signals[modality]

    def __iter__(self) -> Iterator[str]:
        return iter(self.signals)

    def __len__(self) -> int:
        return len(self.signals)

    def only(self, modalities: Sequence[str]) -> Batch:
        """The same samples with some of their modalities."""
        return replace(self, signals={m: self.signals[m] for m in modalities})

    def to(self, device, non_blocking: bool = False) -> Batch:
        return self.map(lambda x: x.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        return self.map(lambda x: x.pin_memory())

    def map(self, function) -> Batch:
        """The batch with `function` applied to each of its tensors."""
        signals = {m: signal.map(function) for m, signal in self.signals.items()}
        label = None if self.label is None else function(self.label)
        mixed = None if self.mixed is None else self.mixed.map(function)
        targets = {name: function(x) for name, x in self.targets.items()}
        return replace(self, signals=signals, key=function(self.key), label=label, mixed=mixed, targets=targets)


@dataclass(frozen=True)
class Places:
    """Where tokens are.

    coords: counted in patches along each axis of `grid`.
    time: seconds since the sample's window began, the axis that all modalities share.
    valid: which of them are real; None when all are.
    """

    coords: Int[Tensor, "b k axes"]
    time: Float[Tensor, "b k"]
    valid: Bool[Tensor, "b k"] | None
    grid: tuple[int, ...]


@dataclass(frozen=True)
class Tokens:
    """What a trunk reads and returns: contents `x` at places (see Places)."""

    x: Float[Tensor, "b k d"]
    coords: Int[Tensor, "b k axes"]
    time: Float[Tensor, "b k"]
    valid: Bool[Tensor, "b k"] | None
    grid: tuple[int, ...]

    @classmethod
    def at(cls, places: Places | Tokens, x: Float[Tensor, "b k d"]) -> Tokens:
        return cls(x, places.coords, places.time, places.valid, places.grid)

    def mean(self) -> Float[Tensor, "b d"]:
        """Average of the valid tokens; zero where a sample has none."""
        if self.valid is None:
            return self.x.mean(1)
        weight = self.valid.to(self.x.dtype)[..., None]
        return (self.x * weight).sum(1) / weight.sum(1).clamp_min(1)

    def deviation(self) -> Float[Tensor, "b d"]:
        """Standard deviation of the valid tokens about their mean; zero where a sample has none."""
        return replace(self, x=(self.x - self.mean()[:, None]).square()).mean().sqrt()

    def means(self, axis: int) -> Float[Tensor, "b parts d"]:
        """Averages of the valid tokens at each place of an axis of the grid; zero where there are none."""
        weight = self.coords[..., axis, None] == torch.arange(self.grid[axis], device=self.x.device)
        if self.valid is not None:
            weight = weight & self.valid[..., None]
        weight = weight.to(self.x.dtype)
        return weight.mT @ self.x / weight.sum(1).clamp_min(1)[..., None]

    def filled(self, axis: int) -> Bool[Tensor, "b parts"]:
        """At which places of an axis of the grid there is any valid token."""
        there = self.coords[..., axis, None] == torch.arange(self.grid[axis], device=self.x.device)
        if self.valid is not None:
            there = there & self.valid[..., None]
        return there.any(1)

    def present(self) -> Bool[Tensor, " b"]:
        """Which samples have any token at all."""
        if self.valid is None:
            return torch.ones(self.x.shape[0], dtype=torch.bool, device=self.x.device)
        return self.valid.any(1)


@dataclass(frozen=True)
class Patches:
    """A signal cut into n patches of p values, before any parameter.

    grid: how many patches along each axis; n is their product and `coords` counts through them in row-major order.
    time: middle of each patch, in seconds since the window began; the window lasts `duration` seconds.
    valid: which patches hold real data; None when all do.
    hint: what a masking may follow: a score or a class (motion, saliency, face region, similarity to the text), or a
        velocity (b, n, 2), across and down, in widths and heights of the picture per second.
    edges: adjacency (b, parts, parts) between the things that the last axis counts.
    observed: which of the c channels of a patch exist, where values are laid out (..., channel); None when all do. A
        missing one holds its channel's mean, which is zero in the network's units; it is neither predicted nor drawn.
    """

    values: Shaped[Tensor, "b n p"]
    coords: Int[Tensor, "n axes"]
    time: Float[Tensor, "b n"]
    grid: tuple[int, ...]
    duration: Float[Tensor, " b"]
    valid: Bool[Tensor, "b n"] | None = None
    hint: Float[Tensor, "b n ..."] | None = None
    edges: Float[Tensor, "b parts parts"] | None = None
    observed: Bool[Tensor, "b n c"] | None = None

    def places(self, index: Int[Tensor, "b k"] | None = None, valid: Bool[Tensor, "b k"] | None = None) -> Places:
        """Where the patches at `index` (by default all) are; `valid` marks the filled slots of `index`."""
        b, n = self.time.shape
        if index is None:
            return Places(self.coords.expand(b, n, -1), self.time, self.valid, self.grid)
        if valid is None and self.valid is not None:
            valid = take(self.valid, index)
        return Places(self.coords[index], take(self.time, index), valid, self.grid)


def take(x: Tensor, index: Int[Tensor, "b k"]) -> Tensor:
    """The patches at `index` of x (b, n, ...): (b, k, ...)."""
    shape = index.shape + (1,) * (x.ndim - 2)
    return x.gather(1, index.reshape(shape).expand(*index.shape, *x.shape[2:]))


def by_value(observed: Bool[Tensor, "b k c"], size: int) -> Bool[Tensor, "b k p"]:
    """Which of the `size` values of each patch exist, given which channels do; values are laid out (..., channel)."""
    return observed.repeat(1, 1, size // observed.shape[-1])


def lattice(grid: tuple[int, ...], device=None) -> Int[Tensor, "n axes"]:
    """Coordinates of every patch of a grid in row-major order."""
    axes = [torch.arange(size, device=device) for size in grid]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(grid))


def constant_like(numbers: Sequence[float | int], like: Float[Tensor, "*shape"]) -> Float[Tensor, " count"]:
    """Numbers of the code where another tensor is: written there, for a copy would make host and device wait."""
    return torch.stack([like.new_full((), number) for number in numbers])
