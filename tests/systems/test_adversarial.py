"""An adversary (MARLIN): both sides learn in one step, each from its own loss, with its own optimizer."""

from __future__ import annotations

import pytest
import tiny
import torch
from torch.testing import assert_close

from mmmae.recipes.lookup import RecipeError
from mmmae.training.optim import adamw, clip, set_learning_rate, sides

ADVERSARY = "objectives.adversarial={weight: 0.01, optimizer: {lr: 6.0e-4, betas: [0.5, 0.9], weight_decay: 0.2}}"
INSIDE = "objectives.adversarial."
GENERATOR, DISCRIMINATOR = "adversarial/video_generator", "adversarial/video_discriminator"


@pytest.fixture
def made():
    """A model with an adversary, its optimizer and a batch."""
    recipe = tiny.tiny("videomae", [ADVERSARY])
    model = recipe.build()
    optimizer = adamw(model, recipe.sections.optimizer)
    set_learning_rate(optimizer, 1e-3)
    return model, optimizer, recipe.example(batch_size=4)


def changed(model: torch.nn.Module, optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> set[str]:
    """The parameters that one step on a loss moves."""
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}


def test_each_side_is_moved_by_its_own_loss_only(made):
    model, optimizer, batch = made
    everything = {name for name, _ in model.named_parameters()}
    critic = {name for name in everything if name.startswith(INSIDE)}
    assert len(critic) == 3
    assert changed(model, optimizer, model(batch)[GENERATOR]) == everything - critic
    assert changed(model, optimizer, model(batch)[DISCRIMINATOR]) == critic
    assert changed(model, optimizer, model(batch).total) == everything


def test_one_backward_gives_each_side_what_its_own_would(made):
    model, _, batch = made
    losses = model(batch)
    parameters = dict(model.named_parameters())
    own = losses["reconstruction/video"] + 0.01 * losses[GENERATOR]
    both, alone, critic = (
        torch.autograd.grad(loss, list(parameters.values()), allow_unused=True, retain_graph=True)
        for loss in (losses.total, own, losses[DISCRIMINATOR])
    )
    for name, total, mine, other in zip(parameters, both, alone, critic, strict=True):
        assert_close(total, other if name.startswith(INSIDE) else mine, rtol=1e-4, atol=1e-6)


def test_the_discriminator_learns_to_tell_and_predictions_to_deceive(made):
    model, optimizer, batch = made
    scores = []
    for part, steps in ((DISCRIMINATOR, 15), (GENERATOR, 15)):
        for _ in range(steps):
            changed(model, optimizer, model(batch)[part])
        encoded = model.encode_masked(batch)
        for objective in model.objectives.values():
            objective(encoded)
        critic, answer = model.objectives["adversarial"].discriminators["video"], encoded.predictions["video"]
        scores.append((critic(answer.target), critic(answer.values)))
    (real, fake), (_, deceiving) = scores
    assert (real > fake.mean()).float().mean() > 0.9 and (fake < real.mean()).float().mean() > 0.9
    assert deceiving.mean() > fake.mean() + (real.mean() - fake.mean()) / 2


def test_the_discriminator_has_an_optimizer_of_its_own(made):
    model, optimizer, _ = made
    rest, critic = sides(optimizer)
    names = {parameter: name for name, parameter in model.named_parameters()}
    assert {names[p] for p in critic} == {name for name in names.values() if name.startswith(INSIDE)}
    assert len(rest) + len(critic) == len(names)
    found = {True: set(), False: set()}
    for group in optimizer.param_groups:
        own = group["params"][0] in set(critic)
        found[own].add((round(group["lr"], 6), group["betas"], group["weight_decay"]))
    rate = 4e-3  # 6e-4 where the model's is 1.5e-4
    assert found[True] == {(rate, (0.5, 0.9), 0.2), (rate, (0.5, 0.9), 0.0)}
    assert found[False] == {(1e-3, (0.9, 0.95), 0.05), (1e-3, (0.9, 0.95), 0.0)}


def gradient(parameter: torch.nn.Parameter) -> torch.Tensor:
    assert parameter.grad is not None
    return parameter.grad


def test_a_loud_adversary_does_not_clip_the_model(made):
    model, optimizer, batch = made
    model(batch).total.backward()
    rest, critic = sides(optimizer)
    for parameter in critic:
        gradient(parameter).mul_(1e6)
    before = [gradient(p).clone() for p in rest]
    norm = torch.cat([grad.flatten() for grad in before]).norm()
    assert_close(clip(optimizer, 2 * norm.item())[0], norm, rtol=1e-3, atol=0)
    assert_close([gradient(p) for p in rest], before, rtol=1e-5, atol=0)
    assert torch.cat([gradient(p).flatten() for p in critic]).norm() <= 2 * norm * 1.01


@pytest.mark.parametrize(
    ("objectives", "says"),
    [
        ("{reconstruction: null, masked_language: null, contrastive: null, adversarial: {}}", "before it"),
        ("{adversarial: {streams: [text]}}", "text"),
        ("{adversarial: {width: 0}}", "at least 1"),
        ("{adversarial: {optimizer: {lr: -1}}}", "optimizer"),
    ],
)
def test_an_adversary_that_has_nobody_to_judge_is_refused(objectives, says):
    with pytest.raises(RecipeError, match=f"objectives.*{says}"):
        tiny.tiny("default", [f"objectives={objectives}"]).build()
