"""Layers for each stream, then layers for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, cast

import torch
from torch import nn

from fusion.blocks import EPS, Block, at_level, attendable, by_layer, record
from fusion.sparse import SparseStack
from fusion.streams import StreamEmbedding, join_valid
from fusion.trunks.trunk import States, TransformerTrunk
from modalities.records import Tokens


class Branches(TransformerTrunk):
    """Encode each stream with layers of its own, then all of them with joint layers (CAV-MAE, arXiv:2210.07839).

    depth: layers that a token passes in all; the last `joint_depth` of them are joint.
    norms: in the joint layers, `shared` LayerNorms or, as in CAV-MAE, one set `per_modality`.
    keep: share of its tokens with which a sample goes on each time that its branch drops those attended to least, which
        it does `drops` times and in training only (SMAUG, arXiv:2211.11446): for all streams, or for those named. The
        joint layers, and whoever reads the trunk, then see the survivors at their own places.
    """

    def __init__(
        self,
        streams: Sequence[str],
        *,
        joint_depth: int = 1,
        norms: Literal["shared", "per_modality"] = "shared",
        keep: float | dict[str, float] = 1.0,
        drops: int = 3,
        **size: int,
    ):
        super().__init__(**size)
        width, depth, heads = self.width, self.depth, self.heads
        if not 0 < joint_depth < depth:
            raise ValueError(f"joint_depth lies between 1 and depth - 1 = {depth - 1}, got {joint_depth}")
        if norms not in ("shared", "per_modality"):
            raise ValueError(f"norms are 'shared' or 'per_modality', got {norms!r}")
        branch_depth = depth - joint_depth
        self.embedding = StreamEmbedding(streams, width)
        shares = keep if isinstance(keep, dict) else dict.fromkeys(streams, keep)
        self.branches = nn.ModuleDict(
            {
                name: SparseStack(width, branch_depth, heads, keep=shares.get(name, 1.0), drops=drops, norm=False)
                for name in streams
            }
        )
        sets = streams if norms == "per_modality" else ["all"]
        self.norm_of = {name: name if norms == "per_modality" else "all" for name in streams}
        self.blocks = nn.ModuleList(
            at_level(JointBlock(width, heads, sets), branch_depth + i + 1) for i in range(joint_depth)
        )
        self.norms = nn.ModuleDict({name: at_level(nn.LayerNorm(width, eps=EPS), depth) for name in sets})

    def forward(self, tokens: Mapping[str, Tokens], states: States | None = None) -> dict[str, Tokens]:
        tokens = {name: replace(t, x=t.x + self.embedding(name, t)) for name, t in tokens.items()}
        below: dict[str, list[Tokens]] = {name: [] for name in tokens}
        tokens = {
            name: cast("SparseStack", self.branches[name]).sift(t, None if states is None else below[name])
            for name, t in tokens.items()
        }
        if states is not None:
            states.extend(by_layer(below))
        streams = {name: t.x for name, t in tokens.items()}
        mask = attendable(join_valid(list(tokens.values())))
        for block in self.blocks:
            streams = block(streams, self.norm_of, mask)
            record(states, {name: replace(t, x=streams[name]) for name, t in tokens.items()})
        return {name: replace(t, x=self.norms[self.norm_of[name]](streams[name])) for name, t in tokens.items()}


class JointBlock(Block):
    """A block over the concatenation whose norms may differ between streams."""

    def __init__(self, width: int, heads: int, sets: Sequence[str]):
        super().__init__(width, heads)
        self.norm1 = nn.ModuleDict({name: nn.LayerNorm(width, eps=EPS) for name in sets})
        self.norm2 = nn.ModuleDict({name: nn.LayerNorm(width, eps=EPS) for name in sets})

    def forward(self, streams, norm_of, mask):
        sizes = [x.shape[1] for x in streams.values()]
        x = torch.cat(list(streams.values()), 1)
        x = x + self.attention(self.normalise(x, streams, sizes, norm_of, self.norm1), mask)
        x = x + self.mlp(self.normalise(x, streams, sizes, norm_of, self.norm2))
        return dict(zip(streams, x.split(sizes, 1), strict=True))

    @staticmethod
    def normalise(x, streams, sizes, norm_of, norms):
        pieces = zip(streams, x.split(sizes, 1), strict=True)
        return torch.cat([norms[norm_of[name]](piece) for name, piece in pieces], 1)
