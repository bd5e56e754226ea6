"""Masked language modelling."""

from __future__ import annotations

from collections.abc import Mapping

from torch.nn.functional import cross_entropy

from fusion.codes import MakeCodes
from fusion.decoders import MakeDecoder
from fusion.masking import Plan
from mmmae.objectives.prediction import Predicted, Prediction
from modalities.records import Patches
from modalities.shapes import Float, Tensor
from modalities.tokenizer import Tokenizer


class MaskedLanguage(Prediction):
    """Cross-entropy of hidden words given the visible words and every other stream (BERT, arXiv:1810.04805).

    Args:
        decoder: who predicts; its last layer scores the vocabulary. codes: what it is given in place of the trunk's
            tokens, if anything.
        predict: share of the hidden words that is predicted in each step.
        weight: of this objective in the total.
    """

    def __init__(
        self,
        tokenizers: Mapping[str, Tokenizer],
        dim: int,
        *,
        decoder: MakeDecoder,
        codes: MakeCodes | None = None,
        predict: float = 1.0,
        weight: float = 1.0,
    ):
        outputs = {name: t.outputs for name, t in tokenizers.items() if t.words is not None}
        made = decoder(list(tokenizers), dim, outputs)
        coded = None if codes is None else codes(list(tokenizers), dim)
        super().__init__(made, list(outputs), predict, weight, codes=coded)

    @classmethod
    def applicable(cls, tokenizers: Mapping[str, Tokenizer]) -> bool:
        return any(tokenizer.words is not None for tokenizer in tokenizers.values())

    def error(self, tokenizer: Tokenizer, patches: Patches, answer: Predicted, name: str) -> Float[Tensor, "b m"]:
        return cross_entropy(answer.values.float().mT, answer.target, reduction="none")

    def guess(self, tokenizer: Tokenizer, patches: Patches, plan: Plan, answer: Predicted, name: str) -> Tensor:
        return answer.values.argmax(-1)
