"""What reconstruction and masked language modelling share: asking a decoder about hidden patches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import nn

from fusion.codes import Codes
from fusion.decoders import Contents, Decoder
from fusion.masking.masking import Plan, filled, rank, share
from mmmae.objectives.objective import Encoded, Objective, Parts, Picture, Predicted
from mmmae.parallel.reduce import count, gather, mean
from modalities.records import Patches, take
from modalities.shapes import Bool, Float, Int, Shaped, Tensor
from modalities.tokenizer import Tokenizer

Pick = tuple[Int[Tensor, "b m"], Bool[Tensor, "b m"] | None]
"""Patches to ask for, and which slots are filled; None when all are."""


class Prediction(Objective, ABC):
    """Owns a decoder and asks it about hidden patches of some streams.

    streams: those whose hidden patches it predicts. predict: the share of them that is asked for in each encoded.
    inpaint: predict each stream from what is visible of the others alone (AV-MAE, arXiv:2212.05922), in samples that
        have another.
    codes: stand between trunk and decoder; None gives the decoder the trunk's tokens.
    """

    def __init__(
        self,
        decoder: Decoder,
        streams: Sequence[str],
        predict: float,
        weight: float,
        weights: Mapping[str, float] | None = None,
        inpaint: bool = False,
        codes: Codes | None = None,
    ):
        super().__init__(weight, weights)
        if unknown := set(weights or {}) - set(streams):
            raise ValueError(f"weights name {sorted(unknown)}, but the streams predicted are {list(streams)}")
        if not 0 < predict <= 1:
            raise ValueError(f"predict is a share of the hidden patches in (0, 1], got {predict}")
        if inpaint and not decoder.mixes:
            raise ValueError(
                "inpainting predicts a stream from the others, but this decoder shows it none; use joint or cross"
            )
        if inpaint and codes is not None:
            raise ValueError(
                "inpainting encodes each set of streams by itself, which codes are not made for; choose one"
            )
        if codes is not None and (taken := set(codes.weights) & set(streams)):
            raise ValueError(f"{sorted(taken)} names a stream and a loss of the codes; rename the stream")
        self.decoder, self.streams, self.predict, self.inpaint = decoder, tuple(streams), predict, inpaint
        self.codes = codes
        self.provides, self.ties_streams = self.streams, decoder.ties_streams or codes is not None

    def answer(self, encoded: Encoded, everything: bool = False) -> dict[str, Predicted]:
        """The decoder's answer for every stream of the step that this objective predicts.

        everything: ask for all hidden patches, whatever share is predicted in training.
        """
        picks = self.picks(encoded, everything)
        return self.answered(encoded, picks, self.ask(encoded, picks))

    def ask(self, encoded: Encoded, picks: Mapping[str, Pick], contents: Contents | None = None) -> dict[str, Tensor]:
        """What the decoder says of the patches picked; `contents` is what it is told of them beforehand."""
        asked = {name: encoded.patches[name].places(*pick) for name, pick in picks.items()}
        if not self.inpaint:
            return self.decoder(encoded.codes(self.codes)[0], asked, contents)
        return {name: self.decoder(encoded.without(name), {name: at}, contents)[name] for name, at in asked.items()}

    def answered(
        self, encoded: Encoded, picks: Mapping[str, Pick], predicted: Mapping[str, Tensor]
    ) -> dict[str, Predicted]:
        """What was said of the patches picked, beside what should have been."""
        answers = {}
        for name, (pick, asked) in picks.items():
            patches = encoded.patches[name]
            wanted = self.wanted(encoded.tokenizers[name], patches, pick, name)
            observed = None if patches.observed is None else take(patches.observed, pick)
            answers[name] = Predicted(predicted[name], pick, asked, wanted, observed=observed)
        return answers

    def picks(self, encoded: Encoded, everything: bool = False) -> dict[str, Pick]:
        """The patches to ask for, of every stream of the step that this objective predicts."""
        predict = 1.0 if everything else self.predict
        picks = {name: self.pick(encoded, name, predict) for name in self.streams if name in encoded.plans}
        if not self.inpaint:
            return picks
        return {name: accompanied(encoded, name, *pick) for name, pick in picks.items() if len(encoded.tokens) > 1}

    def pick(self, encoded: Encoded, name: str, predict: float) -> Pick:
        """Hidden patches to ask for: all of them, or a share drawn from each sample's own noise."""
        plan = encoded.plans[name]
        if predict == 1:
            return plan.hidden, plan.hidden_valid
        m = plan.hidden.shape[1]
        order = rank(encoded.noise(f"predict/{name}", m), plan.hidden_valid)
        slots = max(1, int(predict * m))
        if plan.hidden_valid is None:
            return plan.hidden.gather(1, filled(order < slots, slots)[0]), None
        count = share(predict, plan.hidden_valid.sum(1)).clamp_min(1)[:, None]
        index, asked = filled((order < count) & plan.hidden_valid, slots)
        return plan.hidden.gather(1, index), asked

    def forward(self, encoded: Encoded) -> dict[str, Float[Tensor, ""]]:
        return self.judge(encoded, self.answer(encoded))

    def judge(self, encoded: Encoded, answers: Mapping[str, Predicted]) -> dict[str, Float[Tensor, ""]]:
        """The mean error of each stream's answer, which is left in the step for other objectives."""
        parts = Parts()
        for name, answer in answers.items():
            error = self.error(encoded.tokenizers[name], encoded.patches[name], answer, name)
            encoded.predictions[name] = replace(answer, error=error)
            parts.put(name, mean(error, answer.valid), count(error, answer.valid))
        for name, term in encoded.codes(self.codes)[1].items():
            parts.put(name, mean(term.values, term.valid), count(term.values, term.valid))
        return parts

    def weight_of(self, part: str) -> float:
        own = {} if self.codes is None else self.codes.weights
        return own[part] if part in own else super().weight_of(part)

    def after_step(self, model: nn.Module, progress: float, taken: bool) -> None:
        if self.codes is not None:
            self.codes.after_step(taken, gather)

    def pictures(self, encoded: Encoded) -> dict[str, Picture]:
        """What each stream was and what the decoder makes of everything that is not visible."""
        encoded = replace(
            encoded, plans={name: plan.complete(encoded.patches[name]) for name, plan in encoded.plans.items()}
        )
        pictures = {}
        for name, answer in self.answer(encoded, everything=True).items():
            tokenizer, patches = encoded.tokenizers[name], encoded.patches[name]
            guess = self.guess(tokenizer, patches, encoded.plans[name], answer, name)
            hidden = torch.zeros(patches.time.shape, dtype=torch.bool, device=answer.index.device)
            filled = torch.ones_like(answer.index, dtype=torch.bool) if answer.valid is None else answer.valid
            hidden = hidden.scatter(1, answer.index, filled)
            truth = tokenizer.target(patches, answer.index)
            keep = filled.reshape(*filled.shape, *[1] * (truth.ndim - 2))
            guess = torch.where(keep, guess.to(truth.dtype), truth)  # an empty slot overwrites nothing
            original = tokenizer.assemble(patches.values, patches.grid)
            unseen = replace(patches, values=torch.where(hidden[..., None], blank(tokenizer, patches), patches.values))
            pictures[name] = Picture(original, tokenizer.restore(unseen, guess, answer.index), hidden)
        return pictures

    def wanted(
        self, tokenizer: Tokenizer, patches: Patches, pick: Int[Tensor, "b m"], name: str
    ) -> Shaped[Tensor, "b m ..."]:
        """What the decoder should say of the patches at `pick`."""
        return tokenizer.target(patches, pick)

    @abstractmethod
    def error(self, tokenizer: Tokenizer, patches: Patches, answer: Predicted, name: str) -> Float[Tensor, "b m"]:
        """How wrong the answer is about each patch, in float32."""

    @abstractmethod
    def guess(self, tokenizer: Tokenizer, patches: Patches, plan: Plan, answer: Predicted, name: str) -> Tensor:
        """The answer in the network's units, for pictures; computed without the contents of any hidden patch."""


def accompanied(encoded: Encoded, name: str, pick: Int[Tensor, "b m"], asked: Bool[Tensor, "b m"] | None) -> Pick:
    """The pick, its slots empty where a sample has no other stream to be told from."""
    others = torch.stack([tokens.present() for other, tokens in encoded.tokens.items() if other != name], 1).any(1)
    filled = torch.ones_like(pick, dtype=torch.bool) if asked is None else asked
    return pick, filled & others[:, None]


def blank(tokenizer: Tokenizer, patches: Patches) -> Tensor:
    """Patches of which nothing is known: zero in the network's units, which is grey in a picture."""
    zero = torch.zeros_like(patches.values, dtype=torch.float32)
    return tokenizer.natural(zero).to(patches.values.dtype)
