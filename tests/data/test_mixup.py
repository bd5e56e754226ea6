"""Mixed samples: contents, labels and losses by the shares that belong to the sample, while training alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from no_sync import NoSync
from torch.nn.functional import cross_entropy, one_hot
from torch.testing import assert_close

from mmmae.data.augment import blended, mixup, prepared, repeat, repeat_keys, weights
from mmmae.recipes.lookup import RecipeError
from modalities.records import Batch, Signal

NUMBERS = {name: settings for name, settings in reversed(tiny.tokenizers()) if name != "text"}
seeds = st.integers(0, 1000)


def labelled(batch: Batch, *labels: int) -> Batch:
    return replace(batch, label=torch.tensor(labels))


@pytest.mark.parametrize(("name", "settings"), NUMBERS.items(), ids=str)
@given(seed=seeds)
def test_samples_are_mixed_by_their_shares(name, settings, seed):
    """What is padding or a gap says nothing; a step counts where either has it; with weight 1 nothing changes."""
    tokenizer = tiny.make_tokenizer(name, settings)
    signal = tiny.record(name, settings, tokenizer, 4, seed, ragged=True)
    weight = torch.tensor([1.0, 0.3, 0.75, 1.0])
    found, litter = blended(signal, weight), blended(tiny.with_garbage(signal), weight)
    assert found.values.equal(litter.values) and found.values.dtype == signal.values.dtype
    clean = torch.where(tiny.beyond(signal), torch.zeros_like(signal.values), signal.values)
    for one, other in ((0, 3), (3, 0)):
        assert found.values[one].equal(clean[one]), other
        assert found.length[one] == signal.length[one]
    expected = 0.3 * clean[1].float() + 0.7 * clean[2].float()
    assert_close(found.values[1].float(), expected, rtol=1e-5, atol=0.5 if clean.dtype == torch.uint8 else 1e-5)
    assert found.length[1] == found.length[2] == signal.length[1:3].max()
    if signal.observed is not None:
        assert found.observed.equal(~tiny.beyond(replace(signal, length=found.length, observed=found.observed)))
        there = ~tiny.beyond(signal)
        assert found.observed[1].equal(there[1] | there[2]) and found.observed[0].equal(there[0])
        assert found.edges[1].equal(signal.edges[1].maximum(signal.edges[2]))
        assert found.edges[0].equal(signal.edges[0])
    same = blended(signal, torch.ones(4))
    assert same.values.equal(clean) and same.length.equal(signal.length)


def test_a_hint_is_that_of_the_heavier_sample():
    signal = Signal(torch.zeros(2, 1, 3, 4, 4, dtype=torch.uint8), hint=torch.tensor([1.0, 2.0])[:, None, None, None])
    assert blended(signal, torch.tensor([0.4, 0.9])).hint.flatten().tolist() == [2, 2]


@torch.no_grad()
def test_the_loss_of_mixed_samples_is_that_of_mixed_labels():
    recipe = tiny.tiny("videomae_v2_finetune", ["objectives.classification.classes=3"])
    model, batch = recipe.build(), labelled(recipe.example(batch_size=5), 2, 0, 1, -1, 1)
    mixed = mixup(batch, torch.tensor([0.8, 0.9, 0.4, 0.5, 0.1]))
    assert mixed.mixed.weight.tolist() == pytest.approx([0.8, 1, 0.4, 1, 0.1])  # the second's partner has no label
    encoded = model.encode_masked(mixed)
    logits, _ = model.objectives["classification"].tell(encoded.tokens)
    share = mixed.mixed.weight[:, None]
    target = share * one_hot(batch.label.clamp_min(0), 3) + (1 - share) * one_hot(batch.label.flip(0).clamp_min(0), 3)
    assert_close(target.sum(1), torch.ones(5))
    known = [0, 1, 2, 4]
    losses = model(mixed)
    assert_close(losses["classification/label"], cross_entropy(logits[known], target[known], label_smoothing=0.1))
    assert_close(losses["classification/accuracy"], target.gather(1, logits.argmax(1)[:, None])[known].mean())
    assert model(mixup(batch, torch.ones(5))) == model(batch)
    assert mixup(replace(batch, label=None), torch.zeros(5)).mixed is None


def test_shares_follow_their_law_and_belong_to_the_sample():
    key = tiny.keys(4000)
    for alpha in (0.2, 0.8, 5.0):
        drawn = weights(key, alpha)
        assert drawn.min() >= 0 and drawn.max() <= 1
        assert drawn.mean().item() == pytest.approx(0.5, abs=0.03)
        assert drawn.var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.06)
    assert weights(key[5:9], 0.8).equal(weights(key, 0.8)[5:9])


def test_only_training_mixes_and_never_waits_for_the_device():
    recipe = tiny.tiny("videomae_v2_finetune", ["data={repeats: 2, mixup: 0.8}"])
    batch, augment, device = recipe.example(batch_size=3, ragged=True), recipe.augment(), torch.device("cpu")
    batch = labelled(batch, 0, 1, 1)
    assert prepared(batch, device, augment).mixed is None
    trained = prepared(batch, device, augment, recipe.sections.data)
    assert len(trained.key) == 6 and repeat(batch, 2).key.equal(repeat_keys(batch.key, 2))
    assert trained.mixed.weight.equal(weights(trained.key, 0.8))
    assert trained.mixed.label.tolist() == [1, 1, 1, 1, 0, 0]
    assert trained.only(["video"]).to("cpu").map(lambda x: x[:2]).mixed.label.tolist() == [1, 1]
    plain = replace(recipe.sections, data=recipe.sections.data.model_copy(update={"mixup": 0.0})).data
    assert prepared(batch, device, augment, plain).mixed is None
    with NoSync():
        mixup(batch, torch.rand(3))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (["objectives.classification.classes=2"], "data.mixup: text is made of words"),
        (["modalities.text=null", "masking.text=null", "objectives.masked_language=null"], "classification"),
    ],
)
def test_what_cannot_be_mixed_is_refused(changes, says):
    with pytest.raises(RecipeError, match=says):
        tiny.tiny("default", ["data.mixup=0.2", *changes]).build()
    with pytest.raises(RecipeError, match="mixup"):
        tiny.tiny("default", ["data.mixup=-1"])
