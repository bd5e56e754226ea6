"""Message passing between nodes of which some are hidden, such as sensors worn on one body."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from modalities.records import Tokens
from modalities.shapes import Float, Tensor


def adjacency(tokens: Tokens, edges: Float[Tensor, "b parts parts"] | None) -> Float[Tensor, "b k k"]:
    """Adjacency among the visible tokens: neighbouring sensors, with all other coordinates equal.

    edges: between sensors; None joins all of them.
    """
    place, sensor = tokens.coords[..., :-1], tokens.coords[..., -1]
    together = (place[:, :, None] == place[:, None, :]).all(-1)
    linked = together & (sensor[:, :, None] != sensor[:, None, :])
    if tokens.valid is not None:
        linked = linked & tokens.valid[:, :, None] & tokens.valid[:, None, :]
    linked = linked.to(tokens.x.dtype)
    if edges is None:
        return linked
    rows = edges.gather(1, sensor[..., None].expand(-1, -1, edges.shape[-1]))
    return linked * rows.gather(2, sensor[:, None, :].expand(-1, rows.shape[1], -1)).to(linked.dtype)


class GraphLayer(nn.Module):
    """One residual round of messages: GIN (arXiv:1810.00826) or GAT (arXiv:1710.10903) in torch_geometric's dense form.

    The dense form keeps shapes static, whichever nodes are hidden.
    """

    def __init__(self, dim: int, kind: Literal["gin", "gat"]):
        super().__init__()
        from torch_geometric.nn import DenseGATConv, DenseGINConv  # takes seconds to import: only who asks pays

        self.norm = nn.LayerNorm(dim, eps=1e-6)
        if kind == "gin":
            self.conv = DenseGINConv(nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, dim)), train_eps=True)
        else:
            self.conv = DenseGATConv(dim, dim, heads=4, concat=False)

    def forward(self, x: Float[Tensor, "b k d"], linked: Float[Tensor, "b k k"]) -> Float[Tensor, "b k d"]:
        return x + self.conv(self.norm(x), linked.to(x.dtype))


def edge_matrix(edges: list[tuple[int, int]]) -> Float[Tensor, "parts parts"]:
    """Symmetric adjacency of a list of sensor pairs."""
    matrix = torch.zeros(size := 1 + max(max(edge) for edge in edges), size)
    for i, j in edges:
        matrix[i, j] = matrix[j, i] = 1
    return matrix
