"""Base class of supervised objectives: a linear head on the mean of all tokens."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import nn

from fusion.blocks import EPS
from mmmae.data.targets import Target, unlabelled
from mmmae.objectives.objective import Encoded, Objective, Parts
from mmmae.parallel.reduce import count, mean
from mmmae.recipes.sections import AdamW
from modalities.records import Tokens
from modalities.shapes import Bool, Float, Shaped, Tensor

BESIDE = AdamW(lr=1e-2, betas=(0.9, 0.999), weight_decay=0.0)  # of one that is detached: a linear layer learns fast


class Labelled(Objective):
    """Learn labels from the mean of all tokens, as VideoMAE is fine-tuned (arXiv:2203.12602).

    Samples without a label do not count. A figure that people understand (accuracy) is reported beside the loss and
    weighs nothing. Usually nothing is hidden then: `masking: {video: {use: random, ratio: 0}}`. Of mixed samples each
    label counts by its share.

    Args:
        target: what is asked of a label; the linear layer has an output for each of its names.
        detached: learn from the tokens without changing what they come from, to tell while something else is learned
            how well labels can be read off it. It has an optimizer of its own, and no part in the value of the total.
        weight: of this objective in the total.
    """

    supports_mixup = True
    figure: str

    def __init__(self, dim: int, target: Target, *, detached: bool, weight: float):
        super().__init__(weight, {self.figure: 0.0})
        self.target, self.detached, self.ties_streams = target, detached, not detached
        if detached:
            self.optimizer = BESIDE.model_copy()  # a side of its own, whoever else has the same settings
        with torch.random.fork_rng(devices=[], enabled=detached):  # nothing else is drawn differently
            self.norm = nn.LayerNorm(dim, eps=EPS)
            self.head = nn.Linear(dim, len(target.names))

    def forward(self, encoded: Encoded) -> dict[str, Float[Tensor, ""]]:
        outputs, present = self.tell(encoded.tokens)
        label = encoded.batch.label
        known = torch.zeros_like(present) if label is None else ~unlabelled(label) & present
        if label is None:
            label = self.missing(outputs)
        losses, figures = self.judge(outputs, label)
        if (mixed := encoded.batch.mixed) is not None:
            pairs = zip((losses, figures), self.judge(outputs, mixed.label), strict=True)
            losses, figures = (mixed.weight * mine + (1 - mixed.weight) * other for mine, other in pairs)
        parts = Parts()
        parts.put("label", mean(losses, known), count(losses, known))
        parts.put(self.figure, mean(figures, known), count(figures, known))
        return parts

    def tell(self, tokens: Mapping[str, Tokens]) -> tuple[Float[Tensor, "b outputs"], Bool[Tensor, " b"]]:
        """The outputs of each sample, in float32, and for which samples there was anything to tell them from."""
        pooled, present = pool(tokens)
        return self.head(self.norm(pooled.detach() if self.detached else pooled)).float(), present

    def missing(self, outputs: Float[Tensor, "b outputs"]) -> Shaped[Tensor, "b ..."]:
        """The labels of a batch in which no sample has one."""
        return torch.full_like(outputs, torch.nan)

    @abstractmethod
    def judge(
        self, outputs: Float[Tensor, "b outputs"], label: Shaped[Tensor, "b ..."]
    ) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        """The loss of each sample and its figure; of a missing label they mean nothing."""

    def weigh(self, parts: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """The objective's share of the total loss; beside the model only its gradient."""
        share = super().weigh(parts)
        return share - share.detach() if self.detached else share


def pool(tokens: Mapping[str, Tokens]) -> tuple[Float[Tensor, "b d"], Bool[Tensor, " b"]]:
    """Mean over the streams that a sample has of the mean of their tokens, and whether it has any."""
    there = torch.stack([t.present() for t in tokens.values()], 1)
    means = torch.stack([t.mean() for t in tokens.values()], 1)
    return (means * there[..., None]).sum(1) / there.sum(1, keepdim=True).clamp_min(1), there.any(1)
