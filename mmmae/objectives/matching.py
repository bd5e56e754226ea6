"""Tell pairs that belong together from pairs that were swapped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from mmmae.objectives.objective import Encoded, Objective, Parts
from mmmae.parallel.reduce import count, mean
from modalities.records import Tokens
from modalities.shapes import Bool, Float, Tensor
from modalities.tokenizer import Tokenizer


class Matching(Objective):
    """Binary cross-entropy on whether a stream belongs to the rest, for half of the samples swapped with another's.

    The trunk sees all streams together (TVLT, arXiv:2209.14156, SMAUG, 2211.11446), unmasked unless `masked`.

    Args:
        swap: the stream to swap; the first of the recipe by default.
        masked: look at the visible tokens only.
        weight: of this objective in the total.
    """

    def __init__(
        self,
        tokenizers: Mapping[str, Tokenizer],
        dim: int,
        *,
        swap: str | None = None,
        masked: bool = False,
        weight: float = 1.0,
    ):
        super().__init__(weight)
        self.swap = swap or next(iter(tokenizers))
        if self.swap not in tokenizers:
            raise ValueError(f"cannot swap {self.swap!r}: the streams are {list(tokenizers)}")
        self.masked = masked
        self.head = nn.Sequential(nn.Linear(2 * dim, dim), nn.GELU(), nn.Linear(dim, 1))

    @classmethod
    def applicable(cls, tokenizers: Mapping[str, Tokenizer]) -> bool:
        return len(tokenizers) > 1

    def forward(self, encoded: Encoded) -> dict[str, Float[Tensor, ""]]:
        if self.swap not in encoded.embedded or len(encoded.embedded) == 1:
            return {}  # a batch of too few streams
        logits, matched, judged = self.judge(encoded)
        losses = binary_cross_entropy_with_logits(logits.float(), matched.float(), reduction="none")
        parts = Parts()
        parts.put("match", mean(losses, judged), count(losses, judged))
        return parts

    def judge(self, encoded: Encoded) -> tuple[Float[Tensor, " b"], Bool[Tensor, " b"], Bool[Tensor, " b"]]:
        """Logits that a sample's streams match, whether they do, and whether the sample has enough to tell."""
        tokens = dict(encoded.embedded)
        if not self.masked:
            shown = [
                name for name, t in tokens.items() if t.x.shape[1]
            ]  # a target-only stream is not shown here either
            tokens |= {name: encoded.tokenizers[name].embed(encoded.patches[name]) for name in shown}
        there = {name: t.present() for name, t in tokens.items()}
        b = len(there[self.swap])
        swapped = (encoded.noise("swap", 1)[:, 0] < 0.5) & (b > 1)
        own = torch.arange(b, device=swapped.device)
        partner = torch.where(swapped, own.roll(-1), own)
        tokens[self.swap] = borrow(tokens[self.swap], partner)
        seen = encoded.trunk(tokens)
        others = [name for name in seen if name != self.swap]
        has = torch.stack([there[name] for name in others], 1)  # (b, others)
        means = torch.stack([seen[name].mean() for name in others], 1)
        context = (means * has[..., None]).sum(1) / has.sum(1, keepdim=True).clamp_min(1)
        judged = there[self.swap] & there[self.swap][partner] & has.any(1)
        return self.head(torch.cat([seen[self.swap].mean(), context], -1))[:, 0], ~swapped, judged


def borrow(tokens: Tokens, partner: Tensor) -> Tokens:
    """Every sample's tokens replaced by its partner's."""
    valid = None if tokens.valid is None else tokens.valid[partner]
    return replace(tokens, x=tokens.x[partner], coords=tokens.coords[partner], time=tokens.time[partner], valid=valid)
