"""Codes drawn from a normal distribution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from einops import rearrange
from torch import nn

from fusion.codes.codes import Codes, Term, place
from fusion.masking import Noise
from fusion.streams import join, part
from modalities.records import Tokens
from modalities.shapes import Float, Int, Tensor

LEAST, MOST = -30.0, 20.0  # of a log-variance: exp stays finite and the gradient alive


class Gaussian(Codes):
    """A diagonal Gaussian for every token (VAE, arXiv:1312.6114; beta-VAE, Higgins et al. 2017).

    Mean and log-variance are linear in the token. In training the code is mean + deviation * noise, with the sample's
    own noise, so that gradients reach both; in evaluation it is the mean. The loss `kl` is the divergence from the
    standard normal, in nats, summed over a code's numbers and averaged over tokens.

    Args:
        width: numbers of a code; as many as a token has by default.
        beta: weight of `kl`.
    """

    schedulable = ("beta",)

    def __init__(self, streams: Sequence[str], dim: int, *, width: int | None = None, beta: float = 1e-3):
        super().__init__()
        width = dim if width is None else width
        if width < 1 or beta < 0:
            raise ValueError(f"a code has at least 1 number and beta is at least 0, got width={width}, beta={beta}")
        self.width, self.beta = width, beta
        self.moments = nn.Linear(dim, 2 * width)
        self.lift = nn.Linear(width, dim)

    @property
    def weights(self) -> dict[str, float]:
        return {"kl": self.beta}

    def forward(self, tokens: Mapping[str, Tokens], noise: Noise) -> tuple[dict[str, Tokens], dict[str, Term]]:
        x, valid = join(tokens)
        mean, log_variance = self.distribution(x)
        code = mean
        if self.training:
            drawn = [self.noise(noise, name, place(t)) for name, t in tokens.items()]
            code = mean + (0.5 * log_variance).exp() * torch.cat(drawn, 1)
        return part(self.lift(code.to(x.dtype)), tokens), {"kl": Term(divergence(mean, log_variance), valid)}

    def distribution(self, x: Float[Tensor, "b k d"]) -> tuple[Float[Tensor, "b k w"], Float[Tensor, "b k w"]]:
        """Mean and log-variance of the code of each token, in float32."""
        mean, log_variance = self.moments(x).float().chunk(2, -1)
        return mean, log_variance.clamp(LEAST, MOST)

    def noise(self, noise: Noise, name: str, places: Int[Tensor, "b k"]) -> Float[Tensor, "b k w"]:
        """Standard normal numbers that belong to a sample's places, whichever others are visible."""
        index = places[..., None] * self.width + torch.arange(self.width, device=places.device)
        drawn = noise.normal(f"codes/{name}", rearrange(index, "b k w -> b (k w)"))
        return rearrange(drawn, "b (k w) -> b k w", w=self.width)


def divergence(mean: Float[Tensor, "b k w"], log_variance: Float[Tensor, "b k w"]) -> Float[Tensor, "b k"]:
    """KL divergence of diagonal Gaussians from the standard normal, in nats: at least 0."""
    return 0.5 * (mean.square() + log_variance.expm1() - log_variance).sum(-1)
