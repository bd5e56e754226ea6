"""Decoding streams one by one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

from fusion.blocks import by_layer
from fusion.decoders.decoder import Contents, States, TransformerDecoder
from fusion.decoders.joint import Joint
from modalities.records import Places, Tokens
from modalities.shapes import Float, Tensor


class PerStream(TransformerDecoder):
    """A decoder that predicts every stream from its own visible tokens."""

    mixes = False

    @abstractmethod
    def decoder_of(self, name: str) -> Joint:
        """The layers for one stream."""

    def forward(
        self,
        tokens: Mapping[str, Tokens],
        asked: Mapping[str, Places],
        contents: Contents | None = None,
        states: States | None = None,
    ) -> dict[str, Float[Tensor, "b m outputs"]]:
        answers: dict[str, Tensor] = {}
        kept: dict[str, list[Tensor]] = {}
        for name, places in asked.items():
            own = {name: tokens[name]} if name in tokens else {}
            layers: States | None = None if states is None else []
            answers |= self.decoder_of(name)(own, {name: places}, contents, layers)
            kept[name] = [layer[name] for layer in layers or []]
        if states is not None:
            states.extend(by_layer(kept))
        return answers
