"""Trunk with early fusion: all streams in one sequence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from fusion.streams import join, part
from fusion.trunks.trunk import StackTrunk, States
from modalities.records import Tokens


class Joint(StackTrunk):
    """Encode the concatenated tokens of all streams (MultiMAE, arXiv:2204.01678; AV-MAE's early fusion)."""

    def forward(self, tokens: Mapping[str, Tokens], states: States | None = None) -> dict[str, Tokens]:
        tokens = {name: replace(t, x=t.x + self.embedding(name, t)) for name, t in tokens.items()}
        x, valid = join(tokens)
        kept = None if states is None else []
        x = self.stack(x, valid, states=kept)
        if states is not None:
            states.extend(part(state, tokens) for state in kept or [])
        return part(x, tokens)
