"""Means of losses over pieces, batches and processes: what had nothing to ask about takes no part in a mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from modalities.shapes import Tensor

if TYPE_CHECKING:
    from accelerate import Accelerator

    from mmmae.objectives import Losses


class Means:
    """Collects the losses of several forward passes, on the device: nothing is waited for until `over` is asked.

    All processes add as many losses, of the same parts.
    """

    def __init__(self):
        self.losses: list[dict[str, Tensor]] = []
        self.counts: list[dict[str, Tensor]] = []

    def add(self, losses: Losses, samples: int = 1) -> None:
        """Of one forward pass. samples: by how many the total counts; parts bring their own counts."""
        self.losses.append({name: loss.detach() for name, loss in losses.items()})
        self.counts.append({**losses.counts, "total": torch.full_like(losses.total, samples, requires_grad=False)})

    def over(self, accelerator: Accelerator) -> dict[str, float]:
        """The mean of the total, then of each part over all the values that it was asked about; none of other parts."""
        names = ["total", *dict.fromkeys(name for losses in self.losses for name in losses if name != "total")]
        zero = torch.zeros((), device=accelerator.device)
        rows = [
            torch.stack([record.get(name, zero).float() for record in records for name in names])
            for records in (self.losses, self.counts)
        ]
        losses: Any = accelerator.reduce(torch.stack(rows), "mean")
        means, weights = losses.cpu().double().unflatten(1, (len(self.losses), len(names)))
        weighed = torch.where(weights > 0, means * weights, 0.0).sum(0) / weights.sum(0)
        there = (weights > 0).any(0)
        return {name: float(weighed[place]) for place, name in enumerate(names) if there[place]}
