"""Low-rank adapters (LoRA) in a file of weights: peft's names, and what they come to once merged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from modalities.shapes import Tensor

if TYPE_CHECKING:
    from mmmae.recipes.sections import Lora

ADAPTER = "default"  # peft's name of the only one
BASE = ".base_layer."  # in the names of what an adapted layer had before


def merged(weights: Mapping[str, Tensor], lora: Lora | None) -> dict[str, Tensor]:
    """A checkpoint's weights as a plain model has them: W + alpha / rank * B A in place of an adapted layer's W.

    weights: of a model with adapters or without, whose weights are returned as they are.
    """
    if lora is None or not any(BASE in name for name in weights):
        return dict(weights)
    plain: dict[str, Tensor] = {}
    for name, weight in weights.items():
        if ".lora_" in name:
            continue
        home, base, kind = name.partition(BASE)
        down, up = (weights.get(f"{home}.lora_{side}.{ADAPTER}.weight") for side in "AB")
        if base and kind == "weight" and down is not None and up is not None:
            change = up.float() @ down.float()
            weight = (weight.float() + lora.alpha / lora.rank * change).to(weight.dtype)
        plain[f"{home}.{kind}" if base else name] = weight
    return plain
