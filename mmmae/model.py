"""The model, and the path of a batch through it: patchify, mask, embed, encode, predict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import nn

from fusion.blocks import initialise
from fusion.masking import JointMasking, Masking, Noise, Plan
from fusion.schedule import advance
from fusion.trunks import Trunk
from mmmae.inputs import admitted
from mmmae.objectives.objective import Encoded, Losses, Objective, Picture, check, counted
from modalities.records import Tokens
from modalities.shapes import Tensor
from modalities.tokenizer import Tokenizer, Tokenizers


class MaskedAutoencoder(nn.Module):
    """A masked autoencoder of any set of streams; what each part does is the recipe's choice.

    epoch_ends: whether the last optimizer step was the last of an epoch.
    """

    epoch_ends: bool = False

    def __init__(
        self,
        tokenizers: Mapping[str, Tokenizer],
        masking: JointMasking,
        trunk: Trunk,
        objectives: Mapping[str, Objective],
    ):
        super().__init__()
        maskings = (module for module in masking.modules() if isinstance(module, (Masking, JointMasking)))
        self.tokenizers = Tokenizers(tokenizers)
        separate = [] if trunk.ties_streams else list(dict.fromkeys(self.tokenizers.owners.values()))
        check(objectives, any(module.learns for module in maskings), separate)
        if not set(self.tokenizers) - masking.target_only:
            raise ValueError(
                f"every stream is target-only ({', '.join(self.tokenizers)}): all of it is hidden and none is visible "
                "to predict it from; give one of them a masking with a ratio below 1"
            )
        self.masking = masking
        self.trunk = trunk
        self.objectives = cast("Mapping[str, Objective]", nn.ModuleDict(objectives))
        beside = [objective for objective in objectives.values() if objective.detached]  # last: the rest draws the same
        asking = [objective for objective in objectives.values() if not objective.detached]
        for part in (self.masking, self.trunk, *asking, self.tokenizers, *beside):
            part.apply(initialise)
        self.attach()

    def forward(self, batch: Mapping[str, Any]) -> Losses:
        """Losses by part and their weighted sum."""
        encoded = self.encode_masked(batch)
        said = {name: objective(encoded) for name, objective in self.objectives.items()}
        parts = {name: losses for name, losses in said.items() if losses}
        total = torch.stack([self.objectives[name].weigh(losses) for name, losses in parts.items()]).sum()
        named = {f"{name}/{part}": loss for name, losses in parts.items() for part, loss in losses.items()}
        counts = {f"{name}/{part}": count for name, losses in parts.items() for part, count in counted(losses).items()}
        return Losses(total, named, counts)

    def encode_masked(self, batch: Mapping[str, Any], plans: Mapping[str, Plan] | None = None) -> Encoded:
        """Everything before the objectives; `plans` overrides what the masking would hide."""
        batch = admitted(batch, self.tokenizers)
        noise = Noise(batch.key)
        patches = {name: self.tokenizers[name].cut(signal) for name, signal in batch.items()}  # cut
        plans = plans or self.masking.plan(patches, noise)  # hide
        embedded = {  # embed what is visible
            name: self.tokenizers[name].embed(patches[name], plan.visible, plan.visible_valid)
            for name, plan in plans.items()
        }
        tokens = self.trunk(embedded)  # fuse
        return Encoded(batch, patches, plans, embedded, tokens, dict(self.tokenizers.items()), self.trunk, noise)  # ask

    def encode(self, batch: Mapping[str, Any]) -> dict[str, Tokens]:
        """Representations of every patch with nothing hidden, for any subset of the modalities.

        Streams that the model only predicts (`masking: {NAME: {use: target}}`) are not shown here either, and left out.

        Raises:
            ValueError: a stream is unknown or its values are not what its tokenizer takes, or all are target-only.
        """
        batch = admitted(batch, self.tokenizers)
        shown = [name for name in batch if name not in self.masking.target_only]
        if not shown:
            raise ValueError(f"{', '.join(batch)}: the model predicts it and is never shown it; give another stream")
        patches = {name: self.tokenizers[name].cut(batch[name]) for name in shown}
        return self.trunk({name: self.tokenizers[name].embed(patches[name]) for name in patches})

    def train(self, mode: bool = True) -> MaskedAutoencoder:
        """Training mode, except for what is frozen (`frozen = True` on a module): it computes as in evaluation."""
        super().train(mode)
        for module in self.modules():
            if getattr(module, "frozen", False):
                module.train(False)
        return self

    def reconstruct(self, batch: Mapping[str, Any], plans: Mapping[str, Plan] | None = None) -> dict[str, Picture]:
        """Hide, predict and put back, for every stream that an objective predicts; empty if none predicts any.

        Gradients flow back to the values of the batch and to the parameters; who wants none calls it in
        `torch.no_grad()`.
        """
        encoded = self.encode_masked(batch, plans)
        pictures: dict[str, Picture] = {}
        for objective in self.objectives.values():
            pictures |= objective.pictures(encoded)
        return pictures

    def attach(self) -> None:
        """Let objectives take what they need of the weights, which are those that training begins with."""
        for objective in self.objectives.values():
            objective.attach(self)

    def after_step(self, progress: float, taken: bool | Tensor, epoch_ends: bool = False) -> None:
        """Update state that no gradient moves (teachers, queues); called once after every optimizer step.

        progress: of training, from 0 to 1. taken: whether the step was made, or skipped as not finite; a tensor stays
            on the device. epoch_ends: whether this step is the last of an epoch.
        """
        self.epoch_ends = epoch_ends
        for objective in self.objectives.values():
            objective.after_step(self, progress, taken)

    def record(self) -> dict[str, Any]:
        """Settings of the objectives that a checkpoint keeps, beyond those of the recipe that it is built from."""
        found = {name: objective.record() for name, objective in self.objectives.items()}
        return {name: settings for name, settings in found.items() if settings}

    def advance(self, progress: float) -> None:
        """Move everything that follows a schedule to where it belongs at a progress of training from 0 to 1."""
        for module in self.modules():
            advance(module, progress)
