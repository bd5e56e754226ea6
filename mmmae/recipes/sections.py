"""The sections of a recipe whose keys are always the same: data, optimizer, training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pydantic

from fusion.sizes import SIZES
from mmmae.recipes.lookup import RecipeError, describe, nearest

NAMED = ("modalities", "masking", "trunk", "objectives", "augment")  # whose entries are looked up by name
SECTIONS = ("size", "window", *NAMED, "data", "optimizer", "training")
SIZED = ("width", "depth", "heads")  # set by `size` unless a trunk or a decoder sets them


class Section(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class Data(Section):
    """Training data: split, repeats, mixup, tolerance of bad samples."""

    holdout: float = pydantic.Field(0.1, ge=0, lt=1, description="share of held-out rows, by a hash of group or id")
    repeats: int = pydantic.Field(1, ge=1, description="samples made of one decode (repeated augmentation, MAE-ST)")
    repeat: Literal["crops", "windows"] = pydantic.Field("crops", description="what differs between repeats")
    mixup: float = pydantic.Field(0.0, ge=0, allow_inf_nan=False, description="alpha of mixup; 0 disables it")
    weights: tuple[Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)], ...] | None = pydantic.Field(
        None, description="of which each corpus has its share of the samples; by default each recording comes once"
    )
    balanced: bool = pydantic.Field(False, description="hold the shares of the corpora exactly in every batch")
    bad: float = pydantic.Field(0.05, ge=0, le=1, description="share of recordings that may be unreadable")
    outside: bool = pydantic.Field(False, description="also read files outside the manifest's folder")


class AdamW(Section):
    """Settings of AdamW; a module's attribute `optimizer` gives the parameters inside it settings of their own."""

    lr: float = pydantic.Field(default=1.5e-4, gt=0, description="for a global batch of 256; scales with the batch")
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = pydantic.Field(default=0.05, ge=0)


class Optimizer(AdamW):
    """AdamW with linear warm-up and cosine decay."""

    warmup: float = pydantic.Field(0.05, ge=0, lt=1, description="warm-up as a share of the steps")
    final: float = pydantic.Field(0.0, ge=0, le=1, description="share of the learning rate at the end")
    layer_decay: float = pydantic.Field(
        1.0, gt=0, le=1, description="learning rate factor from each layer to the one below"
    )
    clip: float | None = pydantic.Field(None, gt=0, description="maximum gradient norm")


class Lora(Section):
    """Low-rank adapters of linear layers (arXiv:2106.09685), which alone are trained."""

    rank: int = pydantic.Field(8, ge=1)
    alpha: float = pydantic.Field(16.0, gt=0, allow_inf_nan=False, description="adapters count by alpha / rank")
    names: tuple[str, ...] = pydantic.Field(("attention",), min_length=1, description="layers, or what holds them")
    train: tuple[str, ...] = pydantic.Field((), description="parts that learn in full, such as a new head")


class Training(Section):
    """Length, batch size, precision, logging and checkpoints of a training."""

    steps: int | None = pydantic.Field(None, ge=1, description="optimizer steps; takes precedence over epochs")
    epochs: int = pydantic.Field(1, ge=1)
    batch_size: int = pydantic.Field(32, ge=1, description="global batch size, over all processes")
    piece: Annotated[int, pydantic.Field(ge=1)] | Literal["auto"] = pydantic.Field(
        "auto", description="micro-batch: samples per pass over all processes; by default what fits in memory"
    )
    accumulate: int | None = pydantic.Field(
        None, ge=1, description="gradient accumulation; takes precedence over piece"
    )
    workers: int = pydantic.Field(2, ge=0, description="loader workers per process")
    start: str | dict[str, str] | None = pydantic.Field(
        None, description="run or checkpoint to initialise trunk and tokenizers from, or one for each stream"
    )
    freeze: tuple[str, ...] = pydantic.Field((), description="parts that are frozen, by name or dotted prefix")
    lora: Lora | None = pydantic.Field(None, description="low-rank adapters, trained in place of the layers they adapt")
    seed: int = 0
    precision: Literal["auto", "no", "bf16", "fp16"] = "auto"
    compile: bool = pydantic.Field(False, description="compile the model (with several processes each layer by itself)")
    recompute: bool = pydantic.Field(
        False, description="activation checkpointing: recompute layers in the backward pass"
    )
    nonfinite: Literal["skip", "halt"] = pydantic.Field(
        "skip", description="on a loss or gradient that is not finite: skip the step (ten in a row end the run)"
    )
    timeout: float = pydantic.Field(1800.0, gt=0, description="seconds without progress after which a run ends")
    log_every: int = pydantic.Field(10, ge=1)
    save_every: int | None = pydantic.Field(None, ge=1, description="steps; by default ten times in a run")
    evaluate_every: int | None = pydantic.Field(
        None, ge=1, description="steps; by default ten times in a run, after as many samples as there are held out"
    )
    keep: int = pydantic.Field(2, ge=1, description="checkpoints to keep")
    trackers: tuple[str, ...] = ("tensorboard",)


@dataclass(frozen=True)
class Sections:
    """The validated sections that are not looked up by name."""

    size: str
    window: float
    data: Data
    optimizer: Optimizer
    training: Training

    @classmethod
    def check(cls, tree: Mapping[str, Any], name: str) -> Sections:
        size, window = tree.get("size", "base"), tree.get("window")
        if not isinstance(size, str) or size not in SIZES:
            raise RecipeError(f"{name}: size: there is no {size!r}; {nearest(str(size), SIZES)}")
        if isinstance(window, bool) or not isinstance(window, int | float) or not 0 < window < math.inf:
            raise RecipeError(f"{name}: window: seconds to read of each recording, above 0, got {window!r}")
        for key in ("modalities", "trunk", "objectives"):
            if not isinstance(tree.get(key), Mapping):
                raise RecipeError(f"{name}: {key}: a mapping is expected, got {tree.get(key)!r}")
        return cls(
            size, float(window),
            checked(Data, tree, "data", name),
            checked(Optimizer, tree, "optimizer", name),
            checked(Training, tree, "training", name),
        )  # fmt: skip

    def sizes(self, kind: str) -> tuple[int, int, int]:
        """Width, depth and heads of the trunk or of a decoder at this size."""
        return SIZES[self.size][kind == "decoder"]


def refuse_misshapen(tree: Mapping[str, Any], name: str) -> None:
    """Refuse a recipe whose sections are not mappings from names to settings, wherever it was read from.

    Raises:
        RecipeError: names the key.
    """
    for section in NAMED:
        entries = tree.get(section, {})
        if not isinstance(entries, Mapping):
            raise RecipeError(f"{name}: {section}: a mapping is expected, got {entries!r}")
        if section == "trunk" or (section == "masking" and "use" in entries):
            continue
        for key, value in entries.items():
            empty = value is None and section == "modalities"
            if not isinstance(key, str) or not (empty or isinstance(value, Mapping)):
                raise RecipeError(f"{name}: {section}.{key}: a mapping of settings is expected, got {value!r}")


def checked(model: type[Section], tree: Mapping[str, Any], key: str, name: str) -> Any:
    given = tree.get(key) or {}
    if not isinstance(given, Mapping):
        raise RecipeError(f"{name}: {key}: a mapping is expected, got {given!r}")
    for entry in given:
        if entry not in model.model_fields:
            raise RecipeError(f"{name}: {key}.{entry}: unknown setting; {nearest(entry, model.model_fields)}")
    try:
        return model(**given)
    except pydantic.ValidationError as error:
        raise RecipeError(describe(error, f"{name}: {key}")) from error
