"""Denoising diffusion of hidden patches."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Literal

import torch
from einops import rearrange
from torch import nn

from fusion.codes import MakeCodes
from fusion.decoders import MakeDecoder
from fusion.masking import Plan
from mmmae.objectives.objective import Encoded, Predicted
from mmmae.objectives.prediction import Pick, Prediction
from mmmae.objectives.reconstruction import numeric
from modalities.positions import sincos
from modalities.records import Patches
from modalities.shapes import Float, Int, Tensor
from modalities.tokenizer import Tokenizer

Schedule = Literal["linear", "cosine"]


class Diffusion(Prediction):
    """Predict hidden patches given the visible ones and noisy versions of them (DiffMAE, arXiv:2304.03283).

    In training each sample's hidden patches are diffused by a drawn number of steps, sqrt(a) x + sqrt(1 - a) noise, and
    enter the decoder in place of mask tokens; the loss is the mean squared error of x, in the network's units. Whoever
    asks for an answer, as pictures do, gets one without the hidden patches: it begins with noise and is denoised stride
    by stride. With nothing but noise left (a = 0) this is a masked autoencoder.

    Args:
        decoder: who denoises. codes: what it is given in place of the trunk's tokens, if anything.
        schedule: how the share a of the signal falls from 1: `linear` (DDPM, arXiv:2006.11239) nearly, or `cosine`
            (2102.09672) exactly, to 0. power: to which a is raised; a smaller one leaves more of the signal.
        steps: of diffusion.
        strides: of sampling, at most `steps`.
        eta: noise added again between strides: 0 none (DDIM, arXiv:2010.02502), 1 as much as DDPM does.
        predict: share of the hidden patches that is predicted in each step.
        weight, weights: of this objective in the total, and of each stream in this objective.
    """

    alpha: Tensor
    clock: Tensor

    def __init__(
        self,
        tokenizers: Mapping[str, Tokenizer],
        dim: int,
        *,
        decoder: MakeDecoder,
        codes: MakeCodes | None = None,
        schedule: Schedule = "linear",
        power: float = 1.0,
        steps: int = 1000,
        strides: int = 20,
        eta: float = 0.0,
        predict: float = 1.0,
        weight: float = 1.0,
        weights: dict[str, float] | None = None,
    ):
        outputs = numeric(tokenizers)
        weights = {name: value for name, value in (weights or {}).items() if name not in tokenizers or name in outputs}
        made = decoder(list(tokenizers), dim, outputs)
        coded = None if codes is None else codes(list(tokenizers), dim)
        super().__init__(made, list(outputs), predict, weight, weights, codes=coded)
        if schedule not in ("linear", "cosine"):
            raise ValueError(f"schedule is 'linear' or 'cosine', got {schedule!r}")
        if steps < 1 or strides < 1:
            raise ValueError(f"steps and strides count from 1, got {steps} and {strides}")
        if power <= 0:
            raise ValueError(f"the power of what is left of the signal is above 0, got {power}")
        if not 0 <= eta <= 1:
            raise ValueError(f"eta lies between 0 (DDIM) and 1 (DDPM), got {eta}")
        self.steps, self.strides, self.eta = steps, min(strides, steps), eta
        self.sizes, width = outputs, self.decoder.width
        self.lift = nn.ModuleDict({name: nn.Linear(count, width, bias=False) for name, count in outputs.items()})
        self.late = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
        self.register_buffer("alpha", signal_left(schedule, steps) ** power, persistent=False)
        self.register_buffer("clock", sincos(torch.arange(steps + 1) * 1000 / steps, width), persistent=False)

    @classmethod
    def applicable(cls, tokenizers: Mapping[str, Tokenizer]) -> bool:
        return bool(numeric(tokenizers))

    def forward(self, encoded: Encoded) -> dict[str, Float[Tensor, ""]]:
        picks = self.picks(encoded)
        time = 1 + (encoded.noise("diffusion", 1)[:, 0] * self.steps).long()
        a = self.alpha[time][:, None, None]
        left = {}
        for name, pick in picks.items():
            clean = self.wanted(encoded.tokenizers[name], encoded.patches[name], pick[0], name)
            left[name] = a.sqrt() * clean + (1 - a).sqrt() * self.noise(encoded, name, pick[0])
        return self.judge(encoded, self.answered(encoded, picks, self.denoise(encoded, picks, left, time)))

    def answer(self, encoded: Encoded, everything: bool = False) -> dict[str, Predicted]:
        picks = self.picks(encoded, everything)
        return self.answered(encoded, picks, self.sample(encoded, picks))

    def sample(self, encoded: Encoded, picks: Mapping[str, Pick]) -> dict[str, Tensor]:
        """The patches picked, out of pure noise, by what the decoder makes of it in each of `strides`."""
        times = [round(self.steps * (1 - i / self.strides)) for i in range(self.strides + 1)]
        left = {name: self.noise(encoded, name, pick[0]) for name, pick in picks.items()}
        clean = left
        for now, then in pairwise(times):
            clean = self.denoise(encoded, picks, left, torch.full_like(encoded.batch.key, now))
            a, b = self.alpha[now], self.alpha[then]
            spread = self.eta * ((1 - b) / (1 - a) * (1 - a / b)).sqrt()
            for name, pick in picks.items():
                direction = (left[name] - a.sqrt() * clean[name]) / (1 - a).sqrt()
                left[name] = b.sqrt() * clean[name] + (1 - b - spread**2).clamp_min(0).sqrt() * direction
                if self.eta:
                    left[name] = left[name] + spread * self.noise(encoded, name, pick[0], f"/{then}")
        return clean

    def denoise(
        self, encoded: Encoded, picks: Mapping[str, Pick], left: Mapping[str, Tensor], time: Int[Tensor, " b"]
    ) -> dict[str, Tensor]:
        """The decoder's idea of the patches of which noise has left this much, after `time` steps."""
        late = self.late(self.clock[time])[:, None]
        said = self.ask(encoded, picks, {name: self.lift[name](x) + late for name, x in left.items()})
        return {name: x.float() for name, x in said.items()}

    def noise(self, encoded: Encoded, name: str, pick: Int[Tensor, "b m"], purpose: str = "") -> Float[Tensor, "b m p"]:
        """Standard normal numbers that belong to a sample's patches, whichever others are picked."""
        size = self.sizes[name]
        index = rearrange(pick[..., None] * size + torch.arange(size, device=pick.device), "b m p -> b (m p)")
        return rearrange(encoded.noise.normal(f"diffusion/{name}{purpose}", index), "b (m p) -> b m p", p=size)

    def wanted(
        self, tokenizer: Tokenizer, patches: Patches, pick: Int[Tensor, "b m"], name: str
    ) -> Float[Tensor, "b m p"]:
        return tokenizer.target(patches, pick).float()

    def error(self, tokenizer: Tokenizer, patches: Patches, answer: Predicted, name: str) -> Float[Tensor, "b m"]:
        return answer.average((answer.values - answer.target).square())

    def guess(self, tokenizer: Tokenizer, patches: Patches, plan: Plan, answer: Predicted, name: str) -> Tensor:
        return answer.values


def signal_left(schedule: Schedule, steps: int) -> Float[Tensor, " times"]:
    """The share of the signal's power that is left after 0 to `steps` steps."""
    done = torch.arange(steps + 1, dtype=torch.float64) / steps
    if schedule == "linear":  # of many small steps; exp(-10.05) = 4e-5 is left at the end
        return (-0.1 * done - (20 - 0.1) / 2 * done**2).exp().float()
    share = ((done + 0.008) / 1.008 * math.pi / 2).cos() ** 2
    share[-1] = 0.0  # which the cosine misses by a rounding
    return (share / share[0]).float()
