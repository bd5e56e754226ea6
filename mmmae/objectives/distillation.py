"""Predict a teacher's representations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import nn
from torch.nn.functional import cosine_similarity, mse_loss

from fusion.decoders import MakeDecoder
from fusion.projector import MakeProjector, Projector
from mmmae.objectives.objective import Encoded, Parts
from mmmae.objectives.taught import Taught
from mmmae.parallel.reduce import count, gather, mean
from mmmae.teachers import MakeTeacher
from modalities.positions import ravel
from modalities.records import Tokens, take
from modalities.shapes import Bool, Float, Int, Tensor
from modalities.tokenizer import Tokenizer

Piece = tuple[Float[Tensor, "b m d"], Int[Tensor, "b m"], Bool[Tensor, "b m"] | None]
"""Predictions, the patches that they are of, and which of these are real; None when all are."""


class Distillation(Taught):
    """Masked distillation (data2vec, arXiv:2202.03555; VideoPrism, 2402.13217): predict a teacher's
    representations of the unmasked clip from the visible patches.

    Args:
        teacher: whose representations are the targets; by default an average of the model itself (`ema`).
        decoder: predicts the teacher's tokens at hidden places.
        head: a projector of pooled vectors; by default one linear layer.
        streams: whose representations are predicted; by default all that the teacher encodes.
        places: where tokens are predicted: `hidden`, by the decoder; `visible`, from the student's own token there by a
            linear layer; or `all`.
        distance: `cosine`, 1 - cos; or `mse`, the mean squared error.
        tokens, pooled: weights of the loss of tokens and of that of their averages over a clip; 0 leaves it out.
        weight: of this objective in the total.
    """

    def __init__(
        self,
        tokenizers: Mapping[str, Tokenizer],
        dim: int,
        *,
        teacher: MakeTeacher,
        decoder: MakeDecoder,
        head: MakeProjector | None = None,
        streams: list[str] | None = None,
        places: Literal["hidden", "visible", "all"] = "hidden",
        distance: Literal["cosine", "mse"] = "cosine",
        tokens: float = 1.0,
        pooled: float = 0.0,
        weight: float = 1.0,
    ):
        if places not in ("hidden", "visible", "all"):
            raise ValueError(f"places is 'hidden', 'visible' or 'all', got {places!r}")
        if distance not in ("cosine", "mse"):
            raise ValueError(f"distance is 'cosine' or 'mse', got {distance!r}")
        if min(tokens, pooled) < 0 or tokens == pooled == 0:
            raise ValueError(
                f"tokens and pooled are weights, one of them above 0, got tokens={tokens}, pooled={pooled}"
            )
        super().__init__(weight, made := teacher())
        known = [name for name in tokenizers if made.streams is None or name in made.streams]
        self.streams = [name for name in known if streams is None or name in streams]
        if not self.streams:
            raise ValueError(f"nothing to distil: the teacher encodes {known} of the streams, asked for are {streams}")
        self.weights = {f"{name}-tokens": tokens for name in self.streams}
        self.weights |= {f"{name}-pooled": pooled for name in self.streams}
        width = made.width or dim
        outputs = dict.fromkeys(self.streams, width)
        self.distance = distance
        self.decoder = decoder(list(tokenizers), dim, outputs) if tokens and places != "visible" else None
        seen = self.streams if tokens and places != "hidden" else []
        self.visible = nn.ModuleDict({name: nn.Linear(dim, width) for name in seen})
        make = head or linear
        self.pooled = nn.ModuleDict({name: make(dim, width) for name in self.streams if pooled})
        if head is not None and not pooled:
            raise ValueError("head projects pooled vectors, of which there are none; set pooled above 0")
        self.ties_streams = self.decoder is not None and self.decoder.ties_streams

    def attach(self, model: nn.Module) -> None:
        super().attach(model)
        if unseen := [name for name in self.streams if name not in (self.teacher.streams or ())]:
            raise ValueError(
                f"{unseen[0]} is target-only, so that the teacher never encodes it; leave it out of streams"
            )

    def forward(self, encoded: Encoded) -> dict[str, Float[Tensor, ""]]:
        targets = self.teacher.encode(encoded)
        names = [name for name in self.streams if name in targets]
        parts = Parts()
        predicted = self.predicted(encoded, names)
        for name, pieces in predicted.items():
            require_alike(name, targets[name], encoded.patches[name].grid)
            errors = [self.error(x, take(targets[name].x, index)) for x, index, _ in pieces]
            there = [torch.ones_like(index) if valid is None else valid for _, index, valid in pieces]
            error, valid = torch.cat(errors, 1), torch.cat(there, 1)
            parts.put(f"{name}-tokens", mean(error, valid), count(error, valid))
        for name in names if self.pooled else ():
            both = encoded.tokens[name].present() & targets[name].present()
            vectors = self.pooled[name](encoded.tokens[name].mean(), both, gather)
            error = self.error(vectors, targets[name].mean())
            parts.put(f"{name}-pooled", mean(error, both), count(error, both))
        return parts

    def predicted(self, encoded: Encoded, names: Sequence[str]) -> dict[str, list[Piece]]:
        """Predictions of the teacher's tokens by stream, first at hidden places, then at visible ones."""
        found: dict[str, list[Piece]] = {}
        if self.decoder is not None:
            plans = {name: encoded.plans[name] for name in names}
            asked = {name: encoded.patches[name].places(p.hidden, p.hidden_valid) for name, p in plans.items()}
            for name, x in self.decoder(encoded.tokens, asked).items():
                found.setdefault(name, []).append((x, plans[name].hidden, asked[name].valid))
        for name in names if self.visible else ():
            tokens = encoded.tokens[name]
            index = ravel(tokens.coords, tokens.grid)  # a trunk may have dropped some of the visible ones
            found.setdefault(name, []).append((self.visible[name](tokens.x), index, tokens.valid))
        return found

    def error(self, x: Float[Tensor, "*shape d"], target: Float[Tensor, "*shape d"]) -> Float[Tensor, "*shape"]:
        """The distance between vectors, in float32."""
        x, target = x.float(), target.float()
        if self.distance == "cosine":
            return 1 - cosine_similarity(x, target, dim=-1)
        return mse_loss(x, target, reduction="none").mean(-1)


def linear(dim: int, width: int) -> Projector:
    """A projector of one linear layer."""
    return Projector(dim, width, hidden=())


def require_alike(name: str, target: Tokens, grid: tuple[int, ...]) -> None:
    """Refuse a teacher that cuts a stream otherwise than its student.

    Raises:
        ValueError: their grids differ.
    """
    if target.grid != grid:
        raise ValueError(
            f"{name}: the teacher cuts it into {target.grid} patches, the model into {grid}; give both the same "
            "patches, or set tokens=0 and pooled=1"
        )
