"""Tell the label of a sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from fusion.blocks import EPS
from mmmae.objectives.objective import Objective, Parts, Step
from mmmae.objectives.world import count, mean
from mmmae.sections import AdamW
from modalities.errors import InputError
from modalities.records import Tokens
from modalities.shapes import Bool, Float, Int, Tensor
from modalities.tokenizer import Tokenizer

if TYPE_CHECKING:
    from mmmae.data.manifest import Manifest


BESIDE = AdamW(lr=1e-2, betas=(0.9, 0.999), weight_decay=0.0)  # of one that is detached: a linear layer learns fast


class Classification(Objective):
    """Cross-entropy of the label given the mean of all tokens, as VideoMAE is fine-tuned (arXiv:2203.12602).

    Samples without a label do not count. The share of samples whose label scores highest is reported beside the loss as
    `accuracy` and weighs nothing. Usually nothing is hidden then: `masking: {video: {use: random, ratio: 0}}`. Of mixed
    samples each label counts by its share.

    Args:
        classes: how many labels there are; None leaves it to the training rows (and is 2 where there are none).
        smoothing: share of the probability that all labels get alike (Szegedy et al., arXiv:1512.00567).
        detached: learn from the tokens without changing what they come from, to tell while something else is learned
            how well labels can be read off it. It has an optimizer of its own, and no part in the value of the total.
        weight: of this objective in the total.
    """

    takes_mixed = True

    def __init__(
        self,
        tokenizers: Mapping[str, Tokenizer],
        dim: int,
        *,
        classes: int | None = None,
        smoothing: float = 0.0,
        detached: bool = False,
        weight: float = 1.0,
    ):
        super().__init__(weight, {"accuracy": 0.0})
        classes = 2 if classes is None else classes
        if classes < 2:
            raise ValueError(f"there are at least 2 classes to tell apart, got {classes}")
        if not 0 <= smoothing < 1:
            raise ValueError(f"smoothing is a share of the probability in [0, 1), got {smoothing}")
        self.smoothing, self.detached, self.couples = smoothing, detached, not detached
        if detached:
            self.optimizer = BESIDE.model_copy()  # a side of its own, whoever else has the same settings
        with torch.random.fork_rng(devices=[], enabled=detached):  # nothing else is drawn differently
            self.norm = nn.LayerNorm(dim, eps=EPS)
            self.head = nn.Linear(dim, classes)

    @classmethod
    def survey(cls, settings: Mapping[str, Any], manifest: Manifest) -> dict[str, Any]:
        """The number of classes, where it is left open.

        Raises:
            InputError: the manifest has no two labels, or more than the recipe says.
        """
        classes = settings.get("classes")
        if manifest.labels < 2:
            raise InputError(f"{manifest.path}: needs two labels or more to tell apart\n  fill the column 'label'")
        if classes is not None and manifest.labels > classes:
            raise InputError(
                f"{manifest.path}: has {manifest.labels} labels, the recipe says classes={classes}\n"
                f"  set objectives.classification.classes={manifest.labels} or null; whole numbers count from 0"
            )
        return {"classes": manifest.labels} if classes is None else {}

    def forward(self, step: Step) -> dict[str, Float[Tensor, ""]]:
        logits, present = self.tell(step.tokens)
        label = torch.full_like(step.batch.key, -1) if step.batch.label is None else step.batch.label
        known = (label >= 0) & present
        losses, right = self.judge(logits, label)
        if (mixed := step.batch.mixed) is not None:
            pairs = zip((losses, right), self.judge(logits, mixed.label), strict=True)
            losses, right = (mixed.weight * mine + (1 - mixed.weight) * other for mine, other in pairs)
        parts = Parts()
        parts.put("label", mean(losses, known), count(losses, known))
        parts.put("accuracy", mean(right, known), count(right, known))
        return parts

    def tell(self, tokens: Mapping[str, Tokens]) -> tuple[Float[Tensor, "b classes"], Bool[Tensor, " b"]]:
        """A score for each label, in float32, and for which samples there was anything to tell it from."""
        pooled, present = pool(tokens)
        return self.head(self.norm(pooled.detach() if self.detached else pooled)).float(), present

    def judge(
        self, logits: Float[Tensor, "b classes"], label: Int[Tensor, " b"]
    ) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        """The loss of each sample, and 1 where its label scores highest; of a missing label they mean nothing."""
        losses = cross_entropy(logits, label.clamp_min(0), reduction="none", label_smoothing=self.smoothing)
        return losses, (logits.argmax(1) == label).float()

    def weigh(self, parts: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """The objective's share of the total loss; beside the model only its gradient."""
        share = super().weigh(parts)
        return share - share.detach() if self.detached else share


def pool(tokens: Mapping[str, Tokens]) -> tuple[Float[Tensor, "b d"], Bool[Tensor, " b"]]:
    """Mean over the streams that a sample has of the mean of their tokens, and whether it has any."""
    there = torch.stack([t.present() for t in tokens.values()], 1)
    means = torch.stack([t.mean() for t in tokens.values()], 1)
    return (means * there[..., None]).sum(1) / there.sum(1, keepdim=True).clamp_min(1), there.any(1)
