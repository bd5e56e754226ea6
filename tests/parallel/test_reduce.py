"""Laws 7 and 8: a loss does not depend on how samples are divided, nor randomness on anything but the sample's key."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from modalities.noise import permutation, sample_key, uniform, uniform_scalar
from modalities.records import Batch

WORLD = 2
OBJECTIVES = {
    "infonce": ["objectives.contrastive={temperature: 0.1, learnable: true}"],
    "mil_nce": ["objectives.mil_nce={candidates: {audio: [imu]}}"],
    "momentum": [
        "objectives.contrastive={queue: 8, teacher: {use: ema}, head: {hidden: [24], norm: batch, out: 16}}",
        "objectives.contrastive.temperature=0.5",
    ],
    "distillation": ["objectives.distillation={pooled: 0.5, places: all, head: {hidden: [24], norm: batch}}"],
    "ntxent": ["objectives.contrastive={kind: ntxent, temperature: 0.1}"],
    "sigmoid": ["objectives.contrastive={kind: sigmoid, learnable: true}", "objectives.reconstruction.predict=0.5"],
}

# Law 7


def joined(overrides: list[str]) -> tuple[torch.nn.Module, Batch]:
    recipe = tiny.tiny("default", overrides)
    return recipe.build(), recipe.example(batch_size=6, seed=0, ragged=True)


def share(batch: Batch, rank: int) -> Batch:
    """The samples of one process: the first half or the second."""
    rows = slice(rank * len(batch.key) // WORLD, (rank + 1) * len(batch.key) // WORLD)
    return replace(batch.map(lambda x: x[rows]), ids=batch.ids[rows])


def measure(model: torch.nn.Module, batch: Batch) -> tuple[dict[str, torch.Tensor], ...]:
    """Losses, gradients, and what the model holds after a step that was taken."""
    losses = model(batch)
    losses.total.backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    model.after_step(0.5, True)
    buffers = {name: buffer for name, buffer in model.state_dict().items() if "queue" in name}
    return {part: loss.detach() for part, loss in losses.items()}, gradients, buffers


def process(rank: int, folder: str) -> None:
    """What one of two processes does: losses and gradients averaged over both, as DDP averages them."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=WORLD)
    found = {}
    for name, overrides in OBJECTIVES.items():
        model, batch = joined(overrides)
        found[name] = measure(model, share(batch, rank))
        for values in found[name]:
            for value in values.values():
                dist.all_reduce(value)
                value /= WORLD
    if rank == 0:
        torch.save(found, Path(folder) / "found.pt")
    dist.barrier()
    dist.destroy_process_group()
    os._exit(0)  # a thread of gloo that gives up a tensor while Python ends would abort the process


@pytest.fixture(scope="module")
def divided() -> dict:
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(process, (folder,), nprocs=WORLD)
        return torch.load(Path(folder) / "found.pt")


@pytest.mark.parametrize("name", OBJECTIVES)
def test_two_processes_give_the_losses_and_gradients_of_one(name, divided):
    model, batch = joined(OBJECTIVES[name])
    losses, gradients, buffers = measure(model, batch)
    assert losses["contrastive/video-audio"] > 0.1
    for buffer, value in buffers.items():
        assert_close(
            divided[name][2][buffer], value, rtol=1e-4, atol=1e-5
        )  # rank by rank, as the joined batch has them
    assert bool(buffers) == (name == "momentum")
    for part, loss in losses.items():
        assert_close(divided[name][0][part], loss, rtol=1e-6, atol=1e-6, msg=lambda m, part=part: f"{part}: {m}")
    for parameter, gradient in gradients.items():
        found = divided[name][1][parameter]
        assert_close(found, gradient, rtol=1e-4, atol=1e-6, msg=lambda m, parameter=parameter: f"{parameter}: {m}")


# Law 8


words = st.integers(-(2**62), 2**62)


@given(seed=words, epoch=st.integers(0, 10_000), index=st.integers(0, 2**40), purpose=st.text(max_size=20))
def test_noise_on_a_device_is_that_of_the_loader(seed, epoch, index, purpose):
    key = sample_key(seed, epoch, index)
    assert uniform(torch.tensor([key]), purpose, 5)[0].tolist() == uniform_scalar(key, purpose, 5)


def test_noise_is_uniform_and_every_purpose_has_its_own():
    keys = torch.tensor([sample_key(0, 0, index) for index in range(512)])
    x = uniform(keys, "mask/video", 64)
    assert x.min() >= 0 and x.max() < 1
    counts = torch.histc(x, 64, 0, 1)
    expected = x.numel() / 64
    assert ((counts - expected) ** 2 / expected).sum() < 104  # chi-square, 63 degrees: exceeded once in a thousand
    others = [uniform(keys, "mask/audio", 64), x.roll(1, 0), x.roll(1, 1)]
    others.append(uniform(torch.tensor([sample_key(0, 1, index) for index in range(512)]), "mask/video", 64))
    others.append(uniform(torch.tensor([sample_key(1, 0, index) for index in range(512)]), "mask/video", 64))
    for other in others:
        assert torch.corrcoef(torch.stack([x.flatten(), other.flatten()]))[0, 1].abs() < 0.02


def test_noise_belongs_to_the_sample_not_to_the_batch():
    keys = torch.tensor([sample_key(0, 3, index) for index in range(16)])
    order = permutation(0, 3, 16)
    assert sorted(order.tolist()) == list(range(16)) and not torch.equal(order, permutation(0, 4, 16))
    whole = uniform(keys, "mask/video", 8)
    assert torch.equal(uniform(keys[order], "mask/video", 8), whole[order])
    assert torch.equal(uniform(keys, "mask/video", 3), whole[:, :3])  # more draws do not change the first ones


@pytest.mark.parametrize("masking", ["budget", "synchronous", "independent"])
def test_what_a_sample_hides_does_not_depend_on_its_neighbours(masking):
    recipe = tiny.tiny("default", [] if masking == "independent" else [f"masking={{use: {masking}}}"])
    model, batch = recipe.build(), recipe.example(batch_size=6, ragged=True)
    order = torch.tensor([4, 1, 5, 0])
    picked = replace(batch.map(lambda x: x[order]), ids=[])
    whole, some = model.encode_masked(batch), model.encode_masked(picked)
    for name, plan in whole.plans.items():
        n = whole.patches[name].time.shape[1]
        for slots, filled in (("visible", "visible_valid"), ("hidden", "hidden_valid")):
            before = tiny.chosen(getattr(plan, slots), getattr(plan, filled), n)[order]
            after = tiny.chosen(getattr(some.plans[name], slots), getattr(some.plans[name], filled), n)
            assert torch.equal(before, after)
