"""Validation of signals from callers: arrays are wrapped, types converted where that is unambiguous, else refused.

Shapes and types are checked anywhere; values only outside of compiled code, for looking at them makes the host wait.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
import torch

from modalities.records import Signal
from modalities.shapes import Bool, Shaped, Tensor

WAVES = {torch.int16: 2.0**15, torch.int32: 2.0**31}  # full scale of integer sound
LOUDEST = 64.0  # of a waveform in floats with full scale 1: beyond it the values are levels of integer samples


def shown(values: Tensor) -> str:
    """Type and shape of a tensor in words: `float32 (2, 16000)`."""
    return f"{str(values.dtype).removeprefix('torch.')} {tuple(values.shape)}"


def layout(values: Tensor, axes: Sequence[str], sizes: Mapping[str, int], expected: str) -> None:
    """Refuse values whose axes are not those of the tokenizer.

    axes: one letter each, batch first. sizes: of the axes whose size is settled. expected: the same in words.

    Raises:
        ValueError: with what was expected, what was given and how to convert it.
    """
    wanted = [sizes.get(axis) for axis in axes]
    remedy = ""
    if fits(values.shape, wanted):
        if all(values.shape):
            return
        remedy = "; it is empty"
    elif values.ndim == len(axes) - 1:
        remedy = "; add the batch axis: values[None]"
        if len(axes) == 5 or (len(axes) == 4 and fits(values.shape, [*wanted[:2], *wanted[3:]])):
            what = "images, add the time axis" if len(axes) == 5 else "one sensor, add the sensor axis"
            place = "[:, None]" if len(axes) == 5 else "[:, :, None]"
            remedy += f"; for a batch of {what}: values{place}"
    elif values.ndim == len(axes) + 1 and len(axes) == 2:
        remedy = "; mix channels to one: values.mean(1)" if values.dtype.is_floating_point else ""
    elif values.ndim == len(axes):
        for order in permutations(range(1, values.ndim)):
            moved = (0, *order)
            if fits([values.shape[axis] for axis in moved], wanted):
                given = ", ".join(axes[moved.index(axis)] for axis in range(values.ndim))
                remedy = f"; if these are ({given}): values.permute{moved}"
                break
    raise ValueError(f"expected {expected}, got {shown(values)}{remedy}")


def fits(shape: Sequence[Any], wanted: Sequence[int | None]) -> bool:
    """Whether a shape has the wanted sizes; None means any."""
    return len(shape) == len(wanted) and all(size in (None, found) for size, found in zip(wanted, shape, strict=True))


def companions(signal: Signal) -> Signal:
    """Lengths, times and validity that fit the values, in the types that records have.

    Raises:
        ValueError: names the field, what was expected and what was given.
    """
    b, t = signal.values.shape[:2]
    changed: dict[str, Any] = {}
    for name in ("length", "start", "duration", "lag"):
        x = getattr(signal, name)
        if x is None:
            continue
        if x.shape != (b,):
            raise ValueError(f"{name} has a number for each sample, ({b},), got {shown(x)}")
        if name == "length":
            if x.is_floating_point() or x.dtype == torch.bool:
                raise ValueError(f"length counts steps in whole numbers (int64), got {shown(x)}")
            changed[name] = x.long()
        else:
            changed[name] = x.float()
    observed = signal.observed
    if observed is not None and not (
        observed.dtype == torch.bool and observed.ndim >= 3 and observed.shape == signal.values.shape[: observed.ndim]
    ):
        raise ValueError(
            f"observed is a bool mask of which of the values {tuple(signal.values.shape)} exist, got {shown(observed)}"
        )
    if observed is not None and observed.ndim < signal.values.ndim:  # of whole sensors: each of their channels
        axes = (1,) * (signal.values.ndim - observed.ndim)
        changed["observed"] = observed.reshape(*observed.shape, *axes).expand_as(signal.values)
    if (edges := signal.edges) is not None and edges.shape != (b, *[signal.values.shape[2:][0]] * 2):
        raise ValueError(f"edges join the sensors of values {tuple(signal.values.shape)}, got {shown(edges)}")
    for name in ("values", "length", "start", "duration", "observed", "edges", "lag", "hint"):
        x = getattr(signal, name)
        if x is not None and x.device != signal.values.device:
            raise ValueError(f"values are on {signal.values.device}, {name} on {x.device}; move them together: .to()")
    signal = replace(signal, **changed)
    if judged():
        if signal.length is not None and bool(((signal.length < 0) | (signal.length > t)).any()):
            raise ValueError(f"length counts valid steps, from 0 to {t}, got {signal.length.tolist()}")
        for name in ("start", "duration", "lag"):
            x = getattr(signal, name)
            if x is not None and not bool(x.isfinite().all() & ((x > 0).all() | (name != "duration"))):
                raise ValueError(
                    f"{name} is in seconds, finite{' and above 0' * (name == 'duration')}, got {x.tolist()}"
                )
    return signal


def judged() -> bool:
    """Whether values may be looked at: not while a compiler or an exporter traces the code."""
    return not torch.compiler.is_compiling()


def real(signal: Signal) -> Bool[Tensor, "b t ..."] | None:
    """Which values hold data, broadcast to their shape; None when all do."""
    values, there = signal.values, None
    if signal.length is not None:
        there = torch.arange(values.shape[1], device=values.device) < signal.length[:, None]
        there = there.reshape(*there.shape, *[1] * (values.ndim - 2))
    if (observed := signal.observed) is not None:
        observed = observed.reshape(*observed.shape, *[1] * (values.ndim - observed.ndim))
        there = observed if there is None else there & observed
    return there


def span(signal: Signal) -> tuple[float, float]:
    """Smallest and largest of the values that hold data.

    Raises:
        ValueError: one of them is NaN or infinite; what is missing belongs in `length` or `observed`.
    """
    there = real(signal)
    values = signal.values if there is None else torch.where(there, signal.values, torch.zeros_like(signal.values))
    low, high = (float(x) for x in values.aminmax())
    if not np.isfinite(low) or not np.isfinite(high):
        raise ValueError("values hold NaN or infinity; mark what is missing by length or observed, or drop the sample")
    return low, high


def numbers(signal: Signal, expected: str) -> Signal:
    """Floats of any precision as float32.

    Raises:
        ValueError: integers, whose unit is unknown, or NaN or infinity among the values.
    """
    if not signal.values.is_floating_point():
        raise ValueError(f"expected {expected}, got {shown(signal.values)}; convert it to those units in float32")
    if judged():
        span(signal)
    return replace(signal, values=signal.values.float())


def waveform(signal: Signal, expected: str) -> Signal:
    """Sound with full scale 1 in float32; int16 and int32 are divided by their full scale.

    Raises:
        ValueError: another type, NaN or infinity, or floats that are levels of integer samples.
    """
    if signal.values.dtype in WAVES:
        return replace(signal, values=signal.values.float() / WAVES[signal.values.dtype])
    signal = numbers(signal, expected)
    if judged() and (loudest := max(-(ends := span(signal))[0], ends[1])) > LOUDEST:
        raise ValueError(
            f"expected {expected}, got values up to {loudest:g}; divide them by the full scale, 32768 for 16 bit"
        )
    return signal


def pictures(signal: Signal, expected: str) -> Signal:
    """Levels 0..255: uint8, or float32 where the values are floats; floats in [0, 1] and bool are scaled.

    Raises:
        ValueError: values outside 0..255, or floats for which it is ambiguous whether 1 or 255 is white.
    """
    values = signal.values
    if values.dtype == torch.uint8:
        return signal
    if values.dtype == torch.bool:
        return replace(signal, values=values.to(torch.uint8) * 255)
    if not judged():
        return replace(signal, values=scaled(values) if values.is_floating_point() else values.to(torch.uint8))
    low, high = span(signal)
    if low < 0 or high > 255:
        raise ValueError(
            f"expected {expected}, got {shown(values)} from {low:g} to {high:g}; give levels before any normalisation "
            "by mean and std: the tokenizer does that"
        )
    if not values.is_floating_point():
        return replace(signal, values=values.to(torch.uint8))
    if 1 < high < 2:
        raise ValueError(
            f"expected {expected}, got {shown(values)} up to {high:g}, which may mean either scale; clamp it to [0, 1]"
        )
    return replace(signal, values=values.float() * 255 if high <= 1 else values.float())


def measurements(signal: Signal, expected: str) -> Signal:
    """Floats between 0 and 1, the ends of the range that the stream states.

    Raises:
        ValueError: whole numbers, or values outside of [0, 1].
    """
    values = signal.values
    if not values.is_floating_point():
        raise ValueError(f"expected {expected}, got {shown(values)}; map the stream's `range` to [0, 1]")
    if judged():
        low, high = span(signal)
        if low < 0 or high > 1:
            raise ValueError(
                f"expected {expected}, got {shown(values)} from {low:g} to {high:g}; map the stream's `range` to [0, 1]"
            )
    return replace(signal, values=values.float())


def scaled(values: Shaped[Tensor, "b t c h w"]) -> Shaped[Tensor, "b t c h w"]:
    """Floats as levels 0..255, decided within a graph."""
    values = values.float()
    return values * torch.where(values.amax() <= 1, 255.0, 1.0)


def identifiers(signal: Signal, words: int, expected: str) -> Signal:
    """Ids of a vocabulary in int64.

    Raises:
        ValueError: no whole numbers, or ids that the vocabulary does not have.
    """
    values = signal.values
    if values.is_floating_point() or values.dtype == torch.bool:
        raise ValueError(f"expected {expected}, got {shown(values)}; Vocabulary.encode makes ids of a caption")
    values = values.long()
    if judged():
        low, high = span(replace(signal, values=values))
        if low < 0 or high >= words:
            raise ValueError(
                f"expected {expected}, got ids from {low:g} to {high:g}; encode with the "
                "vocabulary of the run, and give padding by length"
            )
    return replace(signal, values=values)
