"""Contrastive learning between the streams of a sample."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Literal

import torch
from torch import nn
from torch.nn.functional import cross_entropy, logsigmoid, normalize

from fusion.projector import MakeProjector, Projector
from mmmae.objectives.objective import Encoded, Parts
from mmmae.objectives.queue import Queue, filled
from mmmae.objectives.taught import Taught
from mmmae.parallel.reduce import compared, count, first_row, gather, mean
from mmmae.teachers import MakeTeacher
from modalities.records import Tokens
from modalities.shapes import Bool, Float, Tensor
from modalities.tokenizer import Tokenizer

ABSENT = -1e4  # a candidate that is not there: its probability is exactly zero in float32


class Contrastive(Taught):
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
        head: a projector in place of the linear layer to the shared space; streams that share a tokenizer share it.
        teacher: whose representations of whole clips are the candidates (MoCo, 1911.05722): `ema`, with its own average
            of the heads; the model's own by default. queue: how many of the newest candidates of earlier steps are
            negatives as well. Both go with `infonce`.
        weight: of this objective in the total.
    """

    compares = True
    schedulable = (*Taught.schedulable, "temperature")

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
        head: MakeProjector | None = None,
        teacher: MakeTeacher | None = None,
        queue: int = 0,
        weight: float = 1.0,
    ):
        super().__init__(weight, None if teacher is None else teacher())
        if kind not in ("infonce", "ntxent", "sigmoid"):
            raise ValueError(f"kind is 'infonce', 'ntxent' or 'sigmoid', got {kind!r}")
        if temperature <= 0:
            raise ValueError(f"a temperature is above 0, got {temperature}")
        if kind != "infonce" and (teacher is not None or queue):
            raise ValueError(f"a teacher and a queue go with kind='infonce', got {kind!r}")
        self.kind, self.temperature = kind, None if learnable else temperature
        self.pairs = pairs(between or list(tokenizers), list(tokenizers))
        if not self.pairs:
            raise ValueError(f"a contrast needs a pair of streams, got between={between} of {list(tokenizers)}")
        streams = dict.fromkeys(name for pair in self.pairs for name in pair)
        self.apart = {name: axis for name, axis in (apart or {}).items() if name in streams}
        self.heads: dict[str, str] = {}  # of each stream: the one whose head it uses
        self.project = nn.ModuleDict()
        for name in streams:
            twins = (o for o in self.project if tokenizers[o] is tokenizers[name] and not {o, name} & set(self.apart))
            self.heads[name] = name if head is None else next(twins, name)
            if name in self.apart:
                self.project[name] = joining(tokenizers[name], name, self.apart[name], dim, width, head)
            elif self.heads[name] == name:
                self.project[name] = nn.Linear(dim, width) if head is None else head(dim, width)
        width = int(getattr(next(iter(self.project.values())), "out", width))
        self.queues = {name: Queue(queue, width) for name in streams if queue}
        self.queue = nn.ModuleDict(self.queues)
        scale = torch.tensor(math.log(1 / temperature))
        self.scale = nn.Parameter(scale) if learnable else None
        self.fixed = scale.exp().item()
        self.bias = nn.Parameter(torch.tensor(-10.0)) if kind == "sigmoid" else None  # most pairs do not match

    @classmethod
    def applicable(cls, tokenizers: Mapping[str, Tokenizer]) -> bool:
        return len(tokenizers) > 1

    def vectors(self, encoded: Encoded) -> dict[str, Float[Tensor, "b width"]]:
        """A unit vector for every stream of every sample."""
        return {name: self.vector(self.project, name, encoded.alone(name)) for name in self.among(encoded)}

    def candidates(self, encoded: Encoded) -> dict[str, Float[Tensor, "b width"]]:
        """The same by the teacher, without gradient."""
        teacher, names = self.teacher, self.among(encoded)
        with torch.no_grad():
            return {name: self.vector(teacher.heads, name, teacher.encode(encoded, [name])[name]) for name in names}

    def among(self, encoded: Encoded) -> list[str]:
        """The streams of the batch that are compared."""
        return [name for name in self.heads if name in encoded.tokens]

    def vector(self, heads: nn.ModuleDict, name: str, tokens: Tokens) -> Float[Tensor, "b width"]:
        head, x = heads[self.heads[name]], self.pool(name, tokens)
        x = head(x, tokens.present(), gather) if isinstance(head, Projector) else head(x)
        return normalize(x.float(), dim=-1)

    def pool(self, name: str, tokens: Tokens) -> Float[Tensor, "b _"]:
        return tokens.means(self.apart[name]).flatten(1) if name in self.apart else tokens.mean()

    def forward(self, encoded: Encoded) -> dict[str, Float[Tensor, ""]]:
        vectors = self.vectors(encoded)
        keys = vectors if self.teacher is None else self.candidates(encoded)
        present = {name: encoded.tokens[name].present() for name in vectors}
        scale = self.inverse() if self.scale is None else self.scale.clamp(max=math.log(100)).exp()
        parts = Parts()
        with torch.autocast(encoded.batch.key.device.type, enabled=False):  # a matrix product would halve the precision
            for a, b in pairs(self.pairs, list(vectors)):
                both = present[a] & present[b]
                if self.kind == "infonce":
                    older = [self.queues[name].keys if self.queues else None for name in (a, b)]
                    loss = infonce(vectors[a], vectors[b], both, scale, (keys[a], keys[b]), older)
                else:
                    loss = self.contrast(vectors[a], vectors[b], both, scale)
                always = self.kind == "sigmoid" or self.queues  # even the only pair is compared with something
                parts.put(f"{a}-{b}", loss, count(both, both) if always else compared(both))
        for name, queue in self.queues.items() if self.training else ():
            if name in keys:
                queue.offer(keys[name], present[name])
        return parts

    def inverse(self) -> Tensor | float:
        """1 / temperature; where it is fixed, rounded as a learnable one begins."""
        return 1 / self.temperature if isinstance(self.temperature, Tensor) else self.fixed

    def taught_heads(self) -> nn.Module:
        return self.project

    def after_step(self, model: nn.Module, progress: float, taken: bool | Tensor) -> None:
        super().after_step(model, progress, taken)
        for queue in self.queues.values():
            queue.after_step(taken)

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
    a: Float[Tensor, "b d"],
    b: Float[Tensor, "b d"],
    both: Bool[Tensor, " b"],
    scale: Tensor | float,
    keys: tuple[Float[Tensor, "b d"], Float[Tensor, "b d"]] | None = None,
    older: Sequence[Float[Tensor, "size d"] | None] = (None, None),
) -> Float[Tensor, ""]:
    """Cross-entropy of finding b from a and a from b, averaged, among the samples of all processes that have both.

    keys: what is found of a and of b, by default themselves. older: further candidates of each, never the right ones; a
        row of zeros is none.
    """
    every_a, every_b, every = *map(gather, keys or (a, b)), gather(both)
    own = torch.arange(len(a), device=a.device) + first_row(len(a))
    sides = ((a, every_b, older[1]), (b, every_a, older[0]))
    ahead, back = (extended((scale * x @ y.T).masked_fill(~every, ABSENT), x, more, scale) for x, y, more in sides)
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


def extended(
    logits: Float[Tensor, "b every"],
    x: Float[Tensor, "b d"],
    older: Float[Tensor, "size d"] | None,
    scale: Tensor | float,
) -> Float[Tensor, "b more"]:
    """Logits with those of older candidates beside them."""
    if older is None:
        return logits
    return torch.cat([logits, (scale * x @ older.T).masked_fill(~filled(older), ABSENT)], 1)


def joining(
    tokenizer: Tokenizer, name: str, axis: int, dim: int, width: int, head: MakeProjector | None = None
) -> nn.Module:
    """An MLP over the averages at every place of an axis, whose length the tokenizer's settings must tell."""
    parts = tokenizer.sizes[axis] if -len(tokenizer.axes) <= axis < len(tokenizer.axes) else None
    if parts is None:
        known = [i for i, size in enumerate(tokenizer.sizes) if size is not None]
        raise ValueError(f"apart: {name} has no axis {axis} of a known length; axes that have one: {known or 'none'}")
    if head is not None:
        return head(parts * dim, width)
    return nn.Sequential(nn.Linear(parts * dim, width), nn.GELU(), nn.Linear(width, width))


def pairs(between: list, streams: list[str]) -> list[tuple[str, str]]:
    """Pairs of known streams; names that this model does not have drop out with the pairs that need them."""
    chosen = combinations(between, 2) if all(isinstance(item, str) for item in between) else map(tuple, between)
    return [(a, b) for a, b in chosen if a in streams and b in streams]
