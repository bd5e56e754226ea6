"""The objective `segmentation`: what it learns, from what, and that a run keeps the names of its classes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
from sklearn.metrics import average_precision_score
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from mmmae.data.manifest import Manifest
from mmmae.data.open_settings import fit
from mmmae.probe.metrics import time_scores
from mmmae.recipes.lookup import RecipeError
from modalities.errors import InputError

SEGMENTS = [{"start": 0, "end": 1, "label": "run"}]


def model_and_batch(settings="{}", hides=0.0, **changes):
    given = [f"objectives={{segmentation: {settings}}}", f"masking={{video: {{use: random, ratio: {hides}}}}}"]
    recipe = tiny.tiny("videomae", [*given, "objectives.reconstruction=null"])
    return recipe.build(), recipe.example(batch_size=3, seed=0)


def unknown(batch, *places):
    targets = batch.targets["segments"].clone()
    for place in places:
        targets[place] = torch.nan
    return replace(batch, targets={"segments": targets})


@torch.no_grad()
@pytest.mark.parametrize("kind", ["multilabel", "class"])
def test_the_loss_is_that_of_every_known_time(kind):
    model, batch = model_and_batch(f"{{kind: {kind}}}")
    batch = unknown(batch, (0, 1), (2,))
    losses = model(batch)
    objective = model.objectives["segmentation"]
    tokens = model.encode_masked(batch).tokens["video"]
    each = []
    for sample, time in ((0, 0), (1, 0), (1, 1)):
        there = tokens.coords[sample, :, 0] == time
        logits = objective.head(objective.norm(tokens.x[sample, there].mean(0)))
        on = batch.targets["segments"][sample, time]
        if kind == "multilabel":
            each.append(binary_cross_entropy_with_logits(logits, on))
        else:
            shares = torch.cat([on, (on.sum() == 0).float()[None]])
            each.append(cross_entropy(logits[None], (shares / shares.sum())[None]))
    torch.testing.assert_close(losses["segmentation/segments"], torch.stack(each).mean())
    assert losses.counts["segmentation/segments"] == 3


@torch.no_grad()
def test_times_that_are_hidden_or_absent_do_not_count():
    model, batch = model_and_batch()
    short = replace(batch["video"], length=torch.tensor([4, 2, 0]))
    assert model(replace(batch, signals={"video": short})).counts["segmentation/segments"] == 2 + 1 + 0
    assert model(replace(batch, targets={}))["segmentation/segments"] == 0


def test_targets_of_another_shape_are_refused():
    model, batch = model_and_batch()
    wrong = {"segments": batch.targets["segments"][:, :1]}
    with pytest.raises(ValueError, match=r"shape \(3, 1, 2\), expected \(3, 2, 2\)"):
        model(replace(batch, targets=wrong))


def test_the_classes_are_kept_with_the_run(tmp_path):
    manifest = Manifest.open([{"text": "a", "segments": [*SEGMENTS, SEGMENTS[0] | {"label": "jump"}]}, {"text": "b"}])
    recipe = tiny.tiny("default", ["objectives.segmentation={stream: video}"])
    learned = fit(recipe, manifest, tmp_path)
    assert learned.tree["objectives"]["segmentation"]["classes"] == ["jump", "run"]
    fixed = tiny.tiny("default", ["objectives.segmentation={classes: [jump]}"])
    with pytest.raises(InputError, match=r"'run', which is none of objectives\.segmentation\.classes"):
        fit(fixed, manifest, tmp_path)


@pytest.mark.parametrize(
    ("settings", "says"),
    [("{stream: vidoe}", "stream"), ("{classes: [a, a]}", "each once"), ("{stream: text}", "made of words")],
)
def test_a_recipe_that_cannot_be_is_refused(settings, says):
    recipe = tiny.tiny("default", [f"objectives.segmentation={settings}"])
    with pytest.raises(RecipeError, match=says):
        recipe.example(2)
        recipe.build()


# The figure


def test_perfect_segments_have_map_one_and_shifted_ones_less():
    on = np.zeros((2, 40, 2))
    on[0, 5:20, 0] = on[1, 10:30, 1] = 1
    on[1, 35:] = np.nan
    shifted = [time_scores(on, np.roll(np.nan_to_num(on), by, 1))["map"] for by in (0, 2, 5, 10)]
    assert shifted[0] == 1 and shifted == sorted(shifted, reverse=True) and shifted[-1] < 0.8


def test_map_over_time_is_scikit_learns_over_all_known_times():
    generator = np.random.default_rng(0)
    on, given = (generator.random((3, 20, 2)) < 0.3).astype(float), generator.random((3, 20, 2))
    on[1, :5] = np.nan
    known = ~np.isnan(on[..., 0])
    found = time_scores(on, given, ["a", "b"])
    wanted = [average_precision_score(on[known][:, i], given[known][:, i]) for i in range(2)]
    assert found["map a"] == pytest.approx(wanted[0]) and found["map"] == pytest.approx(np.mean(wanted))
    never = time_scores(np.zeros((1, 4, 1)), np.ones((1, 4, 1)), ["never"])
    assert np.isnan(never["map"]) and np.isnan(never["map never"])
    assert np.isnan(time_scores(np.full((1, 4, 1), np.nan), np.ones((1, 4, 1)))["map"])
