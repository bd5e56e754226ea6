"""Video and its sound: how CAV-MAE contrasts, how AV-MAE couples and inpaints, how TVLT matches."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import tiny
import torch
from torch.nn.functional import normalize
from torch.testing import assert_close

from mmmae.api import MaskedAutoencoder
from mmmae.objectives import Encoded
from mmmae.recipes.lookup import RecipeError
from mmmae.training.warm_start import begin
from modalities.records import Batch, Signal

SMALL = ["trunk.width=32", "trunk.depth=3", "trunk.heads=2"]
ENCODERS, DECODERS = ("separate", "shared", "joint", "branches"), ("shared", "separate", "joint")
INPAINT = ["objectives.reconstruction.inpaint=true", "objectives.reconstruction.decoder={use: joint}"]


def made(name: str, *overrides: str, **kwargs) -> tuple[MaskedAutoencoder, Batch]:
    recipe = tiny.tiny(name, [*SMALL, *overrides])
    return recipe.build(), recipe.example(batch_size=4, seed=0, **kwargs)


def av_mae(encoder: str, decoder: str, *overrides: str) -> tuple[MaskedAutoencoder, Batch]:
    trunk = f"trunk={{use: {encoder}, width: 32, depth: 3, heads: 2}}"
    return made("av_mae", trunk, f"objectives.reconstruction.decoder={{use: {decoder}}}", *overrides)


# CAV-MAE


@torch.no_grad()
def test_a_stream_passes_the_joint_layers_alone_with_its_own_norms():
    model, batch = made("cav_mae")
    (block,) = model.trunk.blocks
    for norms in (block.norm1, block.norm2, model.trunk.norms):
        for norm in norms.values():  # which are alike only before training
            norm.weight.normal_()
    encoded, contrast = model.encode_masked(batch), model.objectives["contrastive"]
    found = contrast.vectors(encoded)
    for name, tokens in encoded.embedded.items():
        x = model.trunk.branches[name].sift(replace(tokens, x=tokens.x + model.trunk.embedding(name, tokens))).x
        x = x + block.attention(block.norm1[name](x), None)
        x = model.trunk.norms[name](x + block.mlp(block.norm2[name](x)))
        assert_close(found[name], normalize(contrast.project[name](x.mean(1)), dim=-1))
        assert (encoded.tokens[name].x - x).abs().max() > 0.01  # what reconstruction sees has met the other stream


def test_without_its_weight_the_contrast_only_drops_out_of_the_total():
    (model, batch), (other, _) = made("cav_mae"), made("cav_mae", "objectives.contrastive.weight=0")
    before, after = model(batch), other(batch)
    assert before.parts == after.parts
    contrast = before["contrastive/audio-video"]
    assert_close(before.total - after.total, 0.01 * contrast)
    assert_close(after.total, before["reconstruction/audio"] + before["reconstruction/video"])


def test_joint_layers_follow_each_other():
    """CAV-MAE's own loop starts every joint layer from the same input, which one layer hides."""
    model, batch = made("cav_mae", "trunk.depth=3", "trunk.joint_depth=2")
    seen: list[tuple] = []
    for block in model.trunk.blocks:
        block.register_forward_hook(lambda _, given, said: seen.append((given[0], said)))
    model.encode_masked(batch)
    (_, said), (given, _) = seen
    for name in given:
        assert given[name] is said[name]


# AV-MAE


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("decoder", DECODERS)
def test_every_encoder_trains_with_every_decoder_that_couples_it(encoder, decoder):
    if encoder == decoder == "separate":
        with pytest.raises(RecipeError, match=r"av_mae.*nothing ties video, audio together"):
            av_mae(encoder, decoder)
        return
    model, batch = av_mae(encoder, decoder)
    losses = model(batch)
    assert set(losses.parts) == {"reconstruction/video", "reconstruction/audio"}
    assert_close(losses.total, sum(losses.parts.values()) / 2)
    losses.total.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name


def test_streams_that_have_nothing_in_common_may_be_contrasted_or_stand_alone():
    av_mae("separate", "separate", "objectives.contrastive.weight=0.1")
    with pytest.raises(RecipeError, match="nothing ties"):
        av_mae("separate", "separate", "objectives.contrastive.weight=0")
    apart = ["trunk.use=separate", "objectives.reconstruction.decoder.use=separate"]
    tiny.tiny("av_mae", apart, modalities=["audio"]).build()


def reached(model: MaskedAutoencoder, encoded: Encoded, asked: str) -> dict[str, bool]:
    """Which streams' visible patches the prediction of a stream depends on."""
    leaves = {name: replace(t, x=t.x.detach().requires_grad_()) for name, t in encoded.embedded.items()}
    encoded = replace(encoded, embedded=leaves, tokens=model.trunk(leaves))
    said = model.objectives["reconstruction"].answer(encoded)[asked].values.square().sum()
    grads = torch.autograd.grad(said, [t.x for t in leaves.values()], allow_unused=True)
    return {name: grad is not None and bool(grad.any()) for name, grad in zip(leaves, grads, strict=True)}


@pytest.mark.parametrize("encoder", ENCODERS)
def test_an_inpainted_stream_depends_on_the_others_alone(encoder):
    (model, batch), (plain, _) = av_mae(encoder, "joint", *INPAINT), av_mae(encoder, "joint")
    assert reached(model, model.encode_masked(batch), "video") == {"video": False, "audio": True}
    assert reached(model, model.encode_masked(batch), "audio") == {"video": True, "audio": False}
    assert reached(plain, plain.encode_masked(batch), "video") == {"video": True, "audio": True}


def test_nothing_is_inpainted_from_nothing():
    model, batch = made("av_mae", *INPAINT)
    audio, lasts = batch["audio"], batch["audio"].values.shape[1]
    silent = replace(audio, length=torch.tensor([lasts, 0, lasts, 0]))
    answers = model.objectives["reconstruction"].answer(
        model.encode_masked(replace(batch, signals=batch.signals | {"audio": silent}))
    )
    assert answers["video"].valid.all(1).tolist() == [True, False, True, False]
    assert not answers["video"].valid[1::2].any()
    assert model.encode_masked(batch.only(["video"])) and not model.objectives["reconstruction"](
        model.encode_masked(batch.only(["video"]))
    )


@pytest.mark.parametrize(
    ("change", "reason"), [(["objectives.reconstruction.decoder.use=shared"], "joint or cross"), ([], "another stream")]
)
def test_inpainting_needs_something_to_inpaint_from(change, reason):
    streams = None if change else ["audio"]
    with pytest.raises(RecipeError, match=reason):
        tiny.tiny("av_mae", [*INPAINT, *change], modalities=streams).build()


@pytest.mark.parametrize("encoder", ENCODERS)
def test_an_audiovisual_checkpoint_goes_on_with_sound_alone(encoder, tmp_path):
    model, batch = av_mae(encoder, "joint")
    model.save_pretrained(tmp_path)
    sound = batch.only(["audio"])
    again = MaskedAutoencoder.from_pretrained(tmp_path)
    assert torch.equal(again.encode(sound)["audio"].x, model.encode(sound)["audio"].x)
    narrow = model.recipe.narrow(["audio"]).build()
    begin(narrow, narrow.recipe, str(tmp_path))
    for name, weight in narrow.trunk.state_dict().items():
        assert torch.equal(weight, model.trunk.state_dict()[name]), name
    assert narrow(sound).total.isfinite()


# TVLT


@torch.no_grad()
def test_padded_sound_is_neither_attended_to_nor_predicted():
    model, batch = made("tvlt")
    sound = batch["audio"]
    batch = replace(
        batch, signals=batch.signals | {"audio": replace(sound, length=torch.tensor([9000, 20000, 30000, 0]))}
    )
    encoded, reconstruction = model.encode_masked(batch), model.objectives["reconstruction"]
    audio = encoded.embedded["audio"]
    other = torch.where(audio.valid[..., None], audio.x, 100.0)
    embedded = {**encoded.embedded, "audio": replace(audio, x=other)}
    after = replace(encoded, embedded=embedded, tokens=model.trunk(embedded))
    assert not audio.valid.all()
    assert torch.equal(encoded.tokens["video"].x, after.tokens["video"].x)
    assert reconstruction(encoded) == reconstruction(after)
    answer = reconstruction.answer(encoded)["audio"]
    error = (answer.values - answer.target).square().mean(-1)
    assert_close(reconstruction(encoded)["audio"], error[answer.valid].mean())
    assert not answer.valid.all()


SCENE = 0.2  # seconds


def paired(seed: int, count: int = 16) -> Batch:
    """Dark pictures with a low tone and bright ones with a high tone, in turn, so that neighbours differ."""
    generator = torch.Generator().manual_seed(seed)
    kind = ((torch.arange(count) + seed) % 2)[:, None]
    frames = (60 + 120 * kind[..., None, None, None]).expand(count, 4, 3, 16, 16)
    frames = frames + 40 * torch.rand(frames.shape, generator=generator)
    time = torch.arange(round(SCENE * 44_100)) / 44_100
    pitch = 500.0 * 4**kind * (1 + 0.1 * torch.rand(count, 1, generator=generator))
    window = torch.full((count,), SCENE)
    wave = 0.3 * (2 * math.pi * pitch * time).sin()
    signals = {"video": Signal(frames.to(torch.uint8), duration=window), "audio": Signal(wave, duration=window)}
    return Batch(signals, tiny.keys(count, seed))


def test_the_match_learns_to_tell_true_from_swapped_pairs():
    shapes = ["modalities.video.size=16", "modalities.video.patch=16", "modalities.audio.mels=32", f"window={SCENE}"]
    model, _ = made("tvlt", "objectives.reconstruction=null", *shapes)
    matching = model.objectives["matching"]
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for number in range(40):
        optimizer.zero_grad()
        model(paired(number)).total.backward()
        optimizer.step()
    with torch.no_grad():
        logits, matched, judged = matching.judge(model.encode_masked(paired(1000, 64)))
    assert judged.all() and 16 < matched.sum() < 48
    assert ((logits > 0) == matched).float().mean() > 0.9
