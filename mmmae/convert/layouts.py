"""Layouts of VideoMAE's tensors in other projects, names and shapes: one equation per tensor, in both directions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from einops import rearrange

from modalities.shapes import Tensor

SAME = "1 ... -> ..."
TUBES = "1 d c t h w -> d (t h w c)"  # a convolution's kernel; a patch of ours is laid out (tube, row, column, channel)
TOKEN = "1 1 1 d -> d"
FUSED = "three o i -> (three o) i"
PRETEXT = ("encoder_to_decoder.", "mask_token", "decoder.")  # both layouts call the decoder's share so
WRAPPERS = re.compile(r"^(module\.|backbone\.)+")  # of DDP and DeepSpeed, of toolboxes


@dataclass(frozen=True)
class Equation:
    """A tensor of ours and the stack of theirs that it is made of.

    pattern: einops, from theirs (stacked along the first axis) to ours; read from right to left it leads back.
    """

    ours: str
    theirs: tuple[str, ...]
    pattern: str = SAME

    def forth(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Our tensor."""
        return rearrange([tensors[name] for name in self.theirs], self.pattern)

    def back(self, tensor: Tensor, sizes: Mapping[str, int]) -> dict[str, Tensor]:
        """Their tensors; `sizes` (t, h, w) of a tube undo its flattening."""
        left, right = self.pattern.split(" -> ")
        known = {axis: size for axis, size in {**sizes, "three": 3}.items() if axis in left.split()}
        stack = rearrange(tensor, f"{right} -> {left}", **known)
        return {name: part.contiguous() for name, part in zip(self.theirs, stack, strict=True)}


@dataclass(frozen=True)
class Layout:
    """One way of naming the tensors.

    name: what users know it by. prefix: of the encoder's names if there is a decoder, too.
    places: theirs for each of OURS. block: theirs for each part of a block; a tuple where ours is several of theirs.
    finetuned: what a classifier adds, which masked autoencoders have no use for.
    """

    name: str
    prefix: str
    places: tuple[str, ...]
    block: Mapping[str, str | tuple[str, ...]]
    finetuned: re.Pattern[str]

    OURS: ClassVar = (
        "tokenizers.{stream}.project", "trunk.stacks.{stream}.blocks", "trunk.stacks.{stream}.norm",
        "objectives.reconstruction.decoder.ends.project", "objectives.reconstruction.decoder.ends.mask",
        "objectives.reconstruction.decoder.stack.blocks", "objectives.reconstruction.decoder.stack.norm",
        "objectives.reconstruction.decoder.ends.heads.{stream}",
    )  # fmt: skip

    @property
    def mark(self) -> str:
        """The tensor by which the layout is recognised."""
        return f"{self.places[0]}.weight"

    def bare(self, name: str) -> str:
        """A name without wrappers and prefix, its biases called as they were first."""
        name = name.replace("_orig_mod.", "")  # torch.compile wraps whatever it is given
        name = WRAPPERS.sub("", name).removeprefix(self.prefix)
        return re.sub(r"(?<=attention\.attention\.)(q|v)\w+\.bias$", r"\1_bias", name)  # transformers 5 renamed them

    def written(self, name: str, alone: bool) -> str:
        """A bare name as it stands in a file; `alone`: of an encoder without a decoder."""
        return name if alone or name.startswith(PRETEXT) else self.prefix + name

    def equation(self, ours: str, stream: str) -> Equation | None:
        """How a tensor of ours, by its name in the model, is made; None where the layout has none like it."""
        for place, theirs in zip(self.OURS, self.places, strict=True):
            place = place.format(stream=stream)
            rest = ours.removeprefix(place)
            if rest == ours or rest[:1] not in ("", "."):
                continue
            if not place.endswith("blocks"):
                pattern = TOKEN if not rest else TUBES if theirs == self.places[0] and rest == ".weight" else SAME
                return Equation(ours, (theirs + rest,), pattern)
            _, number, inner = rest.split(".", 2)
            part, leaf = re.fullmatch(r"(.+?)(\.weight|\.bias|)", inner).groups()  # pyright: ignore
            if (called := self.block.get(part)) is None:
                return None
            parts = (called,) if isinstance(called, str) else called
            names = tuple(f"{theirs}.{number}.{name}{leaf}" for name in parts)
            return Equation(ours, names, SAME if isinstance(called, str) else FUSED)
        return None


VIDEOMAE = Layout(
    name="videomae",
    prefix="encoder.",
    places=(
        "patch_embed.proj", "blocks", "norm",
        "encoder_to_decoder", "mask_token", "decoder.blocks", "decoder.norm", "decoder.head",
    ),
    block={
        "norm1": "norm1", "attention.qkv": "attn.qkv", "attention.q_bias": "attn.q_bias",
        "attention.v_bias": "attn.v_bias", "attention.project": "attn.proj",
        "norm2": "norm2", "mlp.0": "mlp.fc1", "mlp.2": "mlp.fc2",
    },
    finetuned=re.compile(r"(fc_norm|head)\.(weight|bias)"),
)  # fmt: skip
TRANSFORMERS = Layout(
    name="transformers",
    prefix="videomae.",
    places=(
        "embeddings.patch_embeddings.projection", "encoder.layer", "layernorm",
        "encoder_to_decoder", "mask_token", "decoder.decoder_layers", "decoder.norm", "decoder.head",
    ),
    block={
        "norm1": "layernorm_before",
        "attention.qkv": tuple(f"attention.attention.{name}" for name in ("query", "key", "value")),
        "attention.q_bias": "attention.attention.q_bias", "attention.v_bias": "attention.attention.v_bias",
        "attention.project": "attention.output.dense",
        "norm2": "layernorm_after", "mlp.0": "intermediate.dense", "mlp.2": "output.dense",
    },
    finetuned=re.compile(r"(fc_norm|classifier)\.(weight|bias)"),
)  # fmt: skip
LAYOUTS = {layout.name: layout for layout in (VIDEOMAE, TRANSFORMERS)}


def recognise(names: Iterable[str]) -> Layout | None:
    """The layout in which tensors are named so."""
    names = list(names)
    return next((layout for layout in LAYOUTS.values() if layout.mark in map(layout.bare, names)), None)
