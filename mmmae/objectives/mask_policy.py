"""Policy gradient for a learned masking, which samples patches that are hard to predict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mmmae.objectives.objective import Encoded, Objective, Parts
from mmmae.parallel.reduce import count, mean
from modalities.shapes import Float, Tensor
from modalities.tokenizer import Tokenizer


class MaskPolicy(Objective):
    """Policy gradient of a learned masking: reward showing a patch by the error made where it was hidden.

    -mean of log p * error over the hidden patches that were predicted, errors detached (AdaMAE, arXiv:2211.09120,
    equation 4): nothing but the masking learns from it.

    Args:
        streams: whose masking learns; all by default. An objective before this one predicts them.
        weight: of this objective in the total.
    """

    trains_masking = True
    ties_streams = False

    def __init__(
        self,
        tokenizers: Mapping[str, Tokenizer],
        dim: int,
        *,
        streams: list[str] | None = None,
        weight: float = 1e-4,
    ):
        super().__init__(weight)
        self.needs_predictions: Sequence[str] = tuple(tokenizers if streams is None else streams)
        if unknown := set(self.needs_predictions) - set(tokenizers):
            raise ValueError(f"streams name {sorted(unknown)}, the model has {list(tokenizers)}")

    def forward(self, encoded: Encoded) -> dict[str, Float[Tensor, ""]]:
        parts = Parts()
        for name in self.needs_predictions:
            answer = encoded.predictions.get(name)
            score = encoded.plans[name].log_prob if name in encoded.plans else None
            if answer is not None and answer.error is not None and score is not None:
                reward = score.gather(1, answer.index) * answer.error.detach()
                parts.put(name, -mean(reward, answer.valid), count(reward, answer.valid))
        return parts
