"""A layer on request is what a trunk or decoder cut off after it would return, and asking for one changes nothing."""

from __future__ import annotations

import copy

import pytest
import tiny
import torch
from torch import nn

from fusion.decoders import Decoder
from fusion.masking import Noise
from fusion.masking.random import Random
from fusion.trunks import Trunk
from mmmae.recipes.lookup import find, names
from modalities.records import Places, Tokens

DEPTH = 4
STREAMS = ["video", "imu"]


def ragged() -> tuple[dict[str, Tokens], dict[str, Places]]:
    """Visible tokens of two streams of ragged samples, and the places of what is hidden."""
    tokens, asked = {}, {}
    for name in STREAMS:
        settings = tiny.SHAPES[name]
        tokenizer = tiny.cutter(name, settings)
        patches = tokenizer.patchify(tiny.record(name, settings, tokenizer, 3, 0, ragged=True))
        plan = Random(ratio=0.5).plan(patches, Noise(tiny.keys(3))("mask", patches.time.shape[1]))
        tokens[name] = tokenizer.embed(patches, plan.visible, plan.visible_valid)
        asked[name] = patches.places(plan.hidden, plan.hidden_valid)
    return tokens, asked


def cut(module: nn.Module, depth: int) -> nn.Module:
    """A copy with the first layers only and nothing after them: no norm, no head."""
    module = copy.deepcopy(module)
    for parent in list(module.modules()):
        if isinstance(parent, nn.ModuleList):
            below = [m for i, m in enumerate(parent, 1) if getattr(m, "level", i) <= depth]
            del parent[len(below) :]
            continue
        for name, child in list(parent.named_children()):
            if name in ("norm", "norms", "heads") and parent in ends(module):
                parent._modules[name] = (
                    nn.ModuleDict({k: nn.Identity() for k in child})
                    if isinstance(child, nn.ModuleDict)
                    else nn.Identity()
                )
    return module


def ends(module: nn.Module) -> list[nn.Module]:
    """The modules in which the last norm or the heads are."""
    return [
        m for m in module.modules() if any(isinstance(c, nn.ModuleList) for c in m.children()) or hasattr(m, "mask")
    ]


@pytest.mark.parametrize("use", names("trunk"))
@torch.no_grad()
def test_a_layer_of_a_trunk_is_the_trunk_cut_off_there(use):
    trunk: Trunk = find("trunk", use, "")(STREAMS, width=32, depth=DEPTH, heads=2)
    tokens, _ = ragged()
    plain, layers = trunk(tokens), trunk.encode(tokens, range(DEPTH + 1))
    for number, found in layers.items():
        expected = cut(trunk, number)(tokens)
        for name in STREAMS:
            assert torch.equal(found[name].x, expected[name].x), (number, name)
            assert torch.equal(found[name].coords, expected[name].coords)
    states: list[dict[str, Tokens]] = []
    again = trunk(tokens, states)
    assert all(torch.equal(again[name].x, plain[name].x) for name in STREAMS)
    assert list(trunk.encode(tokens, [2])) == [2] and len(states) == DEPTH + 1
    with pytest.raises(ValueError, match=r"from 0 .* to 4, got \[5\]"):
        trunk.encode(tokens, [1, 5])


@pytest.mark.parametrize(
    ("use", "settings"), [*((use, {}) for use in names("decoder")), ("cross", {"together": True})], ids=str
)
@torch.no_grad()
def test_a_layer_of_a_decoder_is_the_decoder_cut_off_there(use, settings):
    tokens, asked = ragged()
    outputs = dict.fromkeys(STREAMS, 5)
    decoder: Decoder = find("decoder", use, "")(STREAMS, 32, outputs, width=16, depth=DEPTH, heads=2, **settings)
    plain, layers = decoder(tokens, asked), decoder.decode(tokens, asked, [0, 1, DEPTH])
    for number, found in layers.items():
        expected = cut(decoder, number)(tokens, asked)
        for name in STREAMS:
            assert torch.equal(found[name], expected[name]), (number, name)
    again = decoder(tokens, asked, None, [])
    assert all(torch.equal(again[name], plain[name]) for name in STREAMS)


@torch.no_grad()
def test_layers_of_sparse_tokens_keep_their_places():
    """In training the layers above a drop hold the survivors only, at their own places."""
    trunk = find("trunk", "branches", "")(["video"], width=32, depth=DEPTH, heads=2, keep=0.5, drops=1)
    tokens, _ = ragged()
    layers = trunk.train().encode({"video": tokens["video"]}, range(DEPTH + 1))
    counts = [layers[number]["video"].x.shape[1] for number in layers]
    assert counts[0] == counts[2] == tokens["video"].x.shape[1] and counts[3] == counts[4] == counts[0] // 2
    assert all(layer["video"].coords.shape[1] == layer["video"].x.shape[1] for layer in layers.values())
