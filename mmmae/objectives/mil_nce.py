"""Multiple-instance contrastive learning (MIL-NCE)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import nn
from torch.nn.functional import normalize

from mmmae.objectives.contrastive import ABSENT
from mmmae.objectives.objective import Encoded, Objective, Parts
from mmmae.parallel.reduce import compared, first_row, gather, mean
from modalities.shapes import Bool, Float, Tensor
from modalities.tokenizer import Tokenizer


class MilNce(Objective):
    """Contrast of an anchor with several candidates of a sample, at least one of which is a positive, unknown which.

    MIL-NCE (arXiv:1912.06430) sums over the candidates before it compares; with one of each it is InfoNCE. Each stream
    meets the anchor in a space of its own, which the anchor reaches through those before (arXiv:2006.16228), as in VATT
    (2104.11178). Samples without an anchor or candidates contribute neither as queries
    nor as negatives.

    Args:
        anchor: the stream that all others are compared with; the first of the recipe by default.
        spaces: the other streams and the widths of their spaces, in the anchor's order; by default all others at 256.
        candidates: for some of them, streams that may say the same at another moment (captions before and after).
        temperature: of the softmax.
        weight: of this objective in the total.
    """

    compares = True
    schedulable = (*Objective.schedulable, "temperature")

    def __init__(
        self,
        tokenizers: Mapping[str, Tokenizer],
        dim: int,
        *,
        anchor: str | None = None,
        spaces: dict[str, int] | None = None,
        candidates: dict[str, list[str]] | None = None,
        temperature: float = 0.07,
        weight: float = 1.0,
    ):
        super().__init__(weight)
        if temperature <= 0:
            raise ValueError(f"a temperature is above 0, got {temperature}")
        self.anchor = anchor or next(iter(tokenizers))
        more = candidates or {}
        versions = {version for others in more.values() for version in others}
        rest = [name for name in tokenizers if name != self.anchor and name not in versions]
        widths = {name: width for name, width in (spaces or dict.fromkeys(rest, 256)).items() if name in tokenizers}
        if self.anchor not in tokenizers or not widths or self.anchor in widths:
            streams = list(tokenizers)
            raise ValueError(f"an anchor meets other streams: got anchor {self.anchor!r} and {spaces} for {streams}")
        self.versions = {name: [name, *more.get(name, ())] for name in widths}
        self.temperature = temperature
        steps = [nn.Linear(dim, next(iter(widths.values())))]
        self.reach = nn.ModuleList(steps + [descent(a, b) for a, b in pairwise(widths.values())])
        self.project = nn.ModuleDict({name: nn.Linear(dim, width) for name, width in widths.items()})

    @classmethod
    def applicable(cls, tokenizers: Mapping[str, Tokenizer]) -> bool:
        return len(tokenizers) > 1

    def forward(self, encoded: Encoded) -> dict[str, Float[Tensor, ""]]:
        if self.anchor not in encoded.tokens:
            return {}
        parts = Parts()
        x, here = encoded.alone(self.anchor).mean(), encoded.tokens[self.anchor].present()
        for reach, (name, versions) in zip(self.reach, self.versions.items(), strict=True):
            x = reach(x)
            if versions := [version for version in versions if version in encoded.tokens]:
                y = torch.stack([self.project[name](encoded.alone(version).mean()) for version in versions], 1)
                there = torch.stack([encoded.tokens[version].present() for version in versions], 1)
                with torch.autocast(x.device.type, enabled=False):  # a product would halve the precision
                    vectors = normalize(x.float(), dim=-1), normalize(y.float(), dim=-1)
                    there = there & here[:, None]
                    loss = mil_nce(*vectors, there, 1 / self.temperature)
                    parts.put(f"{self.anchor}-{name}", loss, compared(there.any(1)))
        return parts


def descent(width: int, narrower: int) -> nn.Module:
    """From one space to the next."""
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, narrower))


def mil_nce(
    a: Float[Tensor, "b d"], c: Float[Tensor, "b n d"], there: Bool[Tensor, "b n"], scale: Tensor | float
) -> Float[Tensor, ""]:
    """How hard it is to tell a sample's n candidates from those of others, and its anchor from others; averaged.

    there: which candidates count; a sample without any does not count itself.
    """
    every_c, every_there = gather(c), gather(there)
    every_a, every_both = gather(a), gather(there.any(1))
    own = (torch.arange(len(a), device=a.device) + first_row(len(a)))[:, None, None].expand(-1, 1, c.shape[1])
    ahead = (scale * torch.einsum("bd, end -> ben", a, every_c)).masked_fill(~every_there, ABSENT)
    back = (scale * torch.einsum("bnd, ed -> ben", c, every_a)).masked_fill(~every_both[:, None], ABSENT)
    back = back.masked_fill(~there[:, None], ABSENT)
    fits = ahead.gather(1, own)[:, 0].logsumexp(1)
    losses = (ahead.flatten(1).logsumexp(1) + back.flatten(1).logsumexp(1)) / 2 - fits
    return mean(losses, there.any(1))
