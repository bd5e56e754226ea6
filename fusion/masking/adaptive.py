"""Adaptive masking: a learned policy samples the visible patches."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from fusion.blocks import Block, attendable
from fusion.masking.masking import Masking, Plan, rank, share
from modalities.positions import Positions
from modalities.records import Patches
from modalities.shapes import Float, Tensor
from modalities.tokenizer import Tokenizer

ABSENT = -1e4  # a patch that is not there: its probability is exactly zero in float32


class Adaptive(Masking):
    """Show patches drawn from a distribution that a small network computes from all of them (AdaMAE, arXiv:2211.09120).

    The draw is multinomial without replacement, by the highest of log p + Gumbel noise (arXiv:1903.06059). The network
    embeds patches itself, so that it learns from the score of its plans only (objective `mask_policy`) and the model's
    embedding from its own losses only. What a hidden patch holds has a say in which patches are shown, in nothing else.

    Args:
        tokenizer: who cut the patches; says what they hold, as it would to a decoder.
        ratio: of the valid patches that is hidden.
        width, heads: of the network's one block; the tokenizer's width by default.
    """

    learns = True

    def __init__(self, tokenizer: Tokenizer, *, ratio: float = 0.95, width: int | None = None, heads: int = 8):
        super().__init__(ratio)
        width = width or tokenizer.dim
        self.contents = tokenizer.target  # a method, not the module: the tokenizer's parameters are not ours
        words, outputs = tokenizer.words, tokenizer.outputs
        self.lift = nn.Linear(outputs, width) if words is None else nn.Embedding(words, width)
        self.positions = Positions(width)
        self.block = Block(width, heads)
        self.head = nn.Linear(width, 1, bias=False)  # a bias would cancel in the softmax

    def plan(self, patches: Patches, noise: Float[Tensor, "b n"]) -> Plan:
        n, ratio, valid = noise.shape[1], self.ratio, patches.valid
        score = self.score(patches)
        gumbel = -torch.log(-torch.log(noise.clamp_min(2**-25)))  # noise has 24 bits and may be 0
        hidden = int(ratio * n)
        count = hidden if valid is None else share(ratio, valid.sum(1))[:, None]
        return replace(Plan.of(rank(score.detach() + gumbel, valid) < count, n - hidden, hidden, valid), log_prob=score)

    def score(self, patches: Patches) -> Float[Tensor, "b n"]:
        """Log-probability of each patch to be drawn first."""
        everything = torch.arange(patches.time.shape[1], device=patches.time.device).expand(patches.time.shape)
        x = self.lift(self.contents(patches, everything)) + self.positions(patches.places())
        logits = self.head(self.block(x, attendable(patches.valid)))[..., 0].float()
        return (logits if patches.valid is None else logits.masked_fill(~patches.valid, ABSENT)).log_softmax(1)
