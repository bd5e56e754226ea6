"""Codes: what passes through them, what they cost, and how a codebook follows its data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
import tiny
import torch
from no_sync import NoSync
from torch.distributions import Normal, kl_divergence
from torch.testing import assert_close

from fusion.codes.gaussian import Gaussian, divergence
from fusion.codes.resampled import Resampled
from fusion.codes.vector_quantised import VectorQuantised
from fusion.masking import Noise
from mmmae.recipes.lookup import RecipeError, names
from modalities.records import Tokens, lattice

WIDTH = 8


def alone(x: torch.Tensor) -> torch.Tensor:
    """The rows of one process are those of all."""
    return x


def tokens(x: torch.Tensor, valid: torch.Tensor | None = None) -> dict[str, Tokens]:
    """One stream whose tokens stand one after the other, a second each."""
    b, k, _ = x.shape
    coords = lattice((k,)).expand(b, -1, -1)
    return {"x": Tokens(x, coords, coords[..., 0].float(), valid, (k,))}


def blobs(clusters: int, seed: int, b: int = 8, k: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens close to one of a few far centres, and which one each is close to."""
    centres = 4 * torch.randn(clusters, WIDTH, generator=torch.Generator().manual_seed(99))
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(clusters, (b, k), generator=generator)
    return centres[label] + 0.05 * torch.randn(b, k, WIDTH, generator=generator), label


def learn(codes: VectorQuantised, clusters: int, steps: int, lr: float = 0.05) -> None:
    """Train a codebook on blobs, a new batch each step."""
    optimizer = torch.optim.Adam(list(codes.parameters()), lr=lr) if list(codes.parameters()) else None
    for step in range(steps):
        _, terms = codes(tokens(blobs(clusters, step)[0]), Noise(tiny.keys(8, seed=step)))
        if optimizer is not None:
            optimizer.zero_grad()
            sum(codes.weights[name] * term.values.mean() for name, term in terms.items()).backward()
            optimizer.step()
        codes.after_step(True, alone)


def test_a_gradient_passes_straight_through_a_codebook():
    """What the decoder wants of a code reaches the token unchanged, beside the commitment's own pull."""
    torch.manual_seed(0)
    codes = VectorQuantised(["x"], WIDTH, entries=4)
    x, wanted = torch.randn(2, 5, WIDTH, requires_grad=True), torch.randn(2, 5, WIDTH)
    coded, terms = codes(tokens(x), Noise(tiny.keys(2)))
    nearest = torch.cdist(x, codes.codebook.expand(2, -1, -1)).argmin(-1)
    assert_close(coded["x"].x, codes.codebook[nearest])
    assert torch.equal(codes.ids(tokens(x))["x"], nearest)
    (gradient,) = torch.autograd.grad((coded["x"].x * wanted).sum(), x, retain_graph=True)
    assert_close(gradient, wanted)
    (gradient,) = torch.autograd.grad(terms["commitment"].values.sum(), x)
    assert_close(gradient, 2 / WIDTH * (x - codes.codebook[nearest]).detach())


@pytest.mark.parametrize("update", ["ema", "gradient"])
def test_a_codebook_learns_the_clusters_of_its_data(update):
    torch.manual_seed(0)
    codes = VectorQuantised(["x"], WIDTH, entries=8, update=update, decay=0.9, restart=0.2)
    learn(codes, clusters=6, steps=150)
    x, label = blobs(6, seed=1000)
    ids = codes.eval().ids(tokens(x))["x"]
    for cluster in range(6):  # no vector serves two clusters
        assert not set(ids[label == cluster].tolist()) & set(ids[label != cluster].tolist())
    error = (codes.codebook[ids] - x).square().mean()
    assert error < 0.1, "within a few deviations, where centres are four apart"
    assert 6 <= float(codes.perplexity()) <= 8


def test_running_means_are_those_of_the_paper():
    """N <- g N + (1 - g) n, m <- g m + (1 - g) sum z, e = m / N (arXiv:1711.00937, appendix A.1)."""
    torch.manual_seed(0)
    codes = VectorQuantised(["x"], WIDTH, entries=4, decay=0.8, restart=0.0)
    count, mass = torch.zeros(4), torch.zeros(4, WIDTH)
    codebook = codes.codebook.clone()
    for _ in range(4):
        x = torch.randn(3, 6, WIDTH)
        codes(tokens(x[:2]), Noise(tiny.keys(2)))  # in two pieces
        codes(tokens(x[2:]), Noise(tiny.keys(1)))
        ids = torch.cdist(x.flatten(0, 1), codebook).argmin(-1)
        one_hot = torch.nn.functional.one_hot(ids, 4).float()
        count, mass = 0.8 * count + 0.2 * one_hot.sum(0), 0.8 * mass + 0.2 * one_hot.T @ x.flatten(0, 1)
        codebook = torch.where(count[:, None] > 0, mass / count[:, None], codebook)
        codes.after_step(True, alone)
        assert_close(codes.codebook, codebook, rtol=1e-5, atol=1e-6)


def state(codes: VectorQuantised) -> list[torch.Tensor]:
    return [x.clone() for x in codes.state_dict().values()]


def test_a_codebook_changes_after_a_step_only():
    """Neither a forward pass, nor a skipped step, nor evaluation moves it; what a skipped step saw is forgotten."""
    torch.manual_seed(0)
    codes = VectorQuantised(["x"], WIDTH, entries=4)
    before = state(codes)
    codes(tokens(torch.full((2, 6, WIDTH), torch.nan)), Noise(tiny.keys(2)))
    codes.after_step(False, alone)
    codes.eval()(tokens(torch.randn(2, 6, WIDTH)), Noise(tiny.keys(2)))
    with torch.no_grad():
        codes.train()(tokens(torch.randn(2, 6, WIDTH)), Noise(tiny.keys(2)))
    codes.after_step(True, alone)
    assert all(torch.equal(a, b) for a, b in zip(before, state(codes), strict=True))
    codes(tokens(torch.randn(2, 6, WIDTH)), Noise(tiny.keys(2)))
    assert all(torch.equal(a, b) for a, b in zip(before, state(codes), strict=True))
    codes.after_step(True, alone)
    assert not torch.equal(before[0], codes.codebook)


def test_dead_vectors_begin_anew_at_tokens_drawn_by_key():
    """The same samples restart the same vectors, in whatever order and pieces they come; padding never does."""
    x, valid = torch.randn(6, 5, WIDTH, generator=torch.Generator().manual_seed(1)), torch.rand(6, 5) < 0.7
    valid[0] = True
    x = torch.where(valid[..., None], x, 1e3)
    found = []
    for order, cuts in ((torch.arange(6), [6]), (torch.tensor([3, 1, 5, 0, 2, 4]), [2, 3, 1])):
        torch.manual_seed(0)
        codes = VectorQuantised(["x"], WIDTH, entries=12)
        for rows in order.split(cuts):
            codes(tokens(x[rows], valid[rows]), Noise(tiny.keys(6)[rows]))
        codes.after_step(True, alone)
        found.append(codes.codebook.clone())
    assert_close(*found)
    distance = torch.cdist(found[0], x[valid]).amin(1)
    assert (distance == 0).sum() >= 10 and (distance < 100).all(), "each stands at a token, or at a mean of some"


def test_processes_restart_and_follow_as_one():
    """Two processes that see half of the samples each end with the codebook of one that sees them all."""
    x, keys = torch.randn(6, 5, WIDTH, generator=torch.Generator().manual_seed(1)), tiny.keys(6)
    made = []
    for _ in range(3):
        torch.manual_seed(0)
        made.append(VectorQuantised(["x"], WIDTH, entries=4, restart=0.5))
    single, *halves = made
    single(tokens(x), Noise(keys))
    for codes, rows in zip(halves, torch.arange(6).split(3), strict=True):
        codes(tokens(x[rows]), Noise(keys[rows]))
    kept = [
        [codes.counts[None].clone(), codes.sums[None].clone(), codes.scores.clone(), codes.spare.clone()]
        for codes in halves
    ]
    rows = iter([torch.cat(pair) for pair in zip(*kept, strict=True)])
    single.after_step(True, alone)
    halves[0].after_step(True, lambda x: next(rows))
    for one, both in zip(state(single), state(halves[0]), strict=True):
        assert_close(one, both)


@pytest.mark.parametrize("settings", [{}, {"update": "gradient"}])
def test_a_codebook_never_waits_for_the_device(settings):
    codes = VectorQuantised(["x"], WIDTH, entries=4, **settings)
    with NoSync():
        codes(tokens(torch.randn(2, 6, WIDTH), torch.rand(2, 6) < 0.5), Noise(tiny.keys(2)))
        codes.after_step(True, alone)


def test_the_divergence_from_the_standard_normal_is_exact():
    mean, log_variance = torch.randn(2, 3, WIDTH), 2 * torch.randn(2, 3, WIDTH)
    reference = kl_divergence(Normal(mean, (0.5 * log_variance).exp()), Normal(0.0, 1.0)).sum(-1)
    assert_close(divergence(mean, log_variance), reference, rtol=1e-5, atol=1e-5)
    assert torch.equal(divergence(torch.zeros(1, 1, WIDTH), torch.zeros(1, 1, WIDTH)), torch.zeros(1, 1))
    assert (divergence(1e-3 * mean, 1e-3 * log_variance) >= 0).all()


def test_a_gaussian_code_is_drawn_in_training_and_the_mean_in_evaluation():
    torch.manual_seed(0)
    codes = Gaussian(["x"], WIDTH, width=2)
    codes.lift = torch.nn.Identity()
    x = torch.randn(1, 1, WIDTH).expand(500, 6, -1)
    mean, log_variance = codes.distribution(x)
    drawn = codes(tokens(x), Noise(tiny.keys(500)))[0]["x"].x
    assert torch.equal(codes(tokens(x), Noise(tiny.keys(500)))[0]["x"].x, drawn), "a draw is the key's"
    z = ((drawn - mean) / (0.5 * log_variance).exp()).flatten(0, 1)
    assert_close(z.mean(0), torch.zeros(2), rtol=0, atol=0.06)  # of 3000 draws, three deviations
    assert_close(z.T.cov(), torch.eye(2), rtol=0, atol=0.08)
    few = {"x": Tokens(*(getattr(tokens(x)["x"], f)[:, 2:4] for f in ("x", "coords", "time")), None, (6,))}
    assert torch.equal(codes(few, Noise(tiny.keys(500)))[0]["x"].x, drawn[:, 2:4]), "whatever else is visible"
    assert torch.equal(codes.eval()(tokens(x), Noise(tiny.keys(500)))[0]["x"].x, mean)


def test_gradients_of_a_gaussian_code_are_those_of_the_reparameterisation():
    torch.manual_seed(0)
    codes = Gaussian(["x"], WIDTH, width=2)
    codes.lift = torch.nn.Identity()
    moments = torch.randn(3, 4, 4, requires_grad=True)
    codes.moments = torch.nn.Identity()
    noise = Noise(tiny.keys(3))
    z = codes(
        {"x": Tokens(moments, *[getattr(tokens(moments)["x"], f) for f in ("coords", "time", "valid", "grid")])}, noise
    )
    (gradient,) = torch.autograd.grad(z[0]["x"].x.sum(), moments)
    deviation = (0.5 * moments[..., 2:]).exp()
    assert_close(gradient[..., :2], torch.ones(3, 4, 2))
    assert_close(
        gradient[..., 2:], 0.5 * (z[0]["x"].x - moments[..., :2]).detach(), msg="d/dv (e^(v/2) n) = e^(v/2) n / 2"
    )
    assert (deviation > 0).all()


def test_a_resampler_gives_as_many_tokens_whatever_it_reads():
    torch.manual_seed(0)
    codes = Resampled(["x", "y"], WIDTH, tokens=3, depth=2, heads=2)
    x = torch.randn(3, 9, WIDTH)
    valid = torch.arange(9) < torch.tensor([9, 4, 0])[:, None]
    given = tokens(x, valid)["x"]
    order = torch.randperm(9)
    shuffled = Tokens(x[:, order], given.coords[:, order], given.time[:, order], valid[:, order], given.grid)
    (coded, terms), (other, _) = (codes({"x": t}, Noise(tiny.keys(3))) for t in (given, shuffled))
    assert terms == {} and coded["x"].x.shape == (3, 3, WIDTH) and coded["x"].grid == (3,)
    assert torch.equal(coded["x"].valid, torch.tensor([[True], [True], [False]]).expand(3, 3))
    assert_close(coded["x"].x[:2], other["x"].x[:2])  # a set of tokens, in any order
    assert_close(coded["x"].time[0], torch.tensor([8 / 6, 4, 8 * 5 / 6])) and torch.equal(
        coded["x"].coords[0, :, 0], torch.arange(3)
    )
    assert coded["x"].time[1].max() < 3 and torch.equal(coded["x"].time[2], torch.zeros(3))
    one = codes(tokens(x[1:2, :4]), Noise(tiny.keys(3)[1:2]))[0]["x"]
    assert_close(one.x, coded["x"].x[1:2])
    assert codes(tokens(x[:, :0], valid[:, :0]), Noise(tiny.keys(3)))[0]["x"].x.isfinite().all()


@pytest.mark.parametrize("use", names("codes"))
def test_codes_are_learned_with_the_objective_that_they_belong_to(use):
    """Their losses are its parts with the codes' weights, and its decoder reads nothing but codes."""
    recipe = tiny.tiny("default", [f"objectives.reconstruction.codes.use={use}"])
    model, batch = recipe.build(), recipe.example(batch_size=2)
    objective = model.objectives["reconstruction"]
    parts = objective(model.encode_masked(batch))
    assert set(parts) - {"video", "audio", "imu"} == set(objective.codes.weights) - {"codebook"}
    weights: Mapping[str, float] = {"video": 1.0, "audio": 1.0, "imu": 1.0} | objective.codes.weights
    assert_close(objective.weigh(parts), sum(weights[name] * part for name, part in parts.items()))
    objective.codes.register_forward_hook(
        lambda codes, given, out: ({n: Tokens.at(t, 0 * t.x) for n, t in out[0].items()}, out[1])
    )
    with torch.no_grad():
        encoded = model.encode_masked(batch)
        other = replace(encoded, tokens={name: Tokens.at(t, 2 + t.x.flip(0)) for name, t in encoded.tokens.items()})
        says = [objective.answer(e)["imu"].values for e in (encoded, other)]
    assert torch.equal(*says), "with codes of zero all recordings look alike"


def test_settings_that_make_no_sense_are_refused():
    for use, change in {
        "vector_quantised": "entries: 1", "gaussian": "beta: -1", "resampled": "tokens: 0",
    }.items():  # fmt: skip
        with pytest.raises(RecipeError, match=r"objectives.reconstruction.codes"):
            tiny.tiny("default", [f"objectives.reconstruction.codes={{use: {use}, {change}}}"]).build()
    with pytest.raises(RecipeError, match="did you mean 'gaussian'"):
        tiny.tiny("default", ["objectives.reconstruction.codes.use=gausian"])
    with pytest.raises(RecipeError, match="inpainting"):
        tiny.tiny("default", ["objectives.reconstruction={inpaint: true, codes: {use: gaussian}}"]).build()
