"""Sparse video-text pretraining: four losses at once, and layers that go on with the tokens attended to most."""

from __future__ import annotations

import pytest
import tiny
import torch
from torch import nn
from torch.testing import assert_close

from fusion.blocks import Block, initialise
from fusion.sparse import SparseStack
from modalities.records import Tokens, lattice

WIDTH, HEADS, COUNT = 16, 2, 12


def stack(depth: int, **settings) -> SparseStack:
    torch.manual_seed(0)
    made = SparseStack(WIDTH, depth, HEADS, **settings)
    made.apply(initialise)
    for parameter in made.parameters():
        parameter.data.mul_(2)  # attention that clearly prefers some tokens
    return made


def tokens(ragged: bool = False) -> Tokens:
    x = torch.randn(3, COUNT, WIDTH, generator=torch.Generator().manual_seed(1), requires_grad=True)
    valid = torch.arange(COUNT) < torch.tensor([COUNT, 7, 0])[:, None] if ragged else None
    coords = lattice((COUNT,)).expand(3, -1, -1)
    return Tokens(x, coords, coords[..., 0].float(), valid, (COUNT,))


def received(block: Block, t: Tokens) -> torch.Tensor:
    """The attention paid to each token, by torch's own module with the same weights."""
    attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
    ours = block.attention
    attention.in_proj_weight.data = ours.qkv.weight.data
    attention.in_proj_bias.data = torch.cat([ours.q_bias, torch.zeros(WIDTH), ours.v_bias]).data
    x = block.norm1(t.x)
    silent = torch.zeros(x.shape[:2], dtype=torch.bool) if t.valid is None else ~t.valid
    silent = silent & ~silent.all(1, keepdim=True)
    weight = attention(x, x, x, key_padding_mask=silent, need_weights=True)[1]
    return (weight * (~silent if t.valid is None else t.valid)[..., None]).sum(1)


def test_the_tokens_attended_to_most_stay():
    made, before = stack(1, keep=0.5, drops=1), tokens()
    after = made.sift(before)
    expected = received(made.blocks[0], before).topk(COUNT // 2).indices.sort().values
    assert torch.equal(after.coords[..., 0], expected)
    assert_close(after.x, made.eval().sift(before).x.gather(1, expected[..., None].expand(-1, -1, WIDTH)))
    assert torch.equal(after.time, expected.float())


def test_padding_pays_no_attention_and_does_not_count():
    made, before = stack(1, keep=0.5, drops=1), tokens(ragged=True)
    after = made.sift(before)
    assert after.valid.sum(1).tolist() == [6, 3, 0]  # of 12, of 7, of none
    best = received(made.blocks[0], before)[1, :7].topk(3).indices.sort().values
    assert torch.equal(after.coords[1, after.valid[1], 0], best)


def test_later_layers_see_survivors_only_and_gradients_reach_them():
    made, before = stack(2, keep=0.5, drops=2), tokens()
    after = made.sift(before)
    assert after.x.shape[1] == COUNT // 4
    one = made.blocks[0](before.x, None)
    first = received(made.blocks[0], before).topk(COUNT // 2).indices.sort().values
    kept = one.gather(1, first[..., None].expand(-1, -1, WIDTH))
    two = made.norm(made.blocks[1](kept, None))  # as if the others had never been there
    last = (first[:, :, None] == after.coords[:, None, :, 0]).byte().argmax(1)
    assert_close(after.x, two.gather(1, last[..., None].expand(-1, -1, WIDTH)))
    (gradient,) = torch.autograd.grad(after.x.square().sum(), before.x)
    assert gradient.gather(1, after.coords.expand(-1, -1, WIDTH)).abs().sum(-1).gt(0).all()


def test_evaluation_and_full_rates_drop_nothing():
    assert stack(3, keep=0.3).eval().sift(tokens()).x.shape[1] == COUNT
    assert stack(3, keep=1.0).sift(tokens()).x.shape[1] == COUNT


def test_four_losses_train_the_branches_and_video_gets_sparse():
    recipe = tiny.tiny("smaug")
    model = recipe.build()
    batch = recipe.example(4, seed=0)
    encoded = model.encode_masked(batch)
    shown = encoded.embedded["video"].x.shape[1]
    assert encoded.tokens["video"].x.shape[1] == int(0.7 * shown) and encoded.tokens["text"].x.shape[1] == 7
    losses = model(batch).parts
    assert {name.split("/")[0] for name in losses} == {"reconstruction", "masked_language", "contrastive", "matching"}
    for part, loss in losses.items():
        model.zero_grad()
        loss.backward(retain_graph=True)
        moved = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
        for stream in ("video", "text"):
            assert any(name.startswith(f"trunk.branches.{stream}") for name in moved), (part, stream)
    assert model.eval().encode_masked(batch).tokens["video"].x.shape[1] == shown


@pytest.mark.parametrize(("depth", "drops"), [(4, 2), (6, 3), (6, 1), (5, 2)])
def test_tokens_are_dropped_after_parts_of_equal_depth(depth, drops):
    made, seen = stack(depth, keep=0.5, drops=drops).train(), []
    for block in made.blocks:
        block.register_forward_pre_hook(lambda block, given: seen.append(given[0].shape[1]))
    left = made.sift(tokens()).x.shape[1]
    lasts = [number for number, (here, then) in enumerate(zip(seen, [*seen[1:], left], strict=True)) if then < here]
    assert lasts == [depth * part // drops - 1 for part in range(1, drops + 1)]
