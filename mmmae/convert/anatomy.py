"""The recipe that a checkpoint of VideoMAE was made with, inferred from shapes and transformers' config.json."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from fusion.sizes import SIZES
from mmmae.convert.files import CONFIG, Found
from mmmae.convert.layouts import PRETEXT, Layout
from mmmae.recipes.recipe import RecipeSpec
from modalities.errors import InputError
from modalities.shapes import Tensor

RECIPE, STREAM = "videomae", "video"
DECODER = "objectives.reconstruction.decoder"
EPS = 1e-5  # up to here the difference to our LayerNorm's 1e-6 is rounding


def inferred(found: Found, layout: Layout, body: Mapping[str, Tensor], overrides: Sequence[str]) -> RecipeSpec:
    """The recipe; where shapes leave a number open (heads, frames, size of the picture) config.json or the table of
    sizes tells it, and `overrides` win.

    Raises:
        InputError: the number of heads is unknown, or config.json needs what mmmae does not compute.
    """
    config = found.config or {}
    alone = lone(body)
    check(found, alone)
    kernel = body[layout.mark]
    if kernel.ndim != 5 or kernel.shape[3] != kernel.shape[4]:
        raise InputError(f"{found.path}: {layout.mark} is {tuple(kernel.shape)}, expected (d, c, t, p, p)")
    width, channels, tube, patch, _ = kernel.shape
    sizes = f"patch: {patch}, tube: {tube}, channels: {channels}"
    given = {"frames": config.get("num_frames"), "size": config.get("image_size")}
    sizes += "".join(f", {key}: {value}" for key, value in given.items() if value is not None)
    changes = [f"modalities.{STREAM}={{{sizes}}}"]

    known = (config.get("num_attention_heads"), config.get("decoder_num_attention_heads"))
    encoder = (width, depth(body, layout.places[1]), heads(found, width, known[0], 0, overrides))
    bridge = body.get("encoder_to_decoder.weight")
    decoder = None
    if bridge is not None:
        deep = depth(body, layout.places[5])
        decoder = (len(bridge), deep, heads(found, len(bridge), known[1], 1, overrides))
    name = next((name for name, row in SIZES.items() if row[0] == encoder and decoder in (None, row[1])), None)
    if name is not None:
        changes.append(f"size={name}")
    else:
        changes += spelled("trunk", encoder) + (spelled(DECODER, decoder) if decoder else [])
    if pooled(config, layout, body):
        changes.append("trunk.norm=false")
    return RecipeSpec.load(RECIPE, [*changes, *overrides])


def lone(body: Mapping[str, Tensor]) -> bool:
    """Whether there is an encoder without a decoder."""
    return not any(name.startswith(PRETEXT) for name in body)


def pooled(config: Mapping[str, Any], layout: Layout, body: Mapping[str, Tensor]) -> bool:
    """Whether the encoder is known to have no last norm: its classifier averages the features, then norms them."""
    if any(name.startswith(f"{layout.places[2]}.") for name in body):
        return False
    return bool(config.get("use_mean_pooling")) or (lone(body) and "fc_norm.weight" in body)


def depth(body: Mapping[str, Tensor], blocks: str) -> int:
    """How many blocks are numbered."""
    numbers = (re.match(rf"{re.escape(blocks)}\.(\d+)\.", name) for name in body)
    return max((int(number[1]) for number in numbers if number), default=0) + 1


def heads(found: Found, width: int, told: int | None, half: int, overrides: Sequence[str]) -> int:
    """Heads of the encoder (half 0) or the decoder (half 1), which cannot be inferred from shapes."""
    key = f"{('trunk', DECODER)[half]}.heads"
    chosen = [override.partition("=")[2] for override in overrides if override.startswith(f"{key}=")]
    if chosen and chosen[-1].isdecimal():
        return int(chosen[-1])
    table = {row[half][0]: row[half][2] for row in SIZES.values()}
    if told is None and width not in table:
        raise InputError(
            f"{found.path}: cannot infer the number of heads for a width of {width}\n"
            f"  put transformers' {CONFIG} in the same folder, or set it: mmmae convert ... {key}=N"
        )
    return told or table[width]


def spelled(section: str, numbers: tuple[int, int, int]) -> list[str]:
    """Width, depth and heads as overrides."""
    return [f"{section}.{key}={number}" for key, number in zip(("width", "depth", "heads"), numbers, strict=True)]


def check(found: Found, alone: bool) -> None:
    """Refuse settings of config.json that mmmae does not compute."""
    config = found.config or {}
    reasons = [
        (config.get("model_type", "videomae") == "videomae", "model_type", "videomae"),
        (config.get("hidden_act", "gelu") == "gelu", "hidden_act", "gelu"),
        (config.get("layer_norm_eps", EPS) <= EPS, "layer_norm_eps", f"at most {EPS}"),
        (alone or config.get("norm_pix_loss", True), "norm_pix_loss", "true: targets normalised by patch and channel"),
    ]
    for holds, key, wanted in reasons:
        if not holds:
            raise InputError(f"{found.path}: {CONFIG} has {key}={config[key]!r}, mmmae reads {wanted}")
