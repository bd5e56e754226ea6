"""Text-guided masking: the patches most similar to the caption."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch

from fusion.masking.masking import JointMasking, Noise, Plan, checked, hide_lowest
from fusion.schedule import values
from fusion.similarity import Clip, Learned, Similarity
from modalities.records import Patches
from modalities.tokenizer import Tokenizer


class TextGuided(JointMasking):
    """Hide the patches of one stream that are most similar to another stream (TGM, arXiv:2408.00759).

    Exactly the int(ratio * n) best matches of each sample. Where a sample has no caption, or the model no stream of
    captions, chance decides, as it does in all other streams.

    Args:
        tokenizers: of all streams; say what patches hold.
        hide, guide: the stream whose patches are chosen, and the one that chooses; the recipe's first and last.
        ratio: of the chosen stream's valid patches that is hidden. others: of every other stream's, the guide's too.
        scorer: folder or name of a frozen transformers CLIP that compares frames with captions in its own words; null
            learns to compare, from the same clips, with two small encoders that objective `mask_guidance` teaches.
        frames: pictures of each tube that CLIP looks at. width: of the learned encoders.
    """

    schedulable = ("ratio", "others")

    def __init__(
        self,
        tokenizers: Mapping[str, Tokenizer],
        *,
        hide: str | None = None,
        guide: str | None = None,
        ratio: float = 0.75,
        others: float = 0.0,
        scorer: str | None = None,
        frames: int = 1,
        width: int = 128,
    ):
        super().__init__()
        if frames < 1 or width < 1:
            raise ValueError(f"frames and width count from 1, got {frames} and {width}")
        self.hide, self.guide = hide or next(iter(tokenizers)), guide or list(tokenizers)[-1]
        self.ratio, self.others, self.streams = checked(ratio), checked(others), tuple(tokenizers)
        self.similarity: Similarity | None = None
        if self.hide in tokenizers and self.guide in tokenizers and self.hide != self.guide:
            pair = tokenizers[self.hide], tokenizers[self.guide]
            self.similarity = Learned(*pair, width) if scorer is None else Clip(scorer, *pair, frames)
        self.learns = isinstance(self.similarity, Learned)

    @property
    def target_only(self) -> frozenset[str]:
        ratios = {name: "ratio" if name == self.hide else "others" for name in self.streams}
        return frozenset(name for name, ratio in ratios.items() if min(values(self, ratio)) == 1)

    def plan(self, streams: Mapping[str, Patches], noise: Noise) -> dict[str, Plan]:
        chance = {name: noise(f"mask/{name}", patches.time.shape[1]) for name, patches in streams.items()}
        plans = {name: hide_lowest(patches, chance[name], self.others) for name, patches in streams.items()}
        if self.hide not in streams:
            return plans
        if self.similarity is None or self.guide not in streams:
            return plans | {self.hide: hide_lowest(streams[self.hide], chance[self.hide], self.ratio)}
        patches, guide = streams[self.hide], streams[self.guide]
        likeness = self.similarity(patches, guide)
        order = -likeness.score  # the most alike have the lowest
        if guide.valid is not None:
            order = torch.where(guide.valid.any(1, keepdim=True), order, chance[self.hide])
        plans[self.hide] = replace(hide_lowest(patches, order, self.ratio), stream_vector=likeness.whole)
        plans[self.guide] = replace(plans[self.guide], stream_vector=likeness.guide)
        return plans
