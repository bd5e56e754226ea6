"""Attentive probe: one learned query attends to all tokens (CoCa, arXiv:2205.01917; V-JEPA, 2404.08471)."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from itertools import count, islice

import numpy as np
import torch
from torch import nn

from mmmae.data.measurements import Numbers
from mmmae.data.targets import Target
from mmmae.probe.classifiers import Examples, Fitted, selection
from modalities.noise import permutation
from modalities.shapes import Bool, Float, Tensor

BATCH, RATE, DECAY = 32, 1e-3, 0.05
ROUNDS, SHORTEST = 40, 20  # rounds of training: each an epoch, or so many steps where that is more
PATIENCE = 8  # rounds without anything better on the validation part


class Pooler(nn.Module):
    """Cross-attention from a learned query to frozen tokens, then a linear layer.

    mean, std: (d,) of the training tokens. heads divides their width.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Float[Tensor, " d"], std: Float[Tensor, " d"], outputs: int, *, heads: int = 4):
        super().__init__()
        width = len(mean)
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.query = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.attention = nn.MultiheadAttention(width, heads if width % heads == 0 else 1, batch_first=True)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Float[Tensor, "b k d"]) -> Float[Tensor, "b outputs"]:
        """The outputs; a token that holds NaN is not there."""
        absent = self.absent(x)
        x = ((x - self.mean) / self.std).nan_to_num()
        pooled, _ = self.attention(self.query.expand(len(x), -1, -1), x, x, key_padding_mask=absent, need_weights=False)
        return self.head(self.norm(pooled[:, 0]))

    def absent(self, x: Float[Tensor, "b k d"]) -> Bool[Tensor, "b k"]:
        """Mask of absent tokens; a row without any is treated as having the mean at every token."""
        absent = x[..., 0].isnan()
        return absent & ~absent.all(1, keepdim=True)


def attentive(rounds: Sequence[tuple[Examples, Examples]], *, target: Target, seed: int, few: bool) -> Fitted:
    """A `Pooler` trained by AdamW, as it was after the round that did best on the validation part (`selection`).

    Unlike the linear probe it never learns from the validation part: that is used for early stopping.
    """
    train, validation = rounds[0]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    every = torch.from_numpy(train.x).flatten(0, 1).float()
    every = every[~every[:, 0].isnan()]
    labels = learned(train.labels, target)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Pooler(every.mean(0), every.std(0).clamp_min(1e-6), len(target.names)).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)
    best, kept, since, chosen = -math.inf, copy.deepcopy(model.state_dict()), 0, 0
    batches = (rows for epoch in count() for rows in permutation(seed, epoch, len(labels)).split(BATCH))
    for number in range(ROUNDS):
        for rows in islice(batches, max(math.ceil(len(labels) / BATCH), SHORTEST)):
            x = torch.from_numpy(train.x[rows.numpy()]).float().to(device)
            loss = target.loss(model(x), labels[rows].to(device)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        found = selection(target, validation.labels, predicted(model, validation.x, target))
        since += 1
        if found > best:
            best, kept, since, chosen = found, copy.deepcopy(model.state_dict()), 0, number + 1
        if since >= PATIENCE:
            break
    model.load_state_dict(kept)
    return Fitted(lambda x: predicted(model, x, target), {"rounds": chosen})


def learned(labels: np.ndarray, target: Target) -> Tensor:
    """Labels as their loss takes them: numbers in units of their deviation."""
    if isinstance(target, Numbers):
        return torch.from_numpy((labels - np.array(target.means)) / np.array(target.deviations)).float()
    return torch.from_numpy(labels) if target.kind == "class" else torch.from_numpy(labels).float()


@torch.no_grad()
def predicted(model: Pooler, x: np.ndarray, target: Target) -> np.ndarray:
    """(n, outputs) for tokens (n, k, d)."""
    device = model.mean.device
    parts = [torch.from_numpy(x[n : n + BATCH]).float().to(device) for n in range(0, len(x), BATCH)]
    return target.restore(torch.cat([target.activated(model(part)) for part in parts]).double().cpu().numpy())
