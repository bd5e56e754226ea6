"""Reconstruct what was hidden."""

from __future__ import annotations

from collections.abc import Mapping

from fusion.decoders import MakeDecoder
from fusion.masking import Plan
from mmmae.objectives.normalise import NORMS, Norm, denormalise, target
from mmmae.objectives.prediction import Answer, Prediction
from modalities.records import Patches
from modalities.shapes import Float, Int, Tensor
from modalities.tokenizer import Tokenizer


class Reconstruction(Prediction):
    """Mean squared error of hidden patches (MAE, arXiv:2111.06377; VideoMAE, 2203.12602).

    Args:
        decoder: who predicts.
        normalise: of the target, one for all streams or one each: `n0` none, `n1` by patch and channel (VideoMAE),
            `n2` by patch (MAE).
        predict: share of the hidden patches that is predicted in each step.
        weight, weights: of this objective in the total, and of each stream in this objective.
    """

    def __init__(
        self,
        tokenizers: Mapping[str, Tokenizer],
        dim: int,
        *,
        decoder: MakeDecoder,
        normalise: Norm | dict[str, Norm] = "n0",
        predict: float = 1.0,
        weight: float = 1.0,
        weights: dict[str, float] | None = None,
    ):
        outputs = numeric(tokenizers)
        norms: dict[str, Norm] = {name: normalise for name in outputs} if isinstance(normalise, str) else normalise
        if unknown := set(norms.values()) - set(NORMS):
            raise ValueError(f"normalise is one of {', '.join(NORMS)}, got {sorted(unknown)}")
        weights = {name: value for name, value in (weights or {}).items() if name not in tokenizers or name in outputs}
        super().__init__(decoder(list(tokenizers), dim, outputs), list(outputs), predict, weight, weights)
        chosen: dict[str, Norm] = {name: norms.get(name, "n0") for name in outputs}
        self.norms = chosen
        for name, norm in self.norms.items():
            values = outputs[name] // (tokenizers[name].channels if norm == "n1" else 1)
            if norm != "n0" and values < 2:
                raise ValueError(f"a patch of {name} holds one value, which has no variance; normalise it with n0")

    @classmethod
    def answerable(cls, tokenizers: Mapping[str, Tokenizer]) -> bool:
        return bool(numeric(tokenizers))

    def wanted(
        self, tokenizer: Tokenizer, patches: Patches, pick: Int[Tensor, "b m"], name: str
    ) -> Float[Tensor, "b m p"]:
        return target(tokenizer, patches, pick, self.norms[name])

    def error(self, tokenizer: Tokenizer, patches: Patches, answer: Answer, name: str) -> Float[Tensor, "b m"]:
        return (answer.predicted.float() - answer.wanted).square().mean(-1)

    def guess(self, tokenizer: Tokenizer, patches: Patches, plan: Plan, answer: Answer, name: str) -> Tensor:
        return denormalise(
            tokenizer, patches, answer.predicted, answer.pick, plan.visible, plan.shown, self.norms[name]
        )


def numeric(tokenizers: Mapping[str, Tokenizer]) -> dict[str, int]:
    """Outputs of the streams whose targets are numbers, not words."""
    return {name: tokenizer.outputs for name, tokenizer in tokenizers.items() if tokenizer.words is None}
