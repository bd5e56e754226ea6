"""Similarity of the patches of one stream to another stream, by a frozen CLIP or learned encoders."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange, reduce
from torch import nn
from torch.nn.functional import interpolate, normalize

from modalities.records import Patches
from modalities.shapes import Float, Tensor
from modalities.tokenizer import Tokenizer

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)  # of the pictures that CLIP was trained on (arXiv:2103.00020)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Likeness:
    """The result of one comparison.

    score: cosine of each patch with the guide; no gradient enters it.
    whole, guide: both streams as unit vectors, by which a similarity that learns is taught; None from others.
    """

    score: Float[Tensor, "b n"]
    whole: Float[Tensor, "b w"] | None = None
    guide: Float[Tensor, "b w"] | None = None


class Similarity(nn.Module, ABC):
    """Compares the patches of a stream with a guide, such as frames with a caption."""

    @abstractmethod
    def forward(self, patches: Patches, guide: Patches) -> Likeness:
        """What a sample's own patches have in common with its own guide; meaningless where it has none."""


class Learned(Similarity):
    """Embeds patches and words each by what it holds, and learns which clips and captions belong together.

    A clip is the mean of its patches, so that its likeness to a caption is the mean of theirs: what all clips show
    favours no caption, and the patches that stand out are those that the caption speaks of.
    """

    def __init__(self, stream: Tokenizer, guide: Tokenizer, width: int):
        super().__init__()
        self.contents = stream.target, guide.target  # methods, no modules: the tokenizers' parameters are not ours
        self.look, self.listen = lift(stream, width), lift(guide, width)

    def forward(self, patches: Patches, guide: Patches) -> Likeness:
        looks = normalize(self.look(contents(self.contents[0], patches)).float(), dim=-1)
        whole = normalize(average(looks, patches), dim=-1)
        heard = normalize(average(self.listen(contents(self.contents[1], guide)).float(), guide), dim=-1)
        return Likeness((looks * heard[:, None]).sum(-1).detach(), whole, heard)


class Clip(Similarity):
    """Asks a frozen CLIP (arXiv:2103.00020): its patches' last states, projected as its class token's is.

    Frames are stretched to its picture; its map of scores is resampled to the grid of the patches and averaged over the
    `frames` that are looked at in each tube.

    name: folder or name of a transformers CLIPModel, whose tokenizer is the vocabulary of the guide.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, stream: Tokenizer, guide: Tokenizer, frames: int):
        super().__init__()
        from transformers import CLIPModel

        if stream.axes != ("time", "row", "column") or stream.channels != 3 or guide.words is None:
            raise ValueError(f"{name} compares colour frames with words; leave scorer at null for other streams")
        try:
            self.clip = CLIPModel.from_pretrained(name).requires_grad_(False).eval()
        except OSError as error:
            remedy = "name a transformers CLIPModel or its folder, or leave it at null"
            raise ValueError(f"scorer {name}: {str(error).splitlines()[0]}; {remedy}") from error
        config: Any = self.clip.config
        known = config.text_config.vocab_size
        if known < guide.words:
            remedy = f"set modalities.text.vocabulary={name}"
            raise ValueError(f"{name} knows {known} words, the vocabulary has {guide.words}; {remedy}")
        self.unpatchify, self.frames, self.full_scale = stream.unpatchify, frames, stream.full_scale
        self.size: int = config.vision_config.image_size
        self.register_buffer("mean", torch.tensor(CLIP_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(CLIP_STD)[:, None, None], persistent=False)

    def train(self, mode: bool = True) -> Clip:
        super().train(mode)
        self.clip.eval()  # a frozen judge does not drop out
        return self

    @torch.no_grad()
    def forward(self, patches: Patches, guide: Patches) -> Likeness:
        t, h, w = patches.grid
        film = rearrange(self.unpatchify(patches.values, patches.grid), "b (t p) c h w -> b t p c h w", t=t)
        tube = film.shape[2]
        frame = (torch.arange(self.frames, device=film.device) * 2 + 1) * tube // (2 * self.frames)
        pictures = rearrange(film[:, :, frame], "b t f c h w -> (b t f) c h w").float() / self.full_scale
        pictures = interpolate(pictures, (self.size, self.size), mode="bicubic", antialias=True).clamp(0, 1)
        looks = normalize(self.look((pictures - self.mean) / self.std).float(), dim=-1)
        heard = normalize(self.listen(guide).float(), dim=-1).repeat_interleave(t * self.frames, 0)
        side = int(looks.shape[1] ** 0.5)
        maps = rearrange((looks * heard[:, None]).sum(-1), "b (h w) -> b 1 h w", h=side)
        maps = interpolate(maps, (h, w), mode="bilinear", antialias=True)
        return Likeness(reduce(maps, "(b t f) 1 h w -> b (t h w)", "mean", t=t, f=self.frames))

    def look(self, pictures: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n d"]:
        """CLIP's own patches, without its class token, in the space it shares with words."""
        states = self.clip.vision_model(pixel_values=pictures).last_hidden_state[:, 1:]
        return self.clip.visual_projection(self.clip.vision_model.post_layernorm(states))

    def listen(self, guide: Patches) -> Float[Tensor, "b d"]:
        ids = guide.values[..., 0]
        there = torch.ones_like(ids) if guide.valid is None else guide.valid.long()
        return self.clip.text_projection(self.clip.text_model(input_ids=ids, attention_mask=there).pooler_output)


def lift(tokenizer: Tokenizer, width: int) -> nn.Module:
    """A two-layer embedding of what a patch holds."""
    words, outputs = tokenizer.words, tokenizer.outputs
    first = nn.Linear(outputs, width) if words is None else nn.Embedding(words, width)
    return nn.Sequential(first, nn.GELU(), nn.Linear(width, width))


def contents(target, patches: Patches) -> Tensor:
    """What all patches hold, as a decoder would have to say it."""
    return target(patches, torch.arange(patches.time.shape[1], device=patches.time.device).expand(patches.time.shape))


def average(x: Float[Tensor, "b n d"], patches: Patches) -> Float[Tensor, "b d"]:
    """Mean of the patches that are there; zero where none is."""
    if patches.valid is None:
        return x.mean(1)
    weight = patches.valid[..., None].to(x.dtype)
    return (x * weight).sum(1) / weight.sum(1).clamp_min(1)
