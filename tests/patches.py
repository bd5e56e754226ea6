"""Patches to mask, and which of them a plan shows and hides."""

from __future__ import annotations

import tiny
import torch

from fusion.masking import Plan
from modalities.records import Patches, lattice

VECTORS = ("flow",)  # hints with two numbers a patch


def cut(grid: tuple[int, ...], seed: int, batch: int = 4, ragged: bool = True, hint: str | None = None) -> Patches:
    """Patches of a grid, most samples shorter than it, one complete, one absent; with a hint for who follows one."""
    coords = lattice(grid)
    time = ((coords[:, 0] + 0.5) / grid[0]).expand(batch, -1)
    valid = None
    if ragged:
        length = torch.randint(0, grid[0] + 1, (batch,), generator=torch.Generator().manual_seed(seed))
        length[0], length[-1] = grid[0], 0
        valid = coords[:, 0] < length[:, None]
    values = torch.arange(batch * len(coords)).reshape(batch, -1, 1)
    shape = (batch, len(coords), *([2] if hint in VECTORS else []))
    hints = None if hint is None else 3 * torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    return Patches(values, coords, time, grid, torch.ones(batch), valid, hints)


def sets(plan: Plan, patches: Patches, index: int) -> tuple[list[int], list[int]]:
    """Visible and hidden patches of one sample, after checking law 2 of them."""
    n = patches.time.shape[1]
    visible, hidden = (
        tiny.chosen(plan.visible, plan.visible_valid, n)[index],
        tiny.chosen(plan.hidden, plan.hidden_valid, n)[index],
    )
    assert not (visible & hidden).any(), "a patch is both visible and hidden"
    if patches.valid is not None:
        assert not ((visible | hidden) & ~patches.valid[index]).any(), "a plan names a patch that is not there"
    for slots, filled in ((plan.visible, plan.visible_valid), (plan.hidden, plan.hidden_valid)):
        row = slots[index] if filled is None else slots[index][filled[index]]
        assert torch.equal(row, row.sort().values)
    return visible.nonzero()[:, 0].tolist(), hidden.nonzero()[:, 0].tolist()
