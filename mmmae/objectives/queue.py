"""A queue of keys: negatives from the batches before."""

from __future__ import annotations

import torch
from torch import nn

from mmmae.parallel.reduce import gather
from modalities.shapes import Bool, Float, Tensor


class Queue(nn.Module):
    """The newest `size` keys of all processes, in the order in which they came (MoCo, arXiv:1911.05722).

    A forward pass offers keys and changes nothing that a later one depends on; `after_step` takes them in, piece by
    piece of the step and rank by rank, and the oldest leave. Keys of samples that are not there take no place.

    keys: oldest first. An empty slot, which stands before all others, is zero; a key, a unit vector, never is.
    """

    keys: Tensor
    offered: Tensor

    def __init__(self, size: int, width: int):
        super().__init__()
        if size < 1:
            raise ValueError(f"a queue holds at least 1 key, got {size}")
        self.register_buffer("keys", torch.zeros(size, width))
        self.register_buffer("offered", torch.zeros(size, width), persistent=False)

    def filled(self) -> Bool[Tensor, " size"]:
        return filled(self.keys)

    @torch.no_grad()
    def offer(self, keys: Float[Tensor, "b width"], valid: Bool[Tensor, " b"]) -> None:
        """Keys of this process, for the step that is being made; every process must offer as many."""
        rows, real = gather(keys.detach().float()), gather(valid)
        self.offered.copy_(newest(self.offered, torch.where(real[:, None], rows, 0.0)))

    @torch.no_grad()
    def after_step(self, taken: bool | Tensor) -> None:
        """Take in what was offered since the last step; a skipped one leaves no trace."""
        flag = torch.as_tensor(taken, device=self.keys.device)
        self.keys.copy_(newest(self.keys, torch.where(flag, self.offered, 0.0)))
        self.offered.zero_()


def filled(keys: Float[Tensor, "n width"]) -> Bool[Tensor, " n"]:
    """Which rows hold a key."""
    return (keys != 0).any(1)


def newest(old: Float[Tensor, "size width"], new: Float[Tensor, "b width"]) -> Float[Tensor, "size width"]:
    """The last `size` keys of both, in their order, after as many empty slots as remain."""
    rows = torch.cat([old, new])
    order = filled(rows).to(torch.uint8).argsort(stable=True)
    return rows[order[-len(old) :]]
