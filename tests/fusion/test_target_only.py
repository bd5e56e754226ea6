"""A target-only stream is predicted, and to the encoder as absent as one that no sample has."""

from __future__ import annotations

from dataclasses import replace

import pytest
import tiny
import torch
from torch.testing import assert_close

from fusion.masking import Noise
from fusion.masking.target import Target
from mmmae.recipes.lookup import RecipeError, names

TARGET = ["masking.imu={use: target}", "objectives.contrastive=null"]
NAMES = ["video", "imu"]


@pytest.mark.parametrize("ragged", [True, False])
@pytest.mark.parametrize("trunk", names("trunk"))
@torch.no_grad()
def test_the_encoder_knows_nothing_of_a_target_only_stream(trunk, ragged):
    """The other streams' tokens are those of a batch without it; also where nothing is masked."""
    recipe = tiny.tiny("default", [*TARGET, f"trunk.use={trunk}"], NAMES)
    model, batch = recipe.build().eval(), recipe.example(batch_size=3, seed=0, ragged=ragged)
    encoded = model.encode_masked(batch)
    without = model.encode_masked(batch.only(["video"]), {"video": encoded.plans["video"]})
    assert_close(encoded.tokens["video"].x, without.tokens["video"].x, rtol=0, atol=1e-6)
    assert encoded.tokens["imu"].x.shape[1] == 0 and not encoded.tokens["imu"].present().any()
    assert set(model.encode(batch)) == {"video"}
    with pytest.raises(ValueError, match="imu: the model predicts it and is never shown it"):
        model.encode(batch.only(["imu"]))


@pytest.mark.parametrize("trunk", names("trunk"))
@pytest.mark.parametrize("decoder", names("decoder"))
def test_every_decoder_predicts_a_target_only_stream(trunk, decoder):
    """All that there is of it; and gradients reach every parameter, so that processes agree on which there are."""
    decoders = f"objectives.reconstruction.decoder.use={decoder}"
    recipe = tiny.tiny(
        "default",
        ["masking.imu={use: target}", f"trunk.use={trunk}", decoders, "objectives.reconstruction.predict=1"],
        NAMES,
    )
    model, batch = recipe.build(), recipe.example(batch_size=3, seed=0, ragged=True)
    losses = model(batch)
    losses.total.backward()
    asked = model.tokenizers["imu"].cut(batch["imu"]).valid
    assert losses.counts["reconstruction/imu"] == asked.sum() > 0
    assert losses["reconstruction/imu"] > 0
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


@torch.no_grad()
def test_target_is_a_masking_that_hides_everything():
    """Losses are those of `random` with a ratio of 1, bit for bit; a picture shows a stream that is all prediction."""
    recipe = tiny.tiny("default", TARGET, NAMES)
    model, batch = recipe.build(), recipe.example(batch_size=3, seed=0, ragged=True)
    other = tiny.tiny("default", ["masking.imu={use: random, ratio: 1.0}", TARGET[1]], NAMES).build()
    losses, same = model(batch), other(batch)
    assert losses.keys() == same.keys() and all(torch.equal(losses[name], same[name]) for name in losses)
    picture = model.reconstruct(batch)["imu"]
    patches = model.encode_masked(batch).patches["imu"]
    assert torch.equal(picture.hidden, patches.valid)
    other = replace(batch, signals=batch.signals | {"imu": replace(batch["imu"], values=-batch["imu"].values)})
    predicted, otherwise = (
        tokenized(model, x)[patches.valid] for x in (picture.predicted, model.reconstruct(other)["imu"].predicted)
    )
    assert torch.equal(predicted, otherwise), "nothing of the stream has a part in its prediction"


def tokenized(model, values: torch.Tensor) -> torch.Tensor:
    """The contents of the patches of a signal that a picture shows."""
    from modalities.records import Signal

    return model.tokenizers["imu"].patchify(Signal(values)).values


def test_a_model_of_nothing_but_targets_is_refused():
    with pytest.raises(RecipeError, match=r"every stream is target-only \(video, imu\).*ratio below 1"):
        tiny.tiny("default", [*TARGET, "masking.video.ratio=1.0"], NAMES).build()
    with pytest.raises(RecipeError, match="every stream is target-only"):
        tiny.tiny(
            "default", ["masking={use: text_guided, ratio: 1, others: 1}", "objectives.mask_guidance.weight=1"]
        ).build()
    with pytest.raises(RecipeError, match="hides the whole window"):
        tiny.tiny("default", ["masking={use: synchronous, ratio: 1.0}"]).build()
    with pytest.raises(RecipeError, match=r"in \[0, 1\]"):
        tiny.tiny("default", ["masking.video.ratio=1.1"]).build()


def test_a_stream_without_padding_is_absent_once_all_of_it_is_hidden():
    settings = tiny.SHAPES["video"]
    tokenizer = tiny.make_tokenizer("video", settings)
    patches = tokenizer.patchify(tiny.record("video", settings, tokenizer, 2, 0, ragged=False))
    assert patches.valid is None
    plan = Target().plan(patches, Noise(tiny.keys(2))("mask", patches.time.shape[1]))
    tokens = tokenizer.embed(patches, plan.visible, plan.visible_valid)
    assert not tokens.present().any() and torch.equal(tokens.mean(), torch.zeros(2, tokens.x.shape[2]))
    assert torch.equal(plan.hidden, torch.arange(patches.time.shape[1]).expand(2, -1))
