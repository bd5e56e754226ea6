"""VATT: one encoder for three raw modalities, tokens dropped while training, and contrasts with several candidates."""

from __future__ import annotations

from dataclasses import replace

import pytest
import tiny
import torch
from torch.nn.functional import normalize
from torch.testing import assert_close

from fusion.masking import Noise
from mmmae import Recipe
from mmmae.objectives.contrastive import infonce
from mmmae.objectives.mil_nce import mil_nce

SCALE = 1 / 0.07


def units(*shape: int, seed: int = 0) -> torch.Tensor:
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


@pytest.fixture(scope="module")
def model():
    return tiny.tiny("vatt").build()


def lacking(share: str = "text"):
    """A batch of which every other sample has no caption at all."""
    batch = tiny.tiny("vatt").example(batch_size=6, seed=0)
    there = torch.tensor([1, 0, 1, 0, 1, 0])
    texts = {m: replace(s, length=8 * there) for m, s in batch.items() if m.startswith(share)}
    return replace(batch, signals=batch.signals | texts), there.bool()


def test_one_trunk_takes_three_raw_modalities(model):
    assert not [name for name, _ in model.trunk.named_parameters() if name.startswith("stack") and "text" in name]
    batch = tiny.tiny("vatt").example(batch_size=2)
    runs = []
    hook = model.trunk.stack.register_forward_hook(lambda module, given, out: runs.append(out.shape[1]))
    encoded = model.eval().encode(batch.only(["video", "audio", "text"]))
    hook.remove()
    assert runs == [encoded[name].x.shape[1] for name in ("video", "audio", "text")]  # each on its own
    patches = model.tokenizers["audio"].patchify(batch["audio"])
    assert torch.equal(patches.values[:, 3], batch["audio"].values[:, 3 * 128 : 4 * 128])
    assert patches.time[0, 3].item() == pytest.approx(3.5 * 128 / 48000)


def test_tokens_are_dropped_in_training_only_and_words_never(model):
    batch = tiny.tiny("vatt").example(batch_size=2)
    patches = {name: model.tokenizers[name].cut(signal) for name, signal in batch.items()}
    for training in (True, False):
        plans = model.train(training).masking.plan(patches, Noise(batch.key))
        for name, plan in plans.items():
            n = patches[name].time.shape[1]
            assert plan.visible.shape[1] == (n // 2 if training and name in ("video", "audio") else n)


@pytest.mark.parametrize("ragged", [False, True])
def test_one_candidate_makes_it_nce(ragged):
    a, c = units(9, 16), units(9, 16, seed=1)
    there = torch.rand(9, generator=torch.Generator().manual_seed(2)) < (0.6 if ragged else 2)
    assert_close(mil_nce(a, c[:, None], there[:, None], SCALE), infonce(a, c, there, SCALE), rtol=1e-6, atol=1e-6)


def test_several_candidates_are_summed_before_they_are_compared():
    a, c = units(7, 8), units(7, 3, 8, seed=1)
    there = torch.rand(7, 3, generator=torch.Generator().manual_seed(3)) < 0.6
    score = (SCALE * torch.einsum("bd, end -> ben", a, c).double()).exp() * there
    has = [i for i in range(7) if there[i].any()]
    assert len(has) > 1
    losses = []
    for i in has:
        fits = score[i, i].sum()
        losses.append(-((fits / score[i].sum()).log() + (fits / sum(score[j, i].sum() for j in has)).log()) / 2)
    assert_close(mil_nce(a, c, there, SCALE).double(), torch.stack(losses).mean(), rtol=1e-5, atol=1e-6)


def test_one_fitting_candidate_is_enough():
    a = units(16, 32)
    c = torch.stack([units(16, 32, seed=5), a], 1)
    all_there = torch.ones(16, 2, dtype=torch.bool)
    assert mil_nce(a, c, all_there, SCALE) < 0.05 < 2 < mil_nce(a, c[:, :1], all_there[:, :1], SCALE)


def test_missing_pairs_have_no_gradient(model):
    batch, there = lacking()
    encoded = model.train().encode_masked(batch)
    tokens = {name: replace(t, x=t.x.detach().requires_grad_()) for name, t in encoded.tokens.items()}
    parts = model.objectives["mil_nce"](replace(encoded, tokens=tokens))
    assert parts["video-text"].isfinite() and parts["video-text"] > 0
    parts["video-text"].backward(retain_graph=True)
    for name in ("video", *(m for m in tokens if m.startswith("text"))):
        gradient = tokens[name].x.grad.flatten(1).abs().sum(1)
        assert (gradient[there] > 0).all() and torch.equal(gradient[~there], torch.zeros(3)), name
    assert tokens["audio"].x.grad is None
    parts["video-audio"].backward()
    assert (tokens["audio"].x.grad.flatten(1).abs().sum(1) > 0).all()


def test_the_loss_is_that_of_the_samples_that_have_text(model):
    batch, there = lacking()
    rows = there.nonzero()[:, 0]
    some = replace(batch.map(lambda x: x[rows]), ids=[])
    with torch.no_grad():
        full, fewer = model.eval()(batch), model(some)
    assert_close(full["mil_nce/video-text"], fewer["mil_nce/video-text"])
    assert full["mil_nce/video-audio"] != fewer["mil_nce/video-audio"]
    assert_close(full.total, (full["mil_nce/video-audio"] + full["mil_nce/video-text"]) / 2)


def test_the_recipe_has_the_papers_shapes():
    recipe = Recipe.load("vatt", ["size=tiny"], modalities=["video", "audio"])
    batch = recipe.example(batch_size=1)
    model = recipe.build()
    grids = {name: model.tokenizers[name].patchify(signal).grid for name, signal in batch.items()}
    assert grids == {"video": (8, 14, 14), "audio": (1200, 1)}
    assert [p.out_features for p in model.objectives["mil_nce"].project.values()] == [512]
