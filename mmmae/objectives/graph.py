"""Prediction of hidden nodes of a graph from their neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import torch
from torch import nn
from torch.nn.functional import cosine_similarity

from fusion.blocks import learned_token
from fusion.masking.masking import Noise, rank, share
from mmmae.objectives.objective import Encoded, Objective, Parts
from mmmae.parallel.reduce import count, mean
from modalities.graph import GraphLayer
from modalities.records import Patches, Tokens, by_value
from modalities.shapes import Bool, Float, Tensor
from modalities.tokenizer import Tokenizer


class Graph(Objective):
    """Hide nodes of a stream's graph and predict them (GraphMAE, arXiv:2205.10803; EVI-MAE, 2408.00538).

    The nodes are what the last axis counts, such as the sensors of an IMU; edges come with the patches, or join all. Of
    the nodes that a sample has, a share is hidden whole: the visible patches of the others are embedded and encoded
    anew, without those of hidden nodes and without other streams, and averaged by node. A graph encoder sees a mask
    token in place of each hidden node; what it makes of them is masked again; a graph decoder predicts the hidden
    node's average patch, in the network's units. The loss is 1 - cos.

    Args:
        ratio: share of a sample's nodes to hide; at least one stays visible.
        width: of the graph's layers. depth: encoding layers. kind: `gin` or `gat`.
        weight: of this objective in the total.
    """

    ties_streams = False

    def __init__(
        self,
        tokenizers: Mapping[str, Tokenizer],
        dim: int,
        *,
        ratio: float = 0.5,
        width: int = 512,
        depth: int = 2,
        kind: Literal["gin", "gat"] = "gin",
        weight: float = 1.0,
    ):
        super().__init__(weight)
        if not 0 < ratio < 1:
            raise ValueError(f"ratio is a share of the nodes to hide, in (0, 1), got {ratio}")
        if depth < 1:
            raise ValueError(f"a graph encoder has at least one layer, got depth={depth}")
        self.ratio = ratio
        outputs = {name: tokenizer.outputs for name, tokenizer in tokenizers.items() if tokenizer.nodes}
        if not outputs:
            raise ValueError(f"none of {', '.join(tokenizers)} has nodes; leave the objective out")
        self.project = nn.Linear(dim, width)
        self.mask, self.again = learned_token(width), learned_token(width)
        self.encoder = nn.ModuleList(GraphLayer(width, kind) for _ in range(depth))
        self.decoder = GraphLayer(width, kind)
        self.heads = nn.ModuleDict({name: nn.Linear(width, count) for name, count in outputs.items()})

    @classmethod
    def applicable(cls, tokenizers: Mapping[str, Tokenizer]) -> bool:
        return any(tokenizer.nodes for tokenizer in tokenizers.values())

    def forward(self, encoded: Encoded) -> dict[str, Float[Tensor, ""]]:
        parts = Parts()
        for name in self.heads:
            if name in encoded.plans:
                hide = self.hide(encoded.patches[name], encoded.noise, name)
                predicted = self.predict(name, self.visible(encoded, name, ~hide), encoded.patches[name], hide)
                wanted, exists = averages(encoded.tokenizers[name], encoded.patches[name])
                predicted = predicted.float() if exists is None else torch.where(exists, predicted.float(), 0.0)
                error = 1 - cosine_similarity(predicted, wanted, dim=-1)
                parts.put(name, mean(error, hide), count(error, hide))
        return parts

    def hide(self, patches: Patches, noise: Noise, name: str) -> Bool[Tensor, "b nodes"]:
        """Which nodes are hidden, of those that a sample has."""
        there = nodes(patches)
        order = rank(noise(f"graph/{name}", patches.grid[-1]), there)
        return (order < share(self.ratio, there.sum(1))[:, None]) & there

    @staticmethod
    def visible(encoded: Encoded, name: str, show: Bool[Tensor, "b nodes"]) -> Tokens:
        """What the trunk says of the visible patches of some nodes when it sees nothing else."""
        patches, plan = encoded.patches[name], encoded.plans[name]
        places = patches.places(plan.visible, plan.visible_valid)
        of_shown = show.gather(1, places.coords[..., -1])
        valid = of_shown if places.valid is None else of_shown & places.valid
        return encoded.trunk({name: encoded.tokenizers[name].embed(patches, plan.visible, valid)})[name]

    def predict(
        self, name: str, tokens: Tokens, patches: Patches, hide: Bool[Tensor, "b nodes"]
    ) -> Float[Tensor, "b nodes outputs"]:
        """What every node is like, as far as the visible ones tell."""
        there, hidden = nodes(patches), hide[..., None]
        linked = (there[:, :, None] & there[:, None, :]).float() * (1 - torch.eye(hide.shape[1], device=hide.device))
        if patches.edges is not None:
            linked = linked * patches.edges
        x = torch.where(hidden, self.mask.to(tokens.x.dtype), self.project(tokens.means(-1)))
        for layer in self.encoder:
            x = layer(x, linked)
        x = torch.where(hidden, self.again.to(x.dtype), x)
        return self.heads[name](self.decoder(x, linked))


def nodes(patches: Patches) -> Bool[Tensor, "b nodes"]:
    """Which nodes a sample has: those with a valid patch."""
    valid = torch.ones_like(patches.time, dtype=torch.bool) if patches.valid is None else patches.valid
    return valid.unflatten(1, (-1, patches.grid[-1])).any(1)


def averages(
    tokenizer: Tokenizer, patches: Patches
) -> tuple[Float[Tensor, "b nodes p"], Bool[Tensor, "b nodes p"] | None]:
    """The mean of each node's valid patches, in the network's units, and which of its values exist (None: all).

    A channel is averaged over the patches that have it, and zero where none has.
    """
    everything = torch.arange(patches.time.shape[1], device=patches.time.device).expand_as(patches.time)
    target = Tokens.at(patches.places(), tokenizer.target(patches, everything).float())
    if patches.observed is None:
        return target.means(-1), None
    has = by_value(patches.observed, target.x.shape[-1]).float()
    share = replace(target, x=has).means(-1)  # of a node's valid patches, those that have the channel
    return replace(target, x=target.x * has).means(-1) / torch.where(share > 0, share, 1.0), share > 0
