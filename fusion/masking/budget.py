"""Budget masking: a fixed number of visible tokens, divided among the modalities at random."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from fusion.masking.masking import JointMasking, Noise, Plan, rank
from modalities.records import Patches
from modalities.shapes import Float, Int, Tensor

TRIES = 16  # of the rejection sampler; all fail once in 10^20 draws


def gamma(alpha: float, u: Float[Tensor, "b streams draws"]) -> Float[Tensor, "b streams"]:
    """Gamma(alpha) variates from uniform numbers (Marsaglia and Tsang 2000), without a generator or a loop.

    u: 3 * TRIES + 1 uniform numbers in [0, 1) for each variate.
    """
    u = u.clamp(1e-7, 1 - 1e-7)
    shape = alpha if alpha >= 1 else alpha + 1
    d = shape - 1 / 3
    radius, angle, accept = u[..., 1:].chunk(3, -1)
    x = (-2 * radius.log()).sqrt() * (2 * torch.pi * angle).cos()
    v = (1 + x / (9 * d) ** 0.5) ** 3
    positive = v.clamp_min(1e-7)
    good = (v > 0) & (accept.log() < 0.5 * x**2 + d - d * v + d * positive.log())
    first = good.byte().argmax(-1, keepdim=True)
    drawn = d * positive.gather(-1, first)[..., 0]
    return drawn if alpha >= 1 else drawn * u[..., 0] ** (1 / alpha)


class Budget(JointMasking):
    """Show `tokens` patches of each sample, shared among its modalities by a Dirichlet draw (MultiMAE, 2204.01678).

    tokens: visible patches; a sample that has fewer shows all it has.
    alpha: concentration: small makes one modality dominate, large shares evenly.
    """

    def __init__(self, *, tokens: int = 98, alpha: float = 1.0):
        super().__init__()
        if tokens < 1 or alpha <= 0:
            raise ValueError(f"tokens counts from 1 and alpha is positive, got {tokens} and {alpha}")
        self.tokens, self.alpha = tokens, alpha

    def plan(self, streams: Mapping[str, Patches], noise: Noise) -> dict[str, Plan]:
        valid = {
            name: torch.ones_like(p.time, dtype=torch.bool) if p.valid is None else p.valid
            for name, p in streams.items()
        }
        has = torch.stack([v.sum(1) for v in valid.values()], 1)
        shares = self.allot(list(streams), has, noise)
        plans = {}
        for (name, patches), count in zip(streams.items(), shares.unbind(1), strict=True):
            n = patches.time.shape[1]
            order = rank(noise(f"mask/{name}", n), valid[name])
            plans[name] = Plan.of(order >= count[:, None], min(n, self.tokens), n, valid[name])
        return plans

    def allot(self, streams: list[str], has: Int[Tensor, "b streams"], noise: Noise) -> Int[Tensor, "b streams"]:
        """How many patches each stream shows: never more than it has, `tokens` together where there are as many."""
        u = torch.stack([noise(f"budget/{name}", 3 * TRIES + 1) for name in streams], 1)
        weight = gamma(self.alpha, u) * (has > 0)
        count = (self.tokens * weight / weight.sum(1, keepdim=True).clamp_min(1e-7)).long().minimum(has)
        left = self.tokens - count.sum(1)
        for stream in range(len(streams)):  # what rounding and small streams left over
            more = left.minimum(has[:, stream] - count[:, stream])
            count = count + more[:, None] * (torch.arange(len(streams), device=has.device) == stream)
            left = left - more
        return count
