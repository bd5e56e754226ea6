"""Text: every token of a caption is a patch."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from modalities.accept import identifiers
from modalities.positions import Kind
from modalities.records import Patches, Places, Signal, lattice
from modalities.shapes import Float, Int, Shaped, Tensor
from modalities.tokenizer import Tokenizer


class TextTokenizer(Tokenizer):
    """Embed the ids of a caption; predict the ids that were hidden (BERT, arXiv:1810.04805, without a mask token).

    Takes int64 ids (b, l), padded to l; `modalities.text.Vocabulary` makes them from strings. The only coordinate is
    the place in the caption; its words are taken to be spread over the whole window.

    Args:
        dim: width of the tokens.
        words: size of the vocabulary.
        encoder: name or path of a frozen transformers text encoder whose outputs replace the trainable embedding. It
            sees the visible ids only. Its vocabulary must be the reader's.

    >>> tokenizer = TextTokenizer(64, words=1000)
    >>> patches = tokenizer.patchify(Signal(torch.randint(0, 1000, (2, 12)), length=torch.tensor([12, 5])))
    >>> tuple(tokenizer.embed(patches).x.shape), patches.valid.sum(1).tolist()
    ((2, 12, 64), [12, 5])
    """

    axes = ("time",)
    layout = ("b", "l")

    def __init__(self, dim: int, *, words: int = 4096, encoder: str | None = None, positions: Kind = "grid"):
        super().__init__(dim, positions=positions)
        if words < 1:
            raise ValueError(f"a vocabulary has at least one word, got words={words}")
        self.words = self.outputs = words
        if encoder is None:
            self.encoder, self.project = None, nn.Embedding(words, dim)
        else:
            from transformers import AutoModel

            frozen = AutoModel.from_pretrained(encoder, trust_remote_code=False, use_safetensors=True)
            self.encoder = frozen.requires_grad_(False).eval()
            if self.encoder.config.vocab_size < words:
                raise ValueError(f"{encoder} knows {self.encoder.config.vocab_size} words, the vocabulary has {words}")
            self.project = nn.Linear(self.encoder.config.hidden_size, dim)

    def train(self, mode: bool = True) -> TextTokenizer:
        super().train(mode)
        if self.encoder is not None:
            self.encoder.eval()  # a frozen encoder does not drop out
        return self

    @property
    def expected(self) -> str:
        return f"text as ids of a vocabulary of {self.outputs} words in int64 (b, l)"

    def convert(self, signal: Signal) -> Signal:
        return identifiers(signal, self.outputs, self.expected)

    def patchify(self, signal: Any) -> Patches:
        signal = self.accept(signal)
        ids = signal.silenced().values
        b, length = ids.shape
        coords = lattice((length,), ids.device)
        duration = signal.seconds()
        filled = torch.full((b,), length, device=ids.device) if signal.length is None else signal.length
        fraction = (coords[:, 0] + 0.5) / filled.clamp_min(1)[:, None]
        valid = None if signal.length is None else coords[:, 0] < signal.length[:, None]
        return Patches(ids[..., None], coords, duration[:, None] * fraction.clamp_max(1), (length,), duration, valid)

    def embed_values(self, values: Shaped[Tensor, "b k 1"], places: Places) -> Float[Tensor, "b k d"]:
        ids = values[..., 0]
        if self.encoder is None:
            return self.project(ids)
        seen = torch.ones_like(ids) if places.valid is None else places.valid.long()
        with torch.no_grad():
            hidden = self.encoder(input_ids=ids, attention_mask=seen, position_ids=places.coords[..., 0])
        return self.project(hidden.last_hidden_state)

    def target(self, patches: Patches, pick: Int[Tensor, "b m"]) -> Int[Tensor, "b m"]:
        return patches.values[..., 0].gather(1, pick)

    def restore(self, patches: Patches, predicted: Tensor, pick: Int[Tensor, "b m"]) -> Int[Tensor, "b l"]:
        """The ids with guesses at `pick`: ids (b, m), or scores (b, m, words) of which the best is taken."""
        guesses = predicted.argmax(-1) if predicted.ndim == 3 else predicted
        return self.unpatchify(patches.values.scatter(1, pick[..., None], guesses[..., None]), patches.grid)

    def unpatchify(self, values: Shaped[Tensor, "b n 1"], grid: tuple[int, ...]) -> Int[Tensor, "b l"]:
        return values[..., 0]
