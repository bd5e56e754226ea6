"""Laws 1, 3, 4 and 5 of the house, asked of every tokenizer, masking, trunk, decoder, objective and recipe there is.

Law 2 is in test_plans.py, 6 and 9 in test_recipes.py, 7 and 8 in test_world.py."""

from __future__ import annotations

from dataclasses import replace

import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from fusion.masking import Noise
from fusion.masking.random import Random
from fusion.masking.synchronous import Synchronous
from mmmae.objectives.prediction import Prediction
from mmmae.recipes.lookup import find, names
from modalities.records import Batch, Tokens

seeds = st.integers(0, 10_000)
every_tokenizer = pytest.mark.parametrize(("name", "settings"), tiny.tokenizers(), ids=str)
EXACT = {"rtol": 0, "atol": 0, "equal_nan": True}
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(scope="module", params=tiny.SYSTEMS)
def system(request):
    return tiny.system(request.param)


def same_tokens(one: Tokens, other: Tokens, **tolerance) -> None:
    """Equal where a token is; an empty slot may hold anything."""
    there = torch.ones_like(one.time, dtype=torch.bool) if one.valid is None else one.valid
    assert_close(one.x[there], other.x[there], **(tolerance or EXACT))
    assert torch.equal(one.coords[there], other.coords[there])


# Law 1: no leak


@every_tokenizer
@given(seed=seeds, ragged=st.booleans())
def test_a_tokenizer_embeds_visible_patches_from_visible_patches(name, settings, seed, ragged):
    tokenizer = tiny.make_tokenizer(name, settings)
    patches = tokenizer.patchify(tiny.record(name, settings, tokenizer, 3, seed, ragged))
    plan = Random(ratio=0.6).plan(patches, Noise(tiny.keys(3, seed))("mask", patches.time.shape[1]))
    other = tiny.poisoned(patches, tiny.chosen(plan.visible, plan.visible_valid, patches.time.shape[1]))
    assert not torch.equal(patches.values, other.values)
    before, after = (tokenizer.embed(p, plan.visible, plan.visible_valid) for p in (patches, other))
    same_tokens(before, after)


def test_a_frozen_text_encoder_reads_visible_words_only():
    settings = tiny.SHAPES["text"] | {"encoder": tiny.bert()}
    test_a_tokenizer_embeds_visible_patches_from_visible_patches.hypothesis.inner_test("text", settings, 3, True)


@torch.no_grad()
def test_nothing_hidden_reaches_the_encoder_or_a_prediction(system):
    model, batch = system
    encoded = model.encode_masked(batch)
    other = tiny.poison(encoded, model)
    for name in encoded.tokens:
        same_tokens(encoded.embedded[name], other.embedded[name])
        same_tokens(encoded.tokens[name], other.tokens[name])
    for objective in model.objectives.values():
        if not isinstance(objective, Prediction):
            continue
        answers, others = objective.answer(encoded), objective.answer(other)
        for name, answer in answers.items():
            asked = torch.ones_like(answer.index, dtype=torch.bool) if answer.valid is None else answer.valid
            assert_close(answer.values[asked], others[name].values[asked], **EXACT)
            guesses = (
                objective.guess(model.tokenizers[name], s.patches[name], s.plans[name], a[name], name)[asked]
                for s, a in ((encoded, answers), (other, others))
            )
            assert_close(*guesses, **EXACT)


def test_hidden_pixels_change_no_encoder_output():
    model, _ = tiny.system("default")
    batch = tiny.tiny("default").example(batch_size=3, seed=2)
    with torch.no_grad():
        encoded = model.encode_masked(batch)
        signals = dict(batch.signals)
        for name in ("video", "imu", "text"):  # analysis frames of audio overlap: its patches are what is hidden
            tokenizer, patches = model.tokenizers[name], encoded.patches[name]
            plan = encoded.plans[name]
            other = tiny.poisoned(patches, tiny.chosen(plan.visible, plan.visible_valid, patches.time.shape[1]))
            values = tokenizer.unpatchify(other.values, other.grid)
            assert not torch.equal(values, signals[name].values)
            signals[name] = replace(signals[name], values=values)
        after = model.encode_masked(replace(batch, signals=signals), encoded.plans)
    for name in encoded.tokens:
        same_tokens(encoded.tokens[name], after.tokens[name])


# Law 3: padding and absence are nothing


@every_tokenizer
@given(seed=seeds)
def test_padding_and_gaps_change_no_patch(name, settings, seed):
    tokenizer = tiny.make_tokenizer(name, settings)
    signal = tiny.record(name, settings, tokenizer, 3, seed, ragged=True)
    before, after = tokenizer.patchify(signal), tokenizer.patchify(tiny.with_garbage(signal))
    assert torch.equal(before.valid, after.valid) and not before.valid[-1].any()
    assert_close(before.values[before.valid], after.values[before.valid], **EXACT)
    same_tokens(tokenizer.embed(before), tokenizer.embed(after))


@every_tokenizer
@given(seed=seeds)
def test_a_padded_sample_gives_the_tokens_it_gives_alone(name, settings, seed):
    tokenizer = tiny.make_tokenizer(name, settings)
    signal = tiny.record(name, settings, tokenizer, 3, seed, ragged=True)
    together = tokenizer.embed(tokenizer.patchify(signal))
    for index, steps in enumerate(signal.length.tolist()):
        steps = whole(tokenizer, name, steps)
        if not steps:
            assert not together.valid[index].any()
            continue
        patches = tokenizer.patchify(tiny.sample(signal, index, steps, keeps_time=name == "text"))
        tokens = tokenizer.embed(patches)
        there = torch.ones_like(tokens.time, dtype=torch.bool) if tokens.valid is None else tokens.valid
        valid = together.valid[index]
        assert_close(together.time[index][valid], tokens.time[there])
        if name == "video":  # places among h and w do not depend on how long the clip is
            assert torch.equal(together.coords[index][valid], tokens.coords[there])
        assert_close(together.x[index][valid], tokens.x[there], **CLOSE)


def whole(tokenizer, name: str, steps: int) -> int:
    """The steps of a sample that its patches cover; audio takes any number that holds one frame."""
    if name == "audio":
        return steps if steps >= tokenizer.hop else 0
    each = getattr(tokenizer, "tube", None) or (tokenizer.patch if name == "imu" else 1)
    return steps // each * each


@torch.no_grad()
def test_garbage_in_padding_changes_no_loss(system):
    model, batch = system
    other = replace(batch, signals={name: tiny.with_garbage(signal) for name, signal in batch.items()})
    before, after = model(batch), model(other)
    for part, loss in before.items():
        assert torch.equal(loss, after[part]), part


@torch.no_grad()
def test_a_padded_sample_costs_what_it_costs_alone(system):
    model, batch = system
    if isinstance(model.masking, Synchronous):
        pytest.skip("its stretches divide the window, which lasts longer than what a padded sample has of it")
    for index in range(len(batch.key)):
        signals, cropped = {}, {}
        for name, signal in batch.items():
            steps = whole(model.tokenizers[name], name, int(signal.length[index]))
            signals[name] = tiny.sample(signal, index)
            cropped[name] = tiny.sample(signal, index, steps, keeps_time=name == "text") if steps else signals[name]
        key, label = batch.key[index : index + 1], batch.label[index : index + 1]
        padded, exact = (model(Batch(one, key, label=label)) for one in (signals, cropped))
        for part, loss in padded.items():
            assert_close(loss, exact[part], **CLOSE, msg=lambda message, part=part: f"{part}: {message}")


@torch.no_grad()
def test_a_stream_that_no_sample_has_changes_nothing(system):
    model, batch = system
    for absent in batch if len(batch) > 1 else ():
        silent = replace(batch[absent], length=torch.zeros_like(batch[absent].length))
        everything = replace(batch, signals=batch.signals | {absent: silent})
        rest = batch.only([name for name in batch if name != absent])
        encoded = model.encode_masked(everything)
        narrow = model.encode_masked(rest, {name: encoded.plans[name] for name in rest})
        for name in rest:
            same_tokens(narrow.tokens[name], encoded.tokens[name], **CLOSE)
        for objective in model.objectives.values():
            parts, fewer = objective(encoded), objective(narrow)
            for part, loss in parts.items():
                if part in fewer:
                    assert_close(loss, fewer[part], **CLOSE)
                else:
                    assert loss == 0, part


def test_nothing_costs_nothing_and_reaches_every_parameter(system):
    model, batch = system
    nothing = {name: replace(s, length=torch.zeros_like(s.length)) for name, s in batch.items()}
    model.zero_grad()
    losses = model(replace(batch, signals=nothing))
    assert all(loss == 0 for loss in losses.values()), losses
    losses.total.backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert torch.equal(parameter.grad, torch.zeros_like(parameter)), name
    model.zero_grad()


def test_a_frozen_text_encoder_that_sees_nothing_says_nothing_strange():
    settings = tiny.SHAPES["text"] | {"encoder": tiny.bert()}
    tokenizer = tiny.make_tokenizer("text", settings)
    signal = tiny.record("text", settings, tokenizer, 3, 0, ragged=True)
    assert tokenizer.embed(tokenizer.patchify(signal)).x.isfinite().all()
    test_a_padded_sample_gives_the_tokens_it_gives_alone.hypothesis.inner_test("text", settings, 0)


# Law 4: restore


@every_tokenizer
@given(seed=seeds)
def test_restoring_the_target_gives_back_the_input(name, settings, seed):
    tokenizer = tiny.make_tokenizer(name, settings)
    signal = tiny.record(name, settings, tokenizer, 2, seed, ragged=False)
    patches = tokenizer.patchify(signal)
    n = patches.time.shape[1]
    original = tokenizer.unpatchify(patches.values, patches.grid)
    if name == "audio":
        spectrogram = tokenizer.spectrogram(signal)
        assert_close(original[:, : spectrogram.shape[1]], spectrogram)
    elif settings.get("kind") != "stft" and not settings.get("unit"):
        assert torch.equal(original, signal.values)
    pick = torch.rand(2, n, generator=torch.Generator().manual_seed(seed)).argsort(1)[:, : n // 2 + 1]
    for index in (torch.arange(n).expand(2, n), pick):
        restored = tokenizer.restore(patches, tokenizer.target(patches, index), index)
        if name in ("video", "text"):
            assert torch.equal(restored, original)
        else:
            assert_close(restored, original, rtol=1e-5, atol=1e-4)
    other = tiny.poisoned(patches, torch.zeros(2, n, dtype=torch.bool))
    mixed = tokenizer.restore(other, tokenizer.target(patches, pick), pick)
    assert not torch.equal(mixed, original)  # what was not picked stays what it was


# Law 5: joint = separate at the seams


def carry(weights, module: torch.nn.Module) -> None:
    """Load the weights of a module that has the same layers in the same order under other names."""
    assert [w.shape for w in weights.state_dict().values()] == [w.shape for w in module.state_dict().values()]
    module.load_state_dict(dict(zip(module.state_dict(), weights.state_dict().values(), strict=True)))


@pytest.mark.parametrize("use", names("trunk"))
@pytest.mark.parametrize("ragged", [False, True])
def test_one_stream_passes_every_trunk_alike(use, ragged):
    size = {"width": 32, "depth": 4, "heads": 2}
    separate = find("trunk", "separate", "")(["video"], **size)
    trunk = find("trunk", use, "")(["video"], **size)
    carry(separate, trunk)
    settings = tiny.SHAPES["video"]
    tokenizer = tiny.make_tokenizer("video", settings)
    tokens = {"video": tokenizer.embed(tokenizer.patchify(tiny.record("video", settings, tokenizer, 3, 0, ragged)))}
    assert_close(trunk(tokens)["video"].x, separate(tokens)["video"].x, rtol=0, atol=1e-6)


@pytest.mark.parametrize("use", [use for use in names("decoder") if not use.startswith("cross")])  # of other layers
def test_one_stream_passes_every_decoder_alike(use):
    settings = tiny.SHAPES["video"]
    tokenizer = tiny.make_tokenizer("video", settings)
    patches = tokenizer.patchify(tiny.record("video", settings, tokenizer, 3, 0, True))
    plan = Random(ratio=0.5).plan(patches, Noise(tiny.keys(3))("mask", patches.time.shape[1]))
    tokens, asked = (
        tokenizer.embed(patches, plan.visible, plan.visible_valid),
        patches.places(plan.hidden, plan.hidden_valid),
    )
    size = {"width": 16, "depth": 2, "heads": 2}
    joint, other = (find("decoder", kind, "")(["video"], 32, {"video": 5}, **size) for kind in ("joint", use))
    carry(joint, other)
    says = (decoder({"video": tokens}, {"video": asked})["video"] for decoder in (joint, other))
    assert_close(*says, rtol=0, atol=1e-6)


def test_the_trunk_encodes_each_set_of_streams_once_per_step():
    """Two objectives that need a stream encoded alone share the pass: one joint pass and one for each stream."""
    extra = "objectives.mil_nce={anchor: video, spaces: {audio: 16, text: 16}}"
    recipe = tiny.tiny("default", [extra])
    model, batch = recipe.build(), recipe.example(batch_size=2)
    seen = []
    model.trunk.register_forward_hook(lambda trunk, given, out: seen.append(tuple(given[0])))
    model(batch)
    streams = tuple(recipe.streams)
    assert sorted(seen) == sorted([streams, *((name,) for name in streams)])
