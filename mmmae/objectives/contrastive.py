"""Contrastive learning between the streams of a sample."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import combinations
from typing import Literal

import torch
from torch import nn
from torch.nn.functional import cross_entropy, logsigmoid, normalize

from mmmae.objectives.objective import Encoded, Objective, Parts
from mmmae.parallel.reduce import compared, count, first_row, gather, mean
from modalities.records import Tokens
from modalities.shapes import Bool, Float, Tensor
from modalities.tokenizer import Tokenizer

ABSENT = -1e4  # a candidate that is not there: its probability is exactly zero in float32


class Contrastive(Objective):
    """Contrast of the streams of a sample, with the other samples of all processes as negatives.

    Each stream's visible tokens are encoded without the others (in a joint pass the representation of one would contain
    the other), averaged and mapped by a projection head. Samples that lack one of a pair are neither queries nor
    negatives.

    Args:
        kind: `infonce` (CPC, arXiv:1807.03748; both directions averaged), `ntxent` (SimCLR, 2002.05709: other
            samples of an anchor's own stream are candidates too) or `sigmoid` (SigLIP, 2303.15343).
        between: the streams to pair with each other, or the pairs; all pairs by default.
        width: of the shared space.
        apart: for some streams, an axis of their coordinates: the averages at each place on it are kept apart until an
            MLP joins them, so that it knows which of them (which channel, say) is which.
        temperature: of InfoNCE, or 1 / scale of the sigmoid. learnable: whether training moves it.
        weight: of this objective in the total.
    """

    compares = True
    schedulable = (*Objective.schedulable, "temperature")

    def __init__(
        self,
        tokenizers: Mapping[str, Tokenizer],
        dim: int,
        *,
        kind: Literal["infonce", "ntxent", "sigmoid"] = "infonce",
        between: list[str] | list[tuple[str, str]] | None = None,
        width: int = 256,
        apart: dict[str, int] | None = None,
        temperature: float = 0.07,
        learnable: bool = False,
        weight: float = 1.0,
    ):
        super().__init__(weight)
        if kind not in ("infonce", "ntxent", "sigmoid"):
            raise ValueError(f"kind is 'infonce', 'ntxent' or 'sigmoid', got {kind!r}")
        if temperature <= 0:
            raise ValueError(f"a temperature is above 0, got {temperature}")
        self.kind, self.temperature = kind, None if learnable else temperature
        self.pairs = pairs(between or list(tokenizers), list(tokenizers))
        if not self.pairs:
            raise ValueError(f"a contrast needs a pair of streams, got between={between} of {list(tokenizers)}")
        streams = dict.fromkeys(name for pair in self.pairs for name in pair)
        self.apart = {name: axis for name, axis in (apart or {}).items() if name in streams}
        self.project = nn.ModuleDict(
            {
                name: joining(tokenizers[name], name, self.apart[name], dim, width)
                if name in self.apart
                else nn.Linear(dim, width)
                for name in streams
            }
        )
        scale = torch.tensor(math.log(1 / temperature))
        self.scale = nn.Parameter(scale) if learnable else None
        self.fixed = scale.exp().item()
        self.bias = nn.Parameter(torch.tensor(-10.0)) if kind == "sigmoid" else None  # most pairs do not match

    @classmethod
    def applicable(cls, tokenizers: Mapping[str, Tokenizer]) -> bool:
        return len(tokenizers) > 1

    def vectors(self, encoded: Encoded) -> dict[str, Float[Tensor, "b width"]]:
        """A unit vector for every stream of every sample."""
        streams = (name for name in self.project if name in encoded.tokens)
        pooled = {name: self.pool(name, encoded.alone(name)) for name in streams}
        return {name: normalize(self.project[name](x).float(), dim=-1) for name, x in pooled.items()}

    def pool(self, name: str, tokens: Tokens) -> Float[Tensor, "b _"]:
        return tokens.means(self.apart[name]).flatten(1) if name in self.apart else tokens.mean()

    def forward(self, encoded: Encoded) -> dict[str, Float[Tensor, ""]]:
        vectors = self.vectors(encoded)
        present = {name: encoded.tokens[name].present() for name in vectors}
        scale = self.inverse() if self.scale is None else self.scale.clamp(max=math.log(100)).exp()
        parts = Parts()
        with torch.autocast(encoded.batch.key.device.type, enabled=False):  # a matrix product would halve the precision
            for a, b in pairs(self.pairs, list(vectors)):
                both = present[a] & present[b]
                loss = self.contrast(vectors[a], vectors[b], both, scale)
                parts.put(f"{a}-{b}", loss, count(both, both) if self.kind == "sigmoid" else compared(both))
        return parts

    def inverse(self) -> Tensor | float:
        """1 / temperature; where it is fixed, rounded as a learnable one begins."""
        return 1 / self.temperature if isinstance(self.temperature, Tensor) else self.fixed

    def contrast(
        self, a: Float[Tensor, "b d"], b: Float[Tensor, "b d"], both: Bool[Tensor, " b"], scale: Tensor | float
    ) -> Float[Tensor, ""]:
        """The loss of this process's samples against those of all processes."""
        if self.kind == "sigmoid":
            assert self.bias is not None
            every_b, every = gather(b), gather(both)
            own = torch.arange(len(a), device=a.device) + first_row(len(a))
            logits = scale * a @ every_b.T + self.bias
            sign = torch.full_like(logits, -1.0).scatter(1, own[:, None], 1.0)
            losses = -(logsigmoid(sign * logits) * every).sum(1)
            return mean(losses, both)
        return (ntxent if self.kind == "ntxent" else infonce)(a, b, both, scale)


def infonce(
    a: Float[Tensor, "b d"], b: Float[Tensor, "b d"], both: Bool[Tensor, " b"], scale: Tensor | float
) -> Float[Tensor, ""]:
    """Cross-entropy of finding b from a and a from b, averaged, among the samples of all processes that have both."""
    every_a, every_b, every = gather(a), gather(b), gather(both)
    own = torch.arange(len(a), device=a.device) + first_row(len(a))
    ahead, back = ((scale * x @ y.T).masked_fill(~every, ABSENT) for x, y in ((a, every_b), (b, every_a)))
    losses = (cross_entropy(ahead, own, reduction="none") + cross_entropy(back, own, reduction="none")) / 2
    return mean(losses, both)


def ntxent(
    a: Float[Tensor, "b d"], b: Float[Tensor, "b d"], both: Bool[Tensor, " b"], scale: Tensor | float
) -> Float[Tensor, ""]:
    """`infonce` among both kinds of candidate: all of the other stream, and of the anchor's own all but itself."""
    every_a, every_b, every = gather(a), gather(b), gather(both)
    own = torch.arange(len(a), device=a.device) + first_row(len(a))
    itself = own[:, None] == torch.arange(len(every), device=a.device)
    losses = []
    for anchor, other, same in ((a, every_b, every_a), (b, every_a, every_b)):
        across = (scale * anchor @ other.T).masked_fill(~every, ABSENT)
        within = (scale * anchor @ same.T).masked_fill(~every | itself, ABSENT)
        losses.append(cross_entropy(torch.cat([across, within], 1), own, reduction="none"))
    return mean(torch.stack(losses).mean(0), both)


def joining(tokenizer: Tokenizer, name: str, axis: int, dim: int, width: int) -> nn.Module:
    """An MLP over the averages at every place of an axis, whose length the tokenizer's settings must tell."""
    parts = tokenizer.sizes[axis] if -len(tokenizer.axes) <= axis < len(tokenizer.axes) else None
    if parts is None:
        known = [i for i, size in enumerate(tokenizer.sizes) if size is not None]
        raise ValueError(f"apart: {name} has no axis {axis} of a known length; axes that have one: {known or 'none'}")
    return nn.Sequential(nn.Linear(parts * dim, width), nn.GELU(), nn.Linear(width, width))


def pairs(between: list, streams: list[str]) -> list[tuple[str, str]]:
    """Pairs of known streams; names that this model does not have drop out with the pairs that need them."""
    chosen = combinations(between, 2) if all(isinstance(item, str) for item in between) else map(tuple, between)
    return [(a, b) for a, b in chosen if a in streams and b in streams]
