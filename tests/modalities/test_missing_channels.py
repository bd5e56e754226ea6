"""A missing channel is nothing: it changes no token, loss, gradient or picture, and where all exist nothing differs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from mmmae.data.augment import blended
from mmmae.data.sample import Sample, collate, fill
from mmmae.objectives.normalise import target
from mmmae.panels import imu as panel
from mmmae.panels import seen
from mmmae.panels.page import Page
from mmmae.probe.features import withhold
from modalities.imu.tokenizer import IMUTokenizer
from modalities.reader import Reading
from modalities.records import Batch, Signal, by_value

KINDS = {
    "raw": {"patch": 8},
    "stft": {"patch": 8, "kind": "stft"},
    "apart": {"patch": 8, "apart": True},
    "graph": {"patch": 8, "graph": "gin", "mean": [1.0] * 6, "std": [2.0] * 6},
}
OBJECTIVES = {
    "none": ["objectives.reconstruction={predict: 0.7, normalise: none}"],
    "patch_channel": ["objectives.reconstruction.normalise=patch_channel"],
    "patch": ["objectives.reconstruction.normalise=patch"],
    "cosine": ["objectives.reconstruction.distance=cosine"],
    "diffusion": ["objectives.diffusion={decoder: {use: joint}}"],
    "adversarial": ["objectives.adversarial={width: 16}"],
    "graph": ["objectives.graph={width: 16}"],
    "adaptive": ["masking.imu={use: adaptive, ratio: 0.5}", "objectives.mask_policy.weight=1.0"],
}
seeds = st.integers(0, 1000)
every_kind = pytest.mark.parametrize("kind", KINDS)


def lacking(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """Which readings exist: sensors lack channels throughout or for a while, sample 0 nothing, all others channel 5."""
    generator = torch.Generator().manual_seed(seed)
    b, t, sensors, channels = shape
    observed = (torch.rand(b, 1, sensors, channels, generator=generator) < 0.7).expand(shape).clone()
    for channel in range(channels):
        start = int(torch.randint(0, t, (), generator=generator))
        observed[:, start : start + t // 4, 0, channel] = False
    observed[..., 5] = False
    observed[0] = True
    return observed


def model(kind: str, *overrides: str):
    settings = [f"modalities.imu.{key}={value}" for key, value in ({"graph": "null"} | KINDS[kind]).items()]
    recipe = tiny.tiny("default", [*settings, *overrides], ["imu", "text"])
    return recipe.build(), recipe.example(batch_size=3, seed=1)


def gradients(module: torch.nn.Module, batch: Batch) -> tuple[dict, dict]:
    module.zero_grad()
    losses = module(batch)
    losses.total.backward()
    return dict(losses), {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


def same(one: dict, other: dict) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert value.isfinite().all() and torch.equal(value, other[name]), name


def with_imu(batch: Batch, **changes) -> Batch:
    return replace(batch, signals=batch.signals | {"imu": replace(batch["imu"], **changes)})


@pytest.mark.parametrize("objective", OBJECTIVES)
@every_kind
def test_unobserved_values_change_no_loss_or_gradient(kind, objective):
    module, batch = model(kind, *OBJECTIVES[objective])
    values = batch["imu"].values
    observed = lacking(values.shape, 3)
    results = []
    for garbage in (0.0, 1e6, torch.nan, torch.inf):
        littered = torch.where(observed, values, garbage)
        results.append(gradients(module, with_imu(batch, values=littered, observed=observed)))
    for losses, grads in results[1:]:
        same(losses, results[0][0])
        same(grads, results[0][1])
    other, _ = gradients(module, with_imu(batch, values=values + observed, observed=observed))
    assert other["total"] != results[0][0]["total"]  # what is observed counts


@pytest.mark.parametrize("objective", OBJECTIVES)
@every_kind
def test_all_observed_is_bit_identical_to_none_missing(kind, objective):
    module, batch = model(kind, *OBJECTIVES[objective])
    observed = torch.ones_like(batch["imu"].values, dtype=torch.bool)
    for one, other in zip(gradients(module, batch), gradients(module, with_imu(batch, observed=observed)), strict=True):
        same(one, other)


@every_kind
@given(seed=seeds)
def test_a_patch_without_channels_alone_is_invalid(kind, seed):
    tokenizer = tiny.make_tokenizer("imu", KINDS[kind])
    signal = Signal(torch.randn(3, 40, 3, 6))
    signal = replace(signal, observed=lacking(signal.values.shape, seed))
    patches = tokenizer.patchify(signal)
    whole = signal.observed.unflatten(1, (5, 8)).all(2)  # (b, patches, sensors, channels)
    if kind == "apart":
        assert patches.observed is None
        assert patches.valid.unflatten(1, (5, 6, 3)).equal(whole.mT)
        return
    assert patches.valid.unflatten(1, (5, 3)).equal(whole.any(-1))
    assert patches.observed.unflatten(1, (5, 3)).equal(whole)
    exists = by_value(patches.observed, patches.values.shape[-1])
    scaled = tokenizer.standardise(patches.values)
    assert (scaled[~exists] == 0).all() and (scaled[exists] != 0).any()
    complete = tokenizer.patchify(replace(signal, observed=None))
    if kind != "stft":  # whose frames reach into the next patch
        assert patches.values[exists].equal(complete.values[exists])
    assert tokenizer.embed(patches).x[0].equal(tokenizer.embed(complete).x[0])  # sample 0 lacks nothing


@pytest.mark.parametrize("norm", ["none", "patch_channel", "patch"])
def test_targets_are_normalised_by_what_exists(norm):
    tokenizer, fewer = IMUTokenizer(16, mean=[0.3] * 6), IMUTokenizer(16, channels=4, mean=[0.3] * 4)
    few = IMUTokenizer(16, channels=4, mean=[0.3] * 4, std=tokenizer.std[:4].tolist())
    signal = Signal(torch.randn(2, 20, 3, 6) * 5)
    observed = torch.ones_like(signal.values, dtype=torch.bool)
    observed[..., 4:] = False
    pick = torch.arange(6).expand(2, 6)
    found = target(tokenizer, tokenizer.patchify(replace(signal, observed=observed)), pick, norm).unflatten(-1, (10, 6))
    alone = target(few, few.patchify(Signal(signal.values[..., :4])), pick, norm).unflatten(-1, (10, 4))
    assert fewer.std[:3].equal(few.std[:3])
    assert_close(found[..., :4], alone, rtol=1e-5, atol=1e-6)
    assert (found[..., 4:] == 0).all()


@pytest.mark.parametrize("objective", ["none", "patch_channel", "patch", "diffusion"])
def test_a_channel_missing_everywhere_teaches_nothing(objective):
    module, batch = model("raw", *OBJECTIVES[objective])
    observed = torch.ones_like(batch["imu"].values, dtype=torch.bool)
    observed[..., 2] = False
    _, grads = gradients(module, with_imu(batch, observed=observed))
    heads = [(name, g) for name, g in grads.items() if "decoder" in name and len(g) == 48 and "imu" in name]
    assert heads
    for name, grad in heads:  # rows are laid out (encoded, channel)
        rows = grad.unflatten(0, (8, 6))
        assert (rows[:, 2] == 0).all() and (rows[:, [0, 1, 3, 4, 5]] != 0).any(), name
    assert (grads["tokenizers.imu.project.weight"].unflatten(1, (8, 6))[..., 2] == 0).all()


@torch.no_grad()
def test_a_sample_costs_the_same_whatever_the_others_lack():
    module, batch = model("raw", "objectives.reconstruction.normalise=patch")
    encoded = module.encode_masked(with_imu(batch, observed=lacking(batch["imu"].values.shape, 5)))
    plain = module.encode_masked(batch, encoded.plans)
    objective = module.objectives["reconstruction"]
    errors = []
    for each in (encoded, plain):
        answer = objective.answer(each, everything=True)["imu"]
        errors.append(objective.error(module.tokenizers["imu"], each.patches["imu"], answer, "imu")[0])
    assert errors[0].equal(errors[1])


@torch.no_grad()
@pytest.mark.parametrize("norm", ["none", "patch_channel", "patch"])
def test_restoring_the_target_gives_back_what_exists(norm):
    module, batch = model("raw", f"objectives.reconstruction.normalise={norm}")
    observed = lacking(batch["imu"].values.shape, 2)
    batch = with_imu(batch, observed=observed)
    tokenizer = module.tokenizers["imu"]
    patches = tokenizer.patchify(batch["imu"])
    everything = torch.arange(patches.time.shape[1]).expand(patches.time.shape)
    restored = tokenizer.restore(patches, tokenizer.target(patches, everything), everything)
    exists = observed.unflatten(1, (-1, 8)).all(2, keepdim=True).expand(-1, -1, 8, -1, -1).flatten(1, 2)
    assert_close(restored[exists], batch["imu"].values[exists], rtol=1e-5, atol=1e-5)
    littered = with_imu(batch, values=torch.where(observed, batch["imu"].values, torch.nan))
    pictures = [module.reconstruct(x)["imu"].predicted for x in (batch, littered)]
    assert pictures[0].isfinite().all() and pictures[0].equal(pictures[1])


def test_a_missing_channel_is_drawn_as_a_gap(tmp_path):
    tokenizer = tiny.make_tokenizer("imu", KINDS["raw"])
    observed = torch.ones(1, 40, 3, 6, dtype=torch.bool)
    observed[:, :, 0, 1] = False  # y of the first sensor
    observed[:, :16, 0, 2] = False  # z, for a while
    observed[:, :, 2, :3] = False  # a gyroscope alone
    view = seen("imu", tokenizer, Signal(torch.randn(1, 40, 3, 6), observed=observed), None)[0]
    assert np.array_equal(view.valid, observed[0].numpy())
    page, drawn = Page(), []
    row = page.row
    page.row = lambda *args, **settings: drawn.append(row(*args, **settings)) or drawn[-1]
    panel.draw(page, view)
    assert len(drawn) == 3  # the heading and two sensors: the third has no acceleration
    x, y, z = (line.get_ydata() for line in drawn[1].lines if len(line.get_ydata()) == 40)
    assert np.isfinite(x).all() and np.isnan(y).all()
    assert np.isnan(z[:16]).all() and np.isfinite(z[16:]).all()
    gyroscope = seen("imu", tokenizer, Signal(torch.randn(1, 40, 1, 6), observed=observed[:, :, 2:]), None)[0]
    page = Page()
    panel.draw(page, gyroscope)
    page.save(tmp_path / "page.png")


def test_channels_survive_batches_mixing_and_withholding():
    observed = lacking((2, 10, 3, 6), 1)
    readings = [Reading(torch.randn(10, 3, 6), 10, mine) for mine in (observed[1], observed[0])]
    readings.append(Reading(torch.randn(4, 3, 6), 4, observed[1, :4]))
    blank = Reading(torch.zeros(10, 3, 6), 0, torch.zeros(10, 3, 6, dtype=torch.bool))
    samples = [Sample({"imu": fill(blank, r)}, 0.0, {"imu": 0.0}, {"imu": 1.0}, 0, "a", None) for r in readings]
    signal = collate([samples])["imu"]
    assert signal.observed[0].equal(observed[1]) and signal.observed[1].all()
    assert signal.observed[2, :4].equal(observed[1, :4]) and not signal.observed[2, 4:].any()
    mixed = blended(signal, torch.tensor([0.5, 1.0, 0.5]))
    assert mixed.observed[0].equal(signal.observed[0] | signal.observed[2])
    left = withhold(signal, tiny.keys(3), 1)
    assert left.observed.any(-1).any(1).sum(1).max() == 2 and not (left.observed & ~signal.observed).any()
    assert (left.values[~left.observed] == 0).all()
