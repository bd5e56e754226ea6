"""Diffusion as a masked autoencoder: what is told the decoder, what without noise remains, how pictures are sampled."""

from __future__ import annotations

from dataclasses import replace

import pytest
import tiny
import torch
from torch.testing import assert_close

from mmmae.api import MaskedAutoencoder
from mmmae.objectives import Encoded
from mmmae.objectives.diffusion import signal_left
from modalities.noise import normal, uniform, uniform_at
from modalities.records import Batch, Signal, take

DECODERS = ["{use: joint}", "{use: cross, together: false}", "{use: cross, together: true}"]
SMALL = ["trunk.width=32", "trunk.depth=1", "trunk.heads=2"]


def made(*overrides: str, decoder: str = DECODERS[2]) -> tuple[MaskedAutoencoder, Batch]:
    settings = f"objectives.diffusion.decoder={decoder[:-1]}, width: 32, depth: 2, heads: 2}}"
    recipe = tiny.tiny("diff_mae", [*SMALL, settings, *overrides])
    return recipe.build(), recipe.example(batch_size=4, seed=0)


def told(model: MaskedAutoencoder, encoded: Encoded) -> dict[str, torch.Tensor]:
    """What the decoder is told of hidden patches while the loss is computed."""
    heard: list[dict] = []
    decoder = model.objectives["diffusion"].decoder
    hook = decoder.register_forward_pre_hook(lambda _, given: heard.append(given[2]))
    model.objectives["diffusion"](encoded)
    hook.remove()
    return heard[0]


def test_normal_numbers_are_normal_and_belong_to_their_place():
    key = tiny.keys(64)
    x = normal(uniform(key, "noise", 4096))
    assert x.isfinite().all() and x.abs().max() < 5.5
    assert abs(x.mean()) < 0.01 and abs(x.std() - 1) < 0.01 and abs(x.pow(4).mean() - 3) < 0.05
    assert normal(torch.tensor([0.0, 1 - 2**-24])).sum() == 0  # both ends are finite, and alike
    index = torch.randint(0, 4096, (64, 9), generator=torch.Generator().manual_seed(0))
    assert torch.equal(normal(uniform_at(key, "noise", index)), x.gather(1, index))


def test_linear_is_ddpms_and_cosine_ends_in_nothing():
    ddpm = torch.cat([torch.ones(1), (1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)).cumprod(0)])
    assert_close(signal_left("linear", 1000).double(), ddpm, rtol=0, atol=2e-3)
    for schedule in ("linear", "cosine"):
        left = signal_left(schedule, 50)
        assert left[0] == 1 and (left.diff() < 0).all()
    assert left[-1] == 0 and signal_left("cosine", 1).tolist() == [1, 0]


@torch.no_grad()
def test_the_decoder_is_told_what_noise_has_left():
    model, batch = made()
    diffusion = model.objectives["diffusion"]
    diffusion.alpha = torch.full_like(diffusion.alpha, 0.3)
    encoded = model.encode_masked(batch)
    pick = encoded.plans["video"].hidden
    n, p = encoded.patches["video"].time.shape[1], diffusion.sizes["video"]
    noise = normal(uniform(batch.key, "diffusion/video", n * p)).reshape(4, n, p)
    left = 0.3**0.5 * encoded.tokenizers["video"].target(encoded.patches["video"], pick) + 0.7**0.5 * take(noise, pick)
    time = 1 + (encoded.noise("diffusion", 1)[:, 0] * 1000).long()
    late = diffusion.late(diffusion.clock[time])[:, None]
    assert time.unique().numel() == 4
    assert_close(told(model, encoded)["video"], diffusion.lift["video"](left) + late)


@pytest.mark.parametrize("decoder", DECODERS)
@torch.no_grad()
def test_with_nothing_but_noise_left_it_is_a_masked_autoencoder(decoder):
    """At a = 0 no hidden pixel has a say; told of no noise either, the loss is MAE's with the same weights."""
    model, batch = made("objectives.diffusion.steps=1", "objectives.diffusion.schedule=cosine", decoder=decoder)
    encoded = model.encode_masked(batch)
    other = tiny.poison(encoded, model)
    assert torch.equal(told(model, encoded)["video"], told(model, other)["video"])
    noisy, _ = made(decoder=decoder)
    assert not torch.equal(
        told(noisy, noisy.encode_masked(batch))["video"], told(noisy, tiny.poison(encoded, noisy))["video"]
    )

    diffusion = model.objectives["diffusion"]
    for silent in (diffusion.lift["video"], diffusion.late[-1]):
        for parameter in silent.parameters():
            parameter.zero_()
    settings = f"objectives.reconstruction.decoder={decoder[:-1]}, width: 32, depth: 2, heads: 2}}"
    mae = tiny.tiny("diff_mae", [*SMALL, "objectives.diffusion=null", settings]).build().objectives["reconstruction"]
    mae.decoder.load_state_dict(diffusion.decoder.state_dict())
    assert_close(diffusion(encoded)["video"], mae(encoded)["video"])
    assert_close(diffusion.answer(encoded)["video"].values, mae.answer(encoded)["video"].values)


@torch.no_grad()
def test_only_where_queries_are_together_does_one_help_another():
    def depends(decoder: str) -> bool:
        model, batch = made(decoder=decoder)
        encoded = model.encode_masked(batch)
        picks = model.objectives["diffusion"].picks(encoded)
        contents = {"video": torch.randn(4, picks["video"][0].shape[1], 32)}
        changed = {"video": torch.cat([contents["video"][:, :-1], contents["video"][:, -1:] + 1], 1)}
        before, after = (model.objectives["diffusion"].ask(encoded, picks, c)["video"] for c in (contents, changed))
        assert not torch.equal(before[:, -1], after[:, -1])
        return not torch.equal(before[:, :-1], after[:, :-1])

    assert [depends(decoder) for decoder in DECODERS] == [True, False, True]


@torch.no_grad()
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_a_decoder_that_knows_samples_the_truth(eta):
    model, batch = made(f"objectives.diffusion.eta={eta}", "objectives.diffusion.strides=5")
    diffusion, encoded = model.objectives["diffusion"], model.encode_masked(batch)
    truth = encoded.tokenizers["video"].target(encoded.patches["video"], encoded.plans["video"].hidden)
    seen: list[tuple[float, torch.Tensor]] = []

    def oracle(encoded, picks, left, time):
        seen.append((float(diffusion.alpha[time[0]]), left["video"].clone()))
        return {"video": truth}

    diffusion.denoise = oracle
    assert torch.equal(diffusion.answer(encoded)["video"].values, truth)
    assert [a for a, _ in seen] == sorted(a for a, _ in seen) and len(seen) == 5
    for a, left in seen[1:]:  # each stride hands on what diffusion to that point would have left
        noise = (left - a**0.5 * truth) / (1 - a) ** 0.5
        assert abs(noise.mean()) < 0.03 and abs(noise.std() - 1) < 0.03
    first, second = ((left - a**0.5 * truth) / (1 - a) ** 0.5 for a, left in seen[1:3])
    assert torch.allclose(first, second, atol=1e-3) == (eta == 0)


@torch.no_grad()
def test_a_picture_leaves_visible_pixels_as_they_are_and_does_not_look_at_hidden_ones():
    model, batch = made("objectives.diffusion.strides=3")
    encoded = model.encode_masked(batch)
    picture = model.reconstruct(batch)["video"]
    tokenizer = model.tokenizers["video"]
    before, after = (tokenizer.patchify(Signal(frames)).values for frames in (picture.original, picture.predicted))
    same = (before == after).all(-1)
    visible = tiny.chosen(encoded.plans["video"].visible, None, same.shape[1])
    assert torch.equal(picture.original, batch["video"].values) and torch.equal(same, visible)
    assert torch.equal(~visible, picture.hidden)
    other = tiny.poison(encoded, model)
    frames = tokenizer.unpatchify(other.patches["video"].values, other.patches["video"].grid)
    poisoned = replace(batch, signals={"video": replace(batch["video"], values=frames)})
    assert torch.equal(model.reconstruct(poisoned, encoded.plans)["video"].predicted, picture.predicted)


def test_denoising_learns_to_inpaint():
    """Clips of one grey level: what is hidden is known from what is visible, and sampling finds it."""
    model, _ = made("modalities.video.size=16", "modalities.video.frames=2", "objectives.diffusion.strides=5")
    window = torch.full((16,), tiny.WINDOW)

    def grey(seed: int) -> Batch:
        level = torch.randint(40, 216, (16, 1, 1, 1, 1), generator=torch.Generator().manual_seed(seed))
        frames = level.expand(16, 2, 3, 16, 16).to(torch.uint8)
        return Batch({"video": Signal(frames, duration=window)}, tiny.keys(16, seed))

    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for number in range(50):
        optimizer.zero_grad()
        model(grey(number)).total.backward()
        optimizer.step()
    picture = model.reconstruct(grey(1000))["video"]
    wrong = (picture.predicted.float() - picture.original.float()).abs().mean()
    spread = (picture.original.float() - picture.original.float().mean()).abs().mean()
    assert wrong < spread / 3
