"""Span masking: runs of words or of time windows."""

from __future__ import annotations

import torch

from fusion.masking.masking import Masking, Plan, further, rank, share
from modalities.records import Patches
from modalities.shapes import Float, Tensor


class Span(Masking):
    """Hide `length` neighbours in a row along the last axis but keep the count exact (SpanBERT, arXiv:1907.10529).

    The sequence, in row-major order, is cut into spans at a random offset; whole spans are hidden until the count is
    reached, the last one in part.
    """

    def __init__(self, *, ratio: float = 0.15, length: int = 3):
        super().__init__(ratio)
        if length < 1:
            raise ValueError(f"a span has at least one patch, got {length}")
        self.length = length

    def plan(self, patches: Patches, noise: Float[Tensor, "b n"]) -> Plan:
        n, ratio = noise.shape[1], self.ratio
        place = torch.arange(n, device=noise.device)
        offset = (further(noise, "offset", 1) * self.length).long()
        span = (place + offset) // self.length
        score = rank(noise).gather(1, span) + place / n  # whole spans by rank, then in order within one
        hidden = int(ratio * n)
        count = hidden if patches.valid is None else share(ratio, patches.valid.sum(1))[:, None]
        return Plan.of(rank(score, patches.valid) < count, n - hidden, hidden, patches.valid)
