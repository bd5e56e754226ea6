"""Every recipe is built, asked and differentiated at a tiny size; what a recipe may not say is refused in words.

`python tests/test_recipes.py` writes tests/losses.json anew: the losses of every recipe, so that a refactor which
changes one is seen (law 9). Commit it with the change that meant to. Processors differ in the last bits, hence the
tolerance.
"""

from __future__ import annotations

import json
from itertools import combinations

import pytest
import tiny
import torch
from places import TESTS

from mmmae import Recipe
from mmmae.recipes import files as recipes
from mmmae.recipes.lookup import RecipeError
from modalities.records import Batch

LOSSES = TESTS / "losses.json"
every_recipe = pytest.mark.parametrize("name", recipes.names())


def gradients(recipe: Recipe, batch: Batch) -> tuple[dict[str, float], dict[str, torch.Tensor | None]]:
    model = recipe.build()
    losses = model(batch)
    losses.total.backward()
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    return {part: loss.item() for part, loss in losses.items()}, {name: p.grad for name, p in parameters.items()}


# Law 6: every recipe learns


@every_recipe
def test_every_parameter_of_a_recipe_learns(name):
    recipe = tiny.tiny(name)
    losses, grads = gradients(recipe, recipe.example(batch_size=4, seed=0))
    assert all(torch.tensor(loss).isfinite() for loss in losses.values()) and losses["total"] != 0
    assert not [name for name, grad in grads.items() if grad is None or not grad.isfinite().all() or not grad.any()]


@every_recipe
def test_a_ragged_batch_reaches_every_parameter(name):
    recipe = tiny.tiny(name)
    losses, grads = gradients(recipe, recipe.example(batch_size=4, seed=0, ragged=True))
    assert all(torch.tensor(loss).isfinite() for loss in losses.values())
    assert not [name for name, grad in grads.items() if grad is None or not grad.isfinite().all()]


def test_every_subset_of_the_modalities_trains():
    streams = tiny.tiny("default").streams
    for count in range(1, len(streams) + 1):
        for subset in combinations(streams, count):
            recipe = tiny.tiny("default", modalities=subset)
            assert tuple(recipe.streams) == subset
            assert recipe.build()(recipe.example(batch_size=2)).total.isfinite()


# Law 9: a refactor changes no loss


def table() -> dict[str, dict[str, float]]:
    return {name: {part: loss.item() for part, loss in losses(name).items()} for name in recipes.names()}


@torch.no_grad()
def losses(name: str):
    recipe = tiny.tiny(name)
    return recipe.build()(recipe.example(batch_size=4, seed=0))


@every_recipe
def test_the_losses_are_those_of_the_table(name):
    known = json.loads(LOSSES.read_text())
    assert name in known, "a new recipe: run `python tests/test_recipes.py` and commit tests/losses.json"
    found = {part: loss.item() for part, loss in losses(name).items()}
    assert found == pytest.approx(known[name], rel=1e-5, abs=1e-6)


def test_the_table_has_no_recipe_too_many():
    assert set(json.loads(LOSSES.read_text())) == set(recipes.names())


# What a recipe may not say


@pytest.mark.parametrize(
    ("override", "says", "hint"),
    [
        ("masking.vidoe.ratio=0.5", "masking.vidoe", "'video'"),
        ("masking.video.ration=0.5", "masking.video.ration", "'ratio'"),
        ("masking.video.ratio=high", "masking.video.ratio", "'high'"),
        ("masking.video.ratio=1.5", "masking.video", "1.5"),
        ("masking.video.use=tubes", "tubes", "'tube'"),
        ("masking.video.use=budget", "budget", "there is no masking"),
        ("masking.use=random", "random", "known: "),
        ("masking={use: independent}", "masking", "required"),
        ("modalities.vidoe.size=32", "modalities.vidoe", "'video'"),
        ("modalities.video.sise=32", "modalities.video.sise", "'size'"),
        ("modalities.video.size=[1", "modalities.video.size", ""),
        ("trunk.use=join", "join", "'joint'"),
        ("trunk.wdith=4", "trunk.wdith", "'width'"),
        ("trunk.width=wide", "trunk.width", "'wide'"),
        ("objectives.contrastiv.weight=1", "contrastiv", "'contrastive'"),
        ("objectives.reconstruction.decoder.use=crss", "crss", "'cross'"),
        ("objectives.reconstruction.decoder.dept=2", "decoder.dept", "'depth'"),
        ("objectives.reconstruction.normalise=n3", "normalise", "n3"),
        ("optimizer.learning_rate=1", "optimizer.learning_rate", ""),
        ("optimizer.lr=-1", "optimizer.lr", "-1"),
        ("training.stepz=3", "training.stepz", "'steps'"),
        ("optimiser.lr=1", "optimiser", "'optimizer'"),
        ("size=tinny", "tinny", "'tiny'"),
        ("window=0", "window", "0"),
        ("window=${oc.env:HOME}", "window", "interpolation"),
        ("trunk.use=os.system", "os.system", "part of Python itself"),
        ("trunk.use=nowhere.Trunk", "nowhere", "import"),
        ("ratio", "'ratio'", "key=value"),
    ],
)
def test_a_mistake_is_named_with_its_place_and_a_remedy(override, says, hint):
    with pytest.raises(RecipeError) as caught:
        Recipe.load("default", ["modalities.imu.sensors=3", override]).build()
    message = str(caught.value)
    assert says in message and hint in message, message
    assert len(message.splitlines()) < 8, message


def test_an_unknown_recipe_suggests_the_nearest():
    with pytest.raises(RecipeError, match="did you mean 'videomae'"):
        Recipe.load("videmae")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("base: default\nwindow: ${oc.env:SECONDS}\n", "interpolation"),
        ("base: default\ntrunk: !!python/object/apply:os.getcwd []\n", "cannot be read"),
        ("- a\n", "mapping"),
        ("window: [\n", "cannot be read"),
    ],
)
def test_a_file_that_is_no_plain_recipe_is_refused(tmp_path, text, reason):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=rf"mine\.yaml.*{reason}"):
        Recipe.load(path)


# What overrides and inheritance do


def test_a_base_is_inherited_once(tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "base: default\nmasking: {video: {ratio: 0.5}}\nobjectives: {contrastive: null}\n"
    )
    mine, default = Recipe.load(tmp_path / "mine.yaml").tree, Recipe.load("default").tree
    assert mine["masking"]["video"] == {**default["masking"]["video"], "ratio": 0.5}
    assert set(default["objectives"]) - set(mine["objectives"]) == {"contrastive"}
    (tmp_path / "yours.yaml").write_text("base: mine\nwindow: 1.0\n")
    with pytest.raises(RecipeError, match="base of its own"):
        Recipe.load(tmp_path / "yours.yaml")


def test_another_use_replaces_the_settings_of_the_old_one():
    default = Recipe.load("default")
    assert Recipe.load("default", ["masking.video={use: random}"]).tree["masking"]["video"] == {"use": "random"}
    kept = Recipe.load("default", ["masking.video.ratio=0.5"]).tree["masking"]["video"]
    assert kept == {**default.tree["masking"]["video"], "ratio": 0.5}


def test_a_size_on_the_command_line_replaces_the_widths_of_the_file():
    model = Recipe.load("audio_mae", ["size=tiny"]).build()
    assert (model.trunk.width, model.trunk.depth) == (128, 4)
    assert len(model.objectives["reconstruction"].decoder.stack.blocks) == 2
    wide = Recipe.load("audio_mae", ["size=tiny", "trunk.width=64"]).build()
    assert (wide.trunk.width, wide.trunk.depth) == (64, 4)


def test_narrowing_keeps_the_objectives_that_can_be_answered():
    kept = {
        streams: set(tiny.tiny("default", modalities=streams.split(",")).build().objectives)
        for streams in ("video", "text", "video,audio", "video,text")
    }
    assert kept == {
        "video": {"reconstruction"},
        "text": {"masked_language"},
        "video,audio": {"reconstruction", "contrastive"},
        "video,text": {"reconstruction", "masked_language", "contrastive"},
    }
    with pytest.raises(RecipeError, match="did you mean 'video'"):
        Recipe.load("default", modalities=["vidoe"])


@every_recipe
def test_a_recipe_survives_its_own_tree(name):
    recipe = tiny.tiny(name)
    again = Recipe(json.loads(json.dumps(recipe.tree)), recipe.name, recipe.narrowed)
    assert again.tree == recipe.tree
    one, other = recipe.build().state_dict(), again.build().state_dict()
    assert list(one) == list(other) and all(torch.equal(one[key], other[key]) for key in one)


@every_recipe
def test_an_example_needs_no_data(name):
    """What a recipe leaves to the data, the number of sensors for one, is something typical."""
    recipe = Recipe.load(name, ["size=tiny"])
    batch = recipe.example(batch_size=1)
    assert list(batch) == recipe.streams
    assert set(recipe.build().encode(batch.only(recipe.streams[-1:]))) == {recipe.streams[-1]}


@pytest.mark.parametrize("name", ["videomae", "default"])
def test_weights_and_examples_depend_on_their_seed_only(name):
    recipe = tiny.tiny(name)
    first = recipe.build(seed=3).state_dict(), recipe.example(seed=5)
    torch.rand(7)
    second = recipe.build(seed=3).state_dict(), recipe.example(seed=5)
    assert all(torch.equal(first[0][key], second[0][key]) for key in first[0])
    assert all(torch.equal(first[1][key].values, second[1][key].values) for key in first[1])


def test_videomae_shows_160_of_1568_tubes():
    from fusion.masking import Noise
    from modalities.records import Signal

    recipe = Recipe.load("videomae", ["size=tiny"])
    model = recipe.build()
    clip = Signal(torch.zeros(1, 16, 3, 224, 224, dtype=torch.uint8))
    plan = model.masking.plan({"video": model.tokenizers["video"].patchify(clip)}, Noise(torch.tensor([1])))["video"]
    assert plan.visible.shape == (1, 160) and plan.hidden.shape == (1, 1408)


if __name__ == "__main__":
    LOSSES.write_text(json.dumps(table(), indent=2) + "\n")
