"""Means and candidates over the samples of all processes, so that a loss does not depend on how they are divided."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist

from modalities.shapes import Bool, Float, Shaped, Tensor

isolated = False  # a plain global: the compiler guards on it


@contextmanager
def alone() -> Iterator[None]:
    """Inside, this process computes losses by itself, whatever the others do."""
    global isolated
    isolated = True
    try:
        yield
    finally:
        isolated = False


def many() -> bool:
    """Whether several processes train together."""
    return not isolated and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def mean(values: Float[Tensor, "*shape"], weight: Shaped[Tensor, "*shape"] | None = None) -> Float[Tensor, ""]:
    """Weighted mean over all processes, as this process's share of it.

    Averaged over processes, as DDP averages gradients, the shares give the mean over the joined batch. Zero, with a
    path to every value, where all weights are zero.
    """
    values = values.float()
    weight = torch.ones_like(values) if weight is None else weight.float()
    total = weight.sum()
    if many():  # also where nothing is missing here: every process must join in the same collectives
        dist.all_reduce(total)
        total = total / dist.get_world_size()
    return torch.where(weight > 0, values * weight, values * 0).sum() / torch.where(total > 0, total, 1.0)


def count(values: Shaped[Tensor, "*shape"], weight: Shaped[Tensor, "*shape"] | None = None) -> Float[Tensor, ""]:
    """How many values of this process `mean` averages: the sum of their weights."""
    if weight is None:
        return torch.full((), float(values.numel()), device=values.device)
    return weight.detach().float().sum()


def compared(both: Bool[Tensor, " b"]) -> Float[Tensor, ""]:
    """The number of pairs of this process that have a negative, in any process."""
    return torch.where(gather(both).sum() > 1, both.float().sum(), 0.0)


class Gather(torch.autograd.Function):
    """Rows of all processes; the backward pass sums the gradients of all of them for a process's own rows.

    `torch.distributed.nn.functional.all_gather` (2.11) is wrong over gloo where a gradient's strides are transposed:
    what it receives keeps their layout. tests/parallel/test_reduce.py notices it.
    """

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        rows = [torch.empty_like(x) for _ in range(dist.get_world_size())]
        dist.all_gather(rows, x)
        return torch.cat(rows)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous()
        dist.all_reduce(gradient)
        return gradient.chunk(dist.get_world_size())[dist.get_rank()]


def gather(x: Shaped[Tensor, "b ..."]) -> Shaped[Tensor, "every ..."]:
    """The rows (numbers, or flags) of all processes in rank order; gradients flow back to where a row came from."""
    if not many():
        return x
    rows = Gather.apply(x.contiguous() if x.is_floating_point() else x.to(torch.uint8))
    return rows.to(x.dtype)


def first_row(b: int) -> int:
    """Where this process's rows begin in what `gather` returns."""
    return dist.get_rank() * b if many() else 0
