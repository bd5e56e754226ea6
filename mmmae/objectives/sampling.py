"""Teach a masking that learns to show what is hard to predict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mmmae.objectives.objective import Objective, Parts, Step
from mmmae.parallel.reduce import count, mean
from modalities.shapes import Float, Tensor
from modalities.tokenizer import Tokenizer


class Sampling(Objective):
    """Policy gradient of a learned masking: reward showing a patch by the error made where it was hidden.

    -mean of log p * error over the hidden patches that were predicted, errors detached (AdaMAE, arXiv:2211.09120,
    equation 4): nothing but the masking learns from it.

    Args:
        streams: whose masking learns; all by default. An objective before this one predicts them.
        weight: of this objective in the total.
    """

    teaches = True
    couples = False

    def __init__(
        self,
        tokenizers: Mapping[str, Tokenizer],
        dim: int,
        *,
        streams: list[str] | None = None,
        weight: float = 1e-4,
    ):
        super().__init__(weight)
        self.judges: Sequence[str] = tuple(tokenizers if streams is None else streams)
        if unknown := set(self.judges) - set(tokenizers):
            raise ValueError(f"streams name {sorted(unknown)}, the model has {list(tokenizers)}")

    def forward(self, step: Step) -> dict[str, Float[Tensor, ""]]:
        parts = Parts()
        for name in self.judges:
            answer = step.answers.get(name)
            score = step.plans[name].score if name in step.plans else None
            if answer is not None and answer.error is not None and score is not None:
                reward = score.gather(1, answer.pick) * answer.error.detach()
                parts.put(name, -mean(reward, answer.asked), count(reward, answer.asked))
        return parts
