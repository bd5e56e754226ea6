"""Decoder of all streams in one sequence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fusion.blocks import Stack, record
from fusion.decoders.decoder import Contents, EndedDecoder, States
from fusion.streams import join, part
from modalities.records import Places, Tokens
from modalities.shapes import Float, Tensor


class Joint(EndedDecoder):
    """Self-attention over visible and mask tokens of all streams (VideoMAE, arXiv:2203.12602)."""

    def __init__(self, streams: Sequence[str], dim: int, outputs: Mapping[str, int], **size: Any):
        super().__init__(streams, dim, outputs, **size)
        self.stack = Stack(self.width, self.depth, self.heads)

    def forward(
        self,
        tokens: Mapping[str, Tokens],
        asked: Mapping[str, Places],
        contents: Contents | None = None,
        states: States | None = None,
    ) -> dict[str, Float[Tensor, "b m outputs"]]:
        shown = {("shown", name): self.ends.shown(name, t) for name, t in tokens.items()}
        queries = {("asked", name): self.ends.query(name, places, contents) for name, places in asked.items()}
        everything = shown | queries
        x, valid = join(everything)
        kept = None if states is None else []
        answers = part(self.stack(x, valid, states=kept), everything)
        for state in kept or []:
            layer = part(state, everything)
            record(states, {name: layer["asked", name].x for name in asked})
        return {name: self.ends.answer(name, answers["asked", name].x) for name in asked}
