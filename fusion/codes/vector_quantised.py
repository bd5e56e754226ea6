"""Codes from a codebook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import nn

from fusion.blocks import learned_token
from fusion.codes.codes import Codes, Gather, Term, place
from fusion.masking import Noise
from fusion.streams import join, part
from modalities.records import Tokens
from modalities.shapes import Bool, Float, Int, Tensor

NEVER = 2.0  # the score of a token that is not there; those that are draw theirs from [0, 1)


class VectorQuantised(Codes):
    """Each token becomes the nearest vector of one codebook (VQ-VAE, arXiv:1711.00937).

    Gradients pass straight through to the token. Its loss `commitment` is the squared distance to the vector, averaged
    over the numbers of a code. Vectors follow the tokens that choose them: by running means after each step (`ema`, the
    paper's appendix A.1), or by a gradient, with the loss `codebook`. A vector hardly chosen is restarted at a token of
    the last step, drawn by the keys of the samples (Jukebox, arXiv:2005.00341): so the first step fills the codebook
    from data. Also reported: `perplexity`, how many vectors are in use as the exponential of the entropy of their use.

    Args:
        entries: vectors of the codebook. width: their numbers, to and from which tokens are projected; by default those
            of the tokens, which then are not projected.
        update: `ema` or `gradient`. decay: of the running means of vectors and of their use, each step.
        commitment: weight of that loss.
        restart: share of the mean use of a vector below which it is restarted; 0 restarts none.
    """

    usage: Tensor
    means: Tensor
    counts: Tensor
    sums: Tensor
    spare: Tensor
    scores: Tensor

    def __init__(
        self,
        streams: Sequence[str],
        dim: int,
        *,
        entries: int = 512,
        width: int | None = None,
        update: Literal["ema", "gradient"] = "ema",
        decay: float = 0.99,
        commitment: float = 0.25,
        restart: float = 0.03,
    ):
        super().__init__()
        if entries < 2 or (width is not None and width < 1):
            raise ValueError(f"a codebook has at least 2 entries of at least 1 number, got {entries} of {width}")
        if update not in ("ema", "gradient"):
            raise ValueError(f"update is 'ema' or 'gradient', got {update!r}")
        if not 0 <= decay < 1 or not 0 <= restart < 1 or commitment < 0:
            raise ValueError(
                f"decay and restart lie in [0, 1) and commitment is at least 0, got {decay}, {restart}, {commitment}"
            )
        self.update, self.decay, self.commitment, self.restart = update, decay, commitment, restart
        self.project = nn.Identity() if width is None else nn.Linear(dim, width)
        self.lift = nn.Identity() if width is None else nn.Linear(width, dim)
        width = dim if width is None else width
        if update == "gradient":
            self.codebook = learned_token(width, entries)
        else:
            self.register_buffer("codebook", torch.empty(entries, width).normal_(std=0.02))
            self.register_buffer("means", torch.zeros(entries, width))
        self.register_buffer("usage", torch.zeros(entries))
        # Since the last step: how often each vector was chosen, the sum of what chose it, and tokens to restart at.
        self.register_buffer("counts", torch.zeros(entries), persistent=False)
        self.register_buffer("sums", torch.zeros(entries, width), persistent=False)
        self.register_buffer("spare", torch.zeros(entries, width), persistent=False)
        self.register_buffer("scores", torch.full((entries,), NEVER), persistent=False)

    @property
    def weights(self) -> dict[str, float]:
        return {"commitment": self.commitment, "codebook": 1.0, "perplexity": 0.0}

    def forward(self, tokens: Mapping[str, Tokens], noise: Noise) -> tuple[dict[str, Tokens], dict[str, Term]]:
        x, valid = join(tokens)
        with torch.autocast(x.device.type, enabled=False):
            z = self.project(x.float())
            ids = self.nearest(z)
            chosen = nn.functional.embedding(ids, self.codebook)
            if self.training and torch.is_grad_enabled():
                score = torch.cat([noise.at(f"codes/{name}", place(t)) for name, t in tokens.items()], 1)
                self.observe(z.detach(), ids, valid, score)
            terms = {"commitment": Term((z - chosen.detach()).square().mean(-1), valid)}
            if self.update == "gradient":
                terms["codebook"] = Term((z.detach() - chosen).square().mean(-1), valid)
            terms["perplexity"] = Term(self.perplexity().expand(ids.shape), valid)
            code = self.lift(z + (chosen - z).detach())
        return part(code.to(x.dtype), tokens), terms

    def nearest(self, z: Float[Tensor, "b k w"]) -> Int[Tensor, "b k"]:
        """The number of the nearest vector to each."""
        codebook = self.codebook.detach()
        return (codebook.square().sum(1) - 2 * z.detach() @ codebook.mT).argmin(-1)

    def ids(self, tokens: Mapping[str, Tokens]) -> dict[str, Int[Tensor, "b k"]]:
        """The number of the vector that each token becomes, by stream; of an empty slot it means nothing."""
        return {name: self.nearest(self.project(t.x.float())) for name, t in tokens.items()}

    def perplexity(self) -> Float[Tensor, ""]:
        """How many vectors are in use: from 1 to all of them, by the running means of their use."""
        share = self.usage / self.usage.sum().clamp_min(1e-12)
        return (-torch.xlogy(share, share).sum()).exp()

    @torch.no_grad()
    def observe(
        self,
        z: Float[Tensor, "b k w"],
        ids: Int[Tensor, "b k"],
        valid: Bool[Tensor, "b k"] | None,
        score: Float[Tensor, "b k"],
    ) -> None:
        """Keep what the next `after_step` needs: nothing that a forward pass depends on."""
        rows, real = z.flatten(0, 1), torch.ones_like(score) if valid is None else valid.to(score.dtype)
        self.counts.index_add_(0, ids.flatten(), real.flatten())
        self.sums.index_add_(0, ids.flatten(), torch.where(real.flatten()[:, None] > 0, rows, 0.0))
        score = torch.where(real > 0, score, NEVER).flatten()
        scores, spare = first(torch.cat([self.scores, score]), torch.cat([self.spare, rows]), len(self.scores))
        self.scores.copy_(scores)
        self.spare.copy_(spare)

    @torch.no_grad()
    def after_step(self, taken: bool | Tensor, gather: Gather) -> None:
        if taken is not False:
            counts, sums = gather(self.counts[None]).sum(0), gather(self.sums[None]).sum(0)
            at = first(gather(self.scores), gather(self.spare), len(self.scores))
            self.follow(counts, sums, *at, torch.as_tensor(taken, device=counts.device))
        self.counts.zero_()
        self.sums.zero_()
        self.scores.fill_(NEVER)

    def follow(
        self,
        counts: Float[Tensor, " entries"],
        sums: Float[Tensor, "entries w"],
        scores: Float[Tensor, " entries"],
        spare: Float[Tensor, "entries w"],
        taken: Bool[Tensor, ""],
    ) -> None:
        """Move vectors towards what chose them, and those that hardly anything chooses to tokens of this step."""
        total, entries = counts.sum(), len(counts)
        new, decay = torch.where(total > 0, 1 - self.decay, 0.0), torch.where(total > 0, self.decay, 1.0)
        usage = decay * self.usage + new * counts / total.clamp_min(1)
        dead = usage < self.restart / entries
        turn = (dead.cumsum(0) - 1).clamp_min(0)  # the first dead one takes the first token, and so on
        moved = dead & (scores[turn] < NEVER)
        codebook, at = self.codebook, spare[turn]
        if self.update == "ema":
            means = decay * self.means + new * sums / total.clamp_min(1)
            codebook = torch.where(usage[:, None] > 1e-12, means / usage.clamp_min(1e-12)[:, None], codebook)
            means = torch.where(moved[:, None], at / entries, means)
            self.means.copy_(torch.where(taken, means, self.means))
        codebook = torch.where(moved[:, None], at, codebook)
        self.codebook.copy_(torch.where(taken, codebook, self.codebook))
        self.usage.copy_(torch.where(taken, torch.where(moved, 1 / entries, usage), self.usage))


def first(
    scores: Float[Tensor, " n"], rows: Float[Tensor, "n w"], count: int
) -> tuple[Float[Tensor, " count"], Float[Tensor, "count w"]]:
    """The rows with the lowest scores, in their order."""
    lowest, index = scores.topk(count, largest=False)
    return lowest, rows[index]
