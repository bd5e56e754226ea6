"""A masking that learns (AdaMAE): it is taught by its own loss alone, and comes to show what cannot be predicted."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest
import tiny
import torch
from torch.testing import assert_close

from fusion.masking import Noise
from fusion.masking.adaptive import Adaptive
from mmmae.recipes.lookup import RecipeError
from mmmae.training.optim import adamw, set_learning_rate
from modalities.records import Patches, lattice


def reached(model: torch.nn.Module, loss: torch.Tensor) -> set[str]:
    """The parameters that a loss has a gradient for, of any size but zero."""
    parameters = dict(model.named_parameters())
    grads = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True, retain_graph=True)
    return {name for name, grad in zip(parameters, grads, strict=True) if grad is not None and grad.any()}


def test_the_sampler_learns_from_the_sampling_loss_only_and_alone():
    recipe = tiny.tiny("adamae")
    model = recipe.build()
    losses = model(recipe.example(batch_size=3))
    sampler = {name for name, _ in model.named_parameters() if name.startswith("masking.")}
    assert len(sampler) > 10
    assert reached(model, losses["mask_policy/video"]) == sampler
    assert reached(model, losses["reconstruction/video"]) == {name for name, _ in model.named_parameters()} - sampler
    assert reached(model, losses.total) == {name for name, _ in model.named_parameters()}


def test_the_loss_is_the_log_probability_of_what_was_hidden_times_its_error():
    recipe = tiny.tiny("adamae")
    model, batch = recipe.build(), recipe.example(batch_size=2)
    encoded = model.encode_masked(batch)
    losses = {name: objective(encoded) for name, objective in model.objectives.items()}
    score, answer = encoded.plans["video"].log_prob, encoded.predictions["video"]
    assert score is not None and answer.error is not None
    assert_close(score.exp().sum(1), torch.ones(2))
    by_hand = -(score.gather(1, encoded.plans["video"].hidden) * answer.error).mean()
    assert_close(losses["mask_policy"]["video"], by_hand)
    assert_close(model(batch).total, losses["reconstruction"]["video"] + 1e-4 * by_hand)


def half_noise(batch, grid: tuple[int, ...], epoch: int):
    """Clips of noise, in the left half always the same and in the right half another every time."""
    shape = batch["video"].values.shape
    known, new = (
        torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
        for seed in (0, 1 + epoch)
    )
    left = torch.arange(shape[-1]) < shape[-1] // 2
    signal = replace(batch["video"], values=torch.where(left, known[:1], new))
    unpredictable = lattice(grid)[:, 2] >= grid[2] // 2
    return replace(batch, signals={"video": signal}, key=tiny.keys(len(batch.key), epoch)), unpredictable


def test_what_cannot_be_predicted_comes_to_be_shown():
    recipe = tiny.tiny("adamae", ["masking.video.ratio=0.75"])
    model, batch = recipe.build(), recipe.example(batch_size=8)
    grid = model.tokenizers["video"].patchify(batch["video"]).grid
    optimizer = adamw(model, recipe.sections.optimizer)
    set_learning_rate(optimizer, 2e-3)

    def odds() -> float:
        """How much of the probability lies on patches that cannot be predicted; in the beginning half."""
        clips, unpredictable = half_noise(batch, grid, epoch=1000)
        score = model.encode_masked(clips).plans["video"].log_prob
        assert score is not None
        return score.exp()[:, unpredictable].sum(1).mean().item()

    before = odds()
    for epoch in range(100):
        model(half_noise(batch, grid, epoch)[0]).total.backward()
        optimizer.step()
        optimizer.zero_grad()
    after = odds()
    assert abs(before - 0.5) < 0.15 and after > before + 0.1, (before, after)


def test_patches_are_drawn_without_replacement_in_proportion():
    """Of four patches two are shown; each as often as drawing one and then another of the rest would show it."""
    odds, draws = torch.tensor([0.5, 0.3, 0.15, 0.05]), 8000
    pairs = {(i, j): odds[i] * odds[j] / (1 - odds[i]) for i, j in permutations(range(4), 2)}
    expected = torch.tensor([sum(p for pair, p in pairs.items() if i in pair) for i in range(4)])
    masking = Adaptive(tiny.make_tokenizer("embedding", {"width": 1}, dim=16), ratio=0.5)
    masking.score = lambda patches: odds.log().expand(draws, -1)
    blank = Patches(torch.zeros(draws, 4, 1), lattice((4,)), torch.zeros(draws, 4), (4,), torch.ones(draws))
    plan = masking.plan(blank, Noise(tiny.keys(draws))("mask", 4))
    often = torch.stack([(plan.visible == i).any(1).float().mean() for i in range(4)])
    assert_close(often, expected, rtol=0, atol=0.02)


def test_words_and_readings_can_be_sampled_too():
    name = "masking adaptive"
    model, batch = tiny.system(name)
    assert {part for part in model(batch) if part.startswith("mask_policy/")} == {
        f"mask_policy/{m}" for m in tiny.STREAMS
    }
    assert set(model.encode(batch)) == set(tiny.STREAMS)


@pytest.mark.parametrize(
    ("recipe", "overrides", "says"),
    [
        ("adamae", ["objectives.mask_policy=null"], "no objective trains it"),
        ("videomae", ["objectives.mask_policy.weight=1.0"], "none learns"),
        ("default", ["masking.video.use=adaptive", "objectives={masked_language: null, mask_policy: {}}"], "text"),
        ("adamae", ["objectives.mask_policy.streams=[audio]"], "audio"),
    ],
)
def test_a_teacher_without_pupil_or_answers_is_refused(recipe, overrides, says):
    with pytest.raises(RecipeError, match=f"objectives.*{says}"):
        tiny.tiny(recipe, overrides).build()
