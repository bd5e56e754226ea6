"""Shared trunk: one set of weights for all streams."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from fusion.trunks.trunk import StackTrunk, States, stacked
from modalities.records import Tokens


class Shared(StackTrunk):
    """Run one modality-agnostic encoder over each stream in turn (VATT, arXiv:2104.11178)."""

    mixes = False

    def forward(self, tokens: Mapping[str, Tokens], states: States | None = None) -> dict[str, Tokens]:
        tokens = {name: replace(t, x=t.x + self.embedding(name, t)) for name, t in tokens.items()}
        return stacked(lambda name, t, kept: self.stack(t.x, t.valid, states=kept), tokens, states)
