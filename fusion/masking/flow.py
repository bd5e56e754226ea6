"""Motion-guided masking: a mask that follows the optical flow."""

from __future__ import annotations

import torch
from einops import rearrange
from torch.nn.functional import grid_sample

from fusion.masking.guide import guide, hide_in_steps
from fusion.masking.masking import Masking, Plan
from modalities.records import Patches, constant_like, lattice
from modalities.shapes import Float, Int, Tensor


class Flow(Masking):
    """Carry the mask of the middle of the clip along with the optical flow (MGMAE, arXiv:2308.10794).

    Random cells of the middle step are shown. The place of every other patch at that step is traced back through the
    velocities in between; in each step the patches that come from nearest to those cells are shown, exactly as many.
    What enters the picture has no such place and keeps its own. Where nothing moves this is tube masking.
    """

    follows = "flow"

    def __init__(self, *, ratio: float = 0.9):
        super().__init__(ratio)

    def plan(self, patches: Patches, noise: Float[Tensor, "b n"]) -> Plan:
        if len(patches.grid) != 3:
            raise ValueError(f"flow masking follows a video, whose grid is time, row, column; got {patches.grid}")
        places = patches.grid[1] * patches.grid[2]
        cell = lattice(patches.grid[1:], noise.device).to(noise.dtype)
        order = noise[:, :places].argsort(1)
        shown = cell[order[:, : max(1, places - int(self.ratio * places))]]
        origin = self.origins(patches, cell)
        away = (origin[:, :, None] - shown[:, None]).square().sum(-1).amin(-1)  # nearest: the highest of Gaussians
        chance = noise[:, :places].repeat(1, patches.grid[0])
        return hide_in_steps(patches, -(away + 1e-4 * chance), self.ratio)

    def origins(self, patches: Patches, cell: Float[Tensor, "p 2"]) -> Float[Tensor, "b n 2"]:
        """Where each patch was, in rows and columns, in the middle of what the sample has of the clip."""
        (steps, *size), places = patches.grid, len(cell)
        velocity = guide(patches, "flow", (2,)).flip(-1) * constant_like(size, cell)  # rows, columns per second
        velocity = rearrange(velocity, "b (t p) c -> b t p c", t=steps)
        time = patches.time[:, ::places]
        middle = self.present(patches) // 2
        traced = [cell.expand_as(velocity[:, 0])] * steps
        for order in (range(1, steps), range(steps - 2, -1, -1)):
            for now in order:  # from the middle onwards, then from the middle back; the other half rests
                before = now - 1 if order.step > 0 else now + 1
                gone = (time[:, now] - time[:, before])[:, None, None] * velocity[:, now]
                moves = (now > middle) if order.step > 0 else (now < middle)
                found = follow(traced[before], cell, cell - gone, size)
                traced[now] = torch.where(moves[:, None, None], found, traced[now])
        origin = torch.stack(traced, 1)
        inside = ((origin > -0.5) & (origin < constant_like(size, cell) - 0.5)).all(-1, keepdim=True)
        return rearrange(torch.where(inside, origin, cell), "b t p c -> b (t p) c")

    def present(self, patches: Patches) -> Int[Tensor, " b"]:
        """In how many steps each sample has anything."""
        steps = patches.grid[0]
        if patches.valid is None:
            return torch.full((len(patches.time),), steps, device=patches.time.device)
        return rearrange(patches.valid, "b (t p) -> b t p", t=steps).any(-1).sum(1)


def follow(
    traced: Float[Tensor, "b p 2"], cell: Float[Tensor, "p 2"], at: Float[Tensor, "b p 2"], size: list[int]
) -> Float[Tensor, "b p 2"]:
    """What a field of traced places says at places between its cells: it is their shift that is interpolated."""
    shift = rearrange(traced - cell, "b (h w) c -> b c h w", h=size[0])
    point = 2 * at / (constant_like(size, cell) - 1).clamp_min(1) - 1
    found = grid_sample(shift, point.flip(-1)[:, None], padding_mode="border", align_corners=True)
    return at + rearrange(found, "b c 1 p -> b p c")
