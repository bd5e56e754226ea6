"""Reconstruction of hidden patches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch.nn.functional import cosine_similarity, mse_loss, normalize

from fusion.codes import MakeCodes
from fusion.decoders import MakeDecoder
from fusion.masking import Plan
from mmmae.objectives.normalise import NORMS, Norm, denormalise, target
from mmmae.objectives.prediction import Predicted, Prediction
from modalities.records import Patches
from modalities.shapes import Float, Int, Tensor
from modalities.tokenizer import Tokenizer


class Reconstruction(Prediction):
    """Error of hidden patches (MAE, arXiv:2111.06377; VideoMAE, 2203.12602).

    Args:
        decoder: who predicts. codes: what it is given in place of the trunk's tokens, if anything.
        streams: whose hidden patches are predicted; of all streams that are numbers by default.
        normalise: by which mean and variance targets are normalised, one for all streams or one each: `none`,
            `patch_channel` (each channel of a patch, VideoMAE) or `patch` (a patch, MAE).
        distance: `mse`, the mean squared error; or `cosine`, 1 - cos, which asks for directions only.
        predict: share of the hidden patches that is predicted in each step.
        inpaint: predict each stream from what is visible of the others alone (AV-MAE, arXiv:2212.05922).
        weight, weights: of this objective in the total, and of each stream in this objective.
    """

    def __init__(
        self,
        tokenizers: Mapping[str, Tokenizer],
        dim: int,
        *,
        decoder: MakeDecoder,
        codes: MakeCodes | None = None,
        streams: list[str] | None = None,
        normalise: Norm | dict[str, Norm] = "none",
        distance: Literal["mse", "cosine"] = "mse",
        predict: float = 1.0,
        inpaint: bool = False,
        weight: float = 1.0,
        weights: dict[str, float] | None = None,
    ):
        outputs = {name: o for name, o in numeric(tokenizers).items() if streams is None or name in streams}
        if not outputs:
            raise ValueError(f"nothing to reconstruct: the streams are {list(tokenizers)}, asked for are {streams}")
        norms: dict[str, Norm] = {name: normalise for name in outputs} if isinstance(normalise, str) else normalise
        if unknown := set(norms.values()) - set(NORMS):
            raise ValueError(f"normalise is one of {', '.join(NORMS)}, got {sorted(unknown)}")
        if distance not in ("mse", "cosine"):
            raise ValueError(f"distance is 'mse' or 'cosine', got {distance!r}")
        weights = {name: value for name, value in (weights or {}).items() if name not in tokenizers or name in outputs}
        made = decoder(list(tokenizers), dim, outputs)
        coded = None if codes is None else codes(list(tokenizers), dim)
        super().__init__(made, list(outputs), predict, weight, weights, inpaint, coded)
        if inpaint and len(tokenizers) < 2:
            raise ValueError(f"inpainting needs another stream than {', '.join(tokenizers)}; set inpaint=false")
        chosen: dict[str, Norm] = {name: norms.get(name, "none") for name in outputs}
        self.norms, self.distance = chosen, distance
        for name, norm in self.norms.items():
            values = outputs[name] // (tokenizers[name].channels if norm == "patch_channel" else 1)
            if norm != "none" and values < 2:
                raise ValueError(f"a patch of {name} holds one value, which has no variance; normalise it with n0")

    @classmethod
    def applicable(cls, tokenizers: Mapping[str, Tokenizer]) -> bool:
        return bool(numeric(tokenizers))

    def wanted(
        self, tokenizer: Tokenizer, patches: Patches, pick: Int[Tensor, "b m"], name: str
    ) -> Float[Tensor, "b m p"]:
        return target(tokenizer, patches, pick, self.norms[name])

    def error(self, tokenizer: Tokenizer, patches: Patches, answer: Predicted, name: str) -> Float[Tensor, "b m"]:
        if self.distance == "cosine":
            return 1 - cosine_similarity(answer.existing(answer.values.float()), answer.target.float(), dim=-1)
        return answer.average(mse_loss(answer.values.float(), answer.target, reduction="none"))

    def guess(self, tokenizer: Tokenizer, patches: Patches, plan: Plan, answer: Predicted, name: str) -> Tensor:
        predicted = normalize(answer.values, dim=-1) if self.distance == "cosine" else answer.values
        return denormalise(
            tokenizer, patches, predicted, answer.index, plan.visible, plan.visible_valid, self.norms[name]
        )


def numeric(tokenizers: Mapping[str, Tokenizer]) -> dict[str, int]:
    """Outputs of the streams whose targets are numbers, not words."""
    return {name: tokenizer.outputs for name, tokenizer in tokenizers.items() if tokenizer.words is None}
