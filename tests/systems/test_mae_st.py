"""MAE-ST: nine in ten hidden anywhere, one frame of each tube predicted, learned positions, repeated samples."""

from __future__ import annotations

from dataclasses import replace

import pytest
import tiny
import torch
from einops import rearrange
from torch.testing import assert_close

from fusion.masking import Noise
from mmmae.panels import views
from mmmae.panels.video import frames as drawn
from modalities.positions import Positions
from modalities.records import Places, Signal, lattice
from modalities.video.tokenizer import VideoTokenizer

MEAN, STD = 0.45, 0.225


def clip(frames: int = 16, size: int = 32, batch: int = 2) -> Signal:
    return Signal(torch.randint(0, 256, (batch, frames, 3, size, size), dtype=torch.uint8))


def everything(patches) -> torch.Tensor:
    return torch.arange(patches.time.shape[1]).expand(len(patches.time), -1)


def test_every_sample_hides_exactly_nine_in_ten_wherever_they_are():
    recipe = tiny.tiny("mae_st", ["modalities.video.frames=16", "modalities.video.size=64"])
    model = recipe.build()
    patches = {"video": model.tokenizers["video"].patchify(clip(size=64, batch=6))}
    plan = model.masking.plan(patches, Noise(tiny.keys(6)))["video"]
    assert plan.hidden.shape == (6, int(0.9 * 512)) and plan.hidden_valid is None
    hidden = tiny.chosen(plan.hidden, None, 512)
    assert (hidden.sum(1) == 460).all() and (hidden ^ tiny.chosen(plan.visible, None, 512)).all()
    slices = hidden.reshape(6, 8, 64)
    assert not (slices == slices[:, :1]).all(1).all(1).any()  # no tubes
    assert len(slices.sum(2).unique()) > 3  # and no share for each slice


@pytest.mark.parametrize(("frames", "tube", "predict"), [(16, 2, 1), (16, 4, 1), (16, 4, 2), (12, 3, 2), (2, 2, 1)])
def test_the_frames_predicted_are_evenly_spread_from_the_first_to_the_last(frames, tube, predict):
    tokenizer = VideoTokenizer(32, patch=16, tube=tube, predict=predict, mean=[MEAN] * 3, std=[STD] * 3)
    signal = clip(frames)
    patches = tokenizer.patchify(signal)
    count = frames // tube * predict
    chosen = torch.linspace(0, frames - 1, count).long()
    assert tokenizer.predicted_frames(frames) == chosen.tolist()
    target = tokenizer.target(patches, everything(patches))
    assert target.shape[-1] == tokenizer.outputs == predict * 3 * 16**2
    pixels = (signal.values[:, chosen].float() / 255 - MEAN) / STD
    wanted = rearrange(pixels, "b (t u) c (h q) (w r) -> b (t h w) (u q r c)", u=predict, q=16, r=16)
    assert_close(target, wanted)


def test_the_last_frame_is_among_those_predicted_and_the_last_but_one_is_not():
    tokenizer = VideoTokenizer(32, predict=1)
    assert tokenizer.predicted_frames(16) == [0, 2, 4, 6, 8, 10, 12, 15]
    signal = clip()
    patches, other = tokenizer.patchify(signal), signal.values.clone()
    other[:, [1, 3, 5, 7, 9, 11, 13, 14]] = 0
    after = tokenizer.patchify(replace(signal, values=other))
    assert torch.equal(*(tokenizer.target(p, everything(patches)) for p in (patches, after)))


def test_a_shorter_clip_predicts_its_own_last_frame():
    tokenizer = VideoTokenizer(32, predict=1)
    signal = replace(clip(), length=torch.tensor([8, 16]))
    together = tokenizer.patchify(signal)
    alone = tokenizer.patchify(tiny.sample(signal, 0, 8))
    target = tokenizer.target(together, everything(together))[:1, : alone.time.shape[1]]
    assert torch.equal(target, tokenizer.target(alone, everything(alone)))


def test_restoring_replaces_predicted_frames_and_no_others():
    tokenizer = VideoTokenizer(32, predict=1)
    signal = clip()
    patches, pick = tokenizer.patchify(signal), torch.tensor([[0, 5, 31], [7, 30, 2]])
    assert torch.equal(tokenizer.restore(patches, tokenizer.target(patches, pick), pick), signal.values)
    black = tokenizer.restore(patches, tokenizer.standardise(torch.zeros(2, 3, 3 * 16**2)), pick)
    changed = (black != signal.values).flatten(2).any(2)  # (b, frame)
    assert changed[0].nonzero()[:, 0].tolist() == [0, 2, 15] and changed[1].nonzero()[:, 0].tolist() == [0, 2, 15]


@torch.no_grad()
def test_pictures_show_nothing_that_was_neither_seen_nor_predicted():
    recipe = tiny.tiny("mae_st", ["modalities.video.frames=16"])
    model, batch = recipe.build(), recipe.example(batch_size=2)
    tokenizer, picture = model.tokenizers["video"], model.reconstruct(batch)["video"]
    patches = tokenizer.patchify(batch["video"])
    hidden = tokenizer.unpatchify(picture.hidden[..., None].expand(patches.values.shape).to(torch.uint8), patches.grid)
    unsaid = hidden.bool()
    unsaid[:, tokenizer.predicted_frames(16)] = False
    assert unsaid.any() and (picture.predicted[unsaid] == int(MEAN * 255)).all()
    shown = ~hidden.bool()
    assert torch.equal(picture.predicted[shown], batch["video"].values[shown])
    assert all(drawn(view) == tokenizer.predicted_frames(16) for view in views(model, batch)["video"])


def test_learned_positions_separate_time_from_place_and_follow_what_is_kept():
    positions = Positions(16, "learned", (4, 3, 3))
    coords = lattice((4, 3, 3))[torch.tensor([[0, 4, 9, 13]])]  # one place at two times, another at the same two
    x = positions(Places(coords, torch.zeros(1, 4), None, (4, 3, 3)))[0]
    assert_close(x[2] - x[0], x[3] - x[1])
    assert not torch.allclose(x[0], x[1]) and not torch.allclose(x[0], x[2])
    x.sum().backward()
    assert positions.time.grad.any(1).tolist() == [True, True, False, False]  # only what is gathered is touched
    assert positions.place.grad.any(1).nonzero()[:, 0].tolist() == [0, 4]
    with pytest.raises(ValueError, match=r"grid of \(4, 3, 3\), this one is \(5, 3, 3\)"):
        positions(Places(coords, torch.zeros(1, 4), None, (5, 3, 3)))
    with pytest.raises(ValueError, match="known beforehand"):
        VideoTokenizer(16, positions="learned")


def test_repeated_samples_are_masked_each_in_its_own_way():
    from mmmae.data.augment import repeat

    recipe = tiny.tiny("mae_st")
    model, batch = recipe.build(), recipe.example(batch_size=3)
    repeated = repeat(batch, recipe.sections.data.repeats)
    values = rearrange(repeated["video"].values, "(b r) ... -> b r ...", r=4)
    assert len(values) == 3 and torch.equal(values, batch["video"].values[:, None].expand_as(values))
    assert torch.equal(repeated.label, batch.label.repeat_interleave(4))
    plan = model.encode_masked(repeated).plans["video"]
    assert len({tuple(row) for row in plan.visible.tolist()}) == 12
    assert torch.equal(plan.visible[::4], model.encode_masked(batch).plans["video"].visible)
