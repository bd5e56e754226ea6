"""Which classes a recording shows at each moment: a dense head over time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from fusion.blocks import EPS
from mmmae.data.labels import LabelColumn, name
from mmmae.data.timeline import Timeline
from mmmae.objectives.objective import Encoded, Objective, Parts
from mmmae.parallel.reduce import count, mean
from modalities.errors import InputError
from modalities.records import Tokens
from modalities.shapes import Bool, Float, Tensor
from modalities.tokenizer import Tokenizer


class Segmentation(Objective):
    """Predict the classes at each time of a stream from the mean of its tokens of that time (labels over time).

    The classes come from the manifest's column `segments`: a class is on at a token whose middle, x, lies in one of its
    segments, start <= x < end. Recordings without segments, padding, and times of which every token is hidden do not
    count. Usually nothing is hidden: `masking: {video: {use: random, ratio: 0}}`. The share of right answers is
    reported as `accuracy` and weighs nothing.

    Args:
        stream: whose tokens are read; None means the first stream.
        classes: their names, in the order of the outputs; None leaves them to the data (sorted; 0 and 1 where there is
            none).
        kind: "multilabel" predicts each class by itself (binary cross-entropy), "class" one of them or, as a further
            last output, none (cross-entropy; where several are on, each has an equal share).
        weight: of this objective in the total.
    """

    def __init__(
        self,
        tokenizers: Mapping[str, Tokenizer],
        dim: int,
        *,
        stream: str | None = None,
        classes: list[str | int] | None = None,
        kind: Literal["multilabel", "class"] = "multilabel",
        weight: float = 1.0,
    ):
        super().__init__(weight, {"accuracy": 0.0})
        target = self.targets({"classes": classes, "stream": stream})["segments"]
        self.stream, self.classes, self.kind = target.stream or next(iter(tokenizers)), target.names, kind
        if self.stream not in tokenizers:
            raise ValueError(f"stream={self.stream!r}: there is {', '.join(tokenizers)}")
        self.norm = nn.LayerNorm(dim, eps=EPS)
        self.head = nn.Linear(dim, len(self.classes) + (kind == "class"))

    @classmethod
    def targets(cls, settings: Mapping[str, Any]) -> dict[str, Timeline]:
        """Which classes are on at the times of the stream; 0 and 1 where none are named."""
        classes = settings.get("classes")
        names = ("0", "1") if classes is None else tuple(map(name, classes))
        if not names or len(set(names)) < len(names):
            raise ValueError(f"classes are one name or more, each once, got {list(names)}")
        return {"segments": Timeline(names, settings.get("stream"))}

    @classmethod
    def survey(cls, settings: Mapping[str, Any], labels: LabelColumn) -> dict[str, Any]:
        """The names of the classes, where they are left open.

        Raises:
            InputError: no row has segments, or one has a class that the recipe does not name.
        """
        found = Timeline.of(labels)
        if settings.get("classes") is None:
            return {"classes": list(found)}
        stated = cls.targets(settings)["segments"].names
        if strange := [label for label in found if label not in stated]:
            raise InputError(
                f"{labels.path}: column 'segments' has the label {strange[0]!r}, which is none of "
                f"objectives.segmentation.classes ({', '.join(stated[:10])})\n  add it there, or correct the label"
            )
        return {"classes": list(stated)}

    def logits(self, tokens: Tokens) -> tuple[Float[Tensor, "b t outputs"], Bool[Tensor, "b t"]]:
        """The outputs at each time, in float32, and at which times there is any token."""
        return self.head(self.norm(tokens.means(0))).float(), tokens.filled(0)

    def forward(self, encoded: Encoded) -> dict[str, Float[Tensor, ""]]:
        if self.stream not in encoded.tokens:
            return {}
        logits, there = self.logits(encoded.tokens[self.stream])
        on = encoded.batch.targets.get("segments")
        if on is None:
            on = logits.new_full((*logits.shape[:2], len(self.classes)), torch.nan)
        if on.shape[1:] != (logits.shape[1], len(self.classes)):
            expected = (len(logits), logits.shape[1], len(self.classes))
            raise ValueError(
                f"targets['segments'] has the shape {tuple(on.shape)}, expected {expected} (b, t, classes)"
            )
        known = there & ~on.isnan().any(2)
        losses, right = self.judge(logits, on.nan_to_num())
        parts = Parts()
        parts.put("segments", mean(losses, known), count(losses, known))
        parts.put("accuracy", mean(right, known), count(right, known))
        return parts

    def judge(
        self, logits: Float[Tensor, "b t outputs"], on: Float[Tensor, "b t classes"]
    ) -> tuple[Float[Tensor, "b t"], Float[Tensor, "b t"]]:
        """The loss at each time, and the share of right answers."""
        if self.kind == "multilabel":
            losses = binary_cross_entropy_with_logits(logits, on, reduction="none").mean(2)
            return losses, ((logits > 0) == (on > 0)).float().mean(2)
        shares = torch.cat([on, 1 - on.amax(2, keepdim=True)], 2)
        shares = shares / shares.sum(2, keepdim=True)
        losses = cross_entropy(logits.mT, shares.mT, reduction="none")
        return losses, (shares.gather(2, logits.argmax(2, keepdim=True))[..., 0] > 0).float()
