"""Where signals of a caller enter a model: names, devices and values are checked; what readers made passes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from modalities.errors import did_you_mean
from modalities.records import Batch, Signal
from modalities.tokenizer import Tokenizer


def admitted(batch: Any, tokenizers: Mapping[str, Tokenizer]) -> Batch:
    """The batch with signals that the tokenizers take as they are.

    batch: signals, tensors or arrays by stream.

    Raises:
        ValueError: names a stream, what was expected of it and what was given.
    """
    if not isinstance(batch, Mapping) or not batch:
        return Batch.of(batch)  # which refuses it
    for name in batch:
        if name not in tokenizers:
            hint = f"; {did_you_mean(name, tokenizers)}".rstrip("; ")
            raise ValueError(f"the model has no stream {name!r}, it has {', '.join(tokenizers)}{hint}")
    if isinstance(batch, Batch) and batch.trusted:
        return replace(batch, signals={name: replace(signal, accepted=True) for name, signal in batch.items()})
    signals = {name: accepted(name, signal, tokenizers[name]) for name, signal in batch.items()}
    return replace(batch, signals=signals) if isinstance(batch, Batch) else Batch.of(signals)


def accepted(name: str, signal: Any, tokenizer: Tokenizer) -> Signal:
    """What the tokenizer of a stream accepts the signal as, on the device of its weights."""
    home = next(tokenizer.parameters()).device
    try:
        signal = Signal.of(signal)
        if signal.values.device != home:
            raise ValueError(
                f"the model is on {home}, the values are on {signal.values.device}; move them: .to({str(home)!r})"
            )
        return tokenizer.accept(signal)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
