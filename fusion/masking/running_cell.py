"""Dual masking: tubes for the encoder, a running cell for the decoder."""

from __future__ import annotations

from dataclasses import replace

import torch

from fusion.masking.masking import Masking, Plan, filled, further, hide_slices
from modalities.records import Patches, take
from modalities.shapes import Bool, Float, Tensor


class RunningCell(Masking):
    """Hide tubes, and ask for some patches of each: the decoder's sequence shrinks (VideoMAE V2, arXiv:2303.16727).

    Places are grouped into cells, `cell` by `cell` in a picture. Of every cell the decoder is asked for some neighbours
    in row-major order, which move on by one place from each time step to the next: they cover the clip evenly and touch
    every tube. Each sample begins at a place of its own.

    Args:
        ratio: of the places hidden from the encoder, at all times.
        decoder_ratio: of each cell that is hidden from the decoder as well.
        cell: places along each side of a cell.
    """

    schedulable = ("ratio", "decoder_ratio")

    def __init__(self, *, ratio: float = 0.9, decoder_ratio: float = 0.5, cell: int = 2):
        super().__init__(ratio)
        if not 0 <= decoder_ratio < 1:
            raise ValueError(f"the decoder's ratio to hide is a number in [0, 1), got {decoder_ratio}")
        if cell < 1:
            raise ValueError(f"a cell has at least 1 place along each side, got {cell}")
        self.decoder_ratio, self.cell = decoder_ratio, cell

    def plan(self, patches: Patches, noise: Float[Tensor, "b n"]) -> Plan:
        steps, *sides = patches.grid
        tubes = hide_slices(patches, noise, self.ratio, axes=tuple(range(1, len(patches.grid))))
        size = self.cell ** len(sides)
        keep = size - int(self.decoder_ratio * size)
        places = tubes.hidden.shape[1] // steps
        slots = places * (steps // size * keep + min(steps % size, keep))  # as many as tubes can be asked for
        said = take(self.said(patches, noise, size, keep), tubes.hidden)
        if tubes.hidden_valid is None and steps % size == 0:  # every tube has had each place of the cell equally often
            return replace(tubes, hidden=tubes.hidden.gather(1, filled(said, slots)[0]))
        index, asked = filled(said if tubes.hidden_valid is None else said & tubes.hidden_valid, slots)
        return replace(tubes, hidden=tubes.hidden.gather(1, index), hidden_valid=asked)

    def said(self, patches: Patches, noise: Float[Tensor, "b n"], size: int, keep: int) -> Bool[Tensor, "b n"]:
        """Which patches the decoder's mask leaves, whether the encoder sees them or not."""
        place = torch.zeros_like(patches.coords[:, 0])
        for axis in range(1, len(patches.grid)):
            place = place * self.cell + patches.coords[:, axis] % self.cell
        begin = (further(noise, "cell", 1) * size).long()
        return (place + patches.coords[:, 0] + begin) % size < keep
