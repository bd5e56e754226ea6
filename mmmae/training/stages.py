"""Which parameters a run trains: parts may be frozen by name, or adapted by LoRA while their own weights rest."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from mmmae.recipes.lookup import nearest
from mmmae.storage.adapters import ADAPTER
from mmmae.teachers import Teacher
from modalities.errors import InputError

if TYPE_CHECKING:
    from mmmae.recipes.sections import Lora, Training


def staged(model: nn.Module, settings: Training) -> None:
    """Freeze and adapt what the recipe names; called before the optimizer is made, again where a run goes on.

    Raises:
        InputError: a name is that of no part, nothing would be trained, or peft is not installed.
    """
    if settings.lora is not None:
        adapt(model, settings.lora, settings.seed)
    freeze(model, settings.freeze)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise InputError("training.freeze: nothing is left to train\n  name fewer parts")


def within(name: str, part: str) -> bool:
    """Whether the dotted name of a module or parameter lies in a part: `part` stands in it, whole words only."""
    return f".{part}." in f".{name}."


def require(parts: Iterable[str], names: Sequence[str], key: str, what: str) -> None:
    """Refuse names of which there is nothing.

    Raises:
        InputError: names the first of them, and the nearest there is.
    """
    words = list(dict.fromkeys(word for name in names for word in (name, *name.split("."))))
    for part in parts:
        if not any(within(name, part) for name in names):
            raise InputError(f"{key}: the model has no {what} {part!r}\n  {nearest(part, words)[:300]}")


def freeze(model: nn.Module, parts: Sequence[str]) -> None:
    """Take parts out of training: no gradient reaches their parameters, and they compute as in evaluation.

    parts: names or dotted prefixes of modules or parameters, such as `tokenizers`, `trunk.blocks.0` or `norm1`.

    Raises:
        InputError: there is no such part.
    """
    modules = dict(model.named_modules())
    parameters = dict(model.named_parameters())
    require(parts, [*modules, *parameters], "training.freeze", "part")
    for part in parts:
        for name, parameter in parameters.items():
            if within(name, part):
                parameter.requires_grad_(False)
        for name, module in modules.items():
            if within(name, part):
                module.__dict__["frozen"] = True  # mmmae.model keeps it in eval mode
                module.eval()


def adapt(model: nn.Module, lora: Lora, seed: int) -> None:
    """Put low-rank adapters around linear layers (LoRA, arXiv:2106.09685) and let nothing else learn.

    They begin as no change: A is drawn from the seed, B is zero. What `lora.train` names learns in full.

    Raises:
        InputError: peft is not installed, or there is no such layer.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise InputError("training.lora needs peft\n  pip install 'mmmae[lora]'") from error
    taught = [name for name, module in model.named_modules() if isinstance(module, Teacher)]  # they follow, or rest
    layers = [
        name for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and not name.startswith(tuple(f"{teacher}." for teacher in taught))
    ]  # fmt: skip
    require(lora.names, layers, "training.lora.names", "linear layer")
    chosen = [name for name in layers if any(within(name, part) for part in lora.names)]
    full = [name for name, _ in model.named_parameters()]
    require(lora.train, full, "training.lora.train", "part")
    if both := [name for name in chosen if any(within(name, part) for part in lora.train)]:
        raise InputError(f"training.lora: {both[0]} is named in both `names` and `train`\n  adapt it or train it")
    learned = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore
        target_modules="|".join(map(re.escape, chosen)),
        bias="none",  # type: ignore
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, model, adapter_name=ADAPTER)
    for name, parameter in model.named_parameters():
        if name in learned and any(within(name, part) for part in lora.train):
            parameter.requires_grad_(True)
