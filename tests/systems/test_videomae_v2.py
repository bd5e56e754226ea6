"""VideoMAE V2: what the decoder's mask leaves, where the loss looks, labels, three stages that follow each other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
from patches import cut, sets
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from fusion.masking import Noise
from fusion.masking.running_cell import RunningCell
from mmmae import MaskedAutoencoder, Recipe
from mmmae.build import build
from mmmae.corpora import prepare
from mmmae.data.open_settings import fit
from mmmae.data.source import open_data
from mmmae.storage.checkpoint import load_recipe
from mmmae.train import main
from mmmae.training.warm_start import begin, same_files
from modalities.errors import InputError
from modalities.records import Patches

SMALL = ["size=tiny", "window=0.8", "modalities.video.frames=4", "modalities.video.size=32", "modalities.video.patch=8",
         "trunk.depth=1", "--workers", "0", "--batch-size", "8", "--log-every", "1", "--track", "none"]  # fmt: skip
GIVEN = ["modalities.video.frames=8", "modalities.video.size=64"]  # four time steps of eight by eight places


def said(patches: Patches, phase: int) -> set[int]:
    """What a running cell of two by two asks for: two neighbours of it, one place further at each time encoded."""
    return {
        i for i, (t, row, column) in enumerate(patches.coords.tolist())
        if (2 * (row % 2) + column % 2 + t + phase) % 4 < 2
    }  # fmt: skip


def test_the_decoder_is_asked_for_the_running_half_of_what_the_encoder_lacks():
    patches = cut((8, 14, 14), 0, batch=32, ragged=False)
    plan = RunningCell().plan(patches, Noise(tiny.keys(32))("mask", 1568))
    assert plan.visible.shape == (32, 160) and plan.hidden.shape == (32, 704) and plan.hidden_valid is None
    phases = set()
    for index in range(32):
        visible, hidden = sets(plan, patches, index)
        assert {(i % 196) for i in visible} == set(visible[:20])  # tubes
        lacking = set(range(1568)) - set(visible)
        phases.add(next(phase for phase in range(4) if said(patches, phase) & lacking == set(hidden)))
        for place in {i % 196 for i in lacking}:  # every tube is asked about, half of the time
            assert sum(i % 196 == place for i in hidden) == 4
    assert phases == {0, 1, 2, 3}


def test_what_does_not_divide_into_cells_is_asked_for_in_part_just_as_exactly():
    patches = cut((7, 5, 5), 3, batch=8)
    plan = RunningCell(ratio=0.7, decoder_ratio=0.25).plan(patches, Noise(tiny.keys(8))("mask", 175))
    for index in range(8):
        visible, hidden = sets(plan, patches, index)
        valid = set(patches.valid[index].nonzero()[:, 0].tolist())
        assert set(hidden) <= valid - set(visible)
        assert 0.6 * len(valid - set(visible)) <= len(hidden) <= 0.9 * len(valid - set(visible))


def model_and_batch(*overrides: str):
    recipe = tiny.tiny("videomae_v2", [*GIVEN, *overrides])
    return recipe.build(), recipe.example(batch_size=3, seed=1)


@torch.no_grad()
def test_the_loss_is_of_what_is_asked_and_hidden_alone():
    model, batch = model_and_batch()
    encoded, objective = model.encode_masked(batch), model.objectives["reconstruction"]
    plan, patches = encoded.plans["video"], encoded.patches["video"]
    before = objective(encoded)["video"]
    asked = tiny.chosen(plan.hidden, None, 256)
    rest = ~asked & ~tiny.chosen(plan.visible, None, 256)
    assert rest.sum() == asked.sum() > 0
    unasked, changed = (replace(encoded, patches={"video": tiny.poisoned(patches, ~where)}) for where in (rest, asked))
    assert torch.equal(objective(unasked)["video"], before)
    assert not torch.equal(objective(changed)["video"], before)


@torch.no_grad()
def test_the_decoder_gets_shorter_and_pictures_stay_whole():
    lengths = {}
    for ratio in (0.0, 0.5, 0.75):
        model, batch = model_and_batch(f"masking.video.decoder_ratio={ratio}")
        stack = model.objectives["reconstruction"].decoder.stack
        hook = stack.register_forward_hook(lambda _, given, __, r=ratio: lengths.__setitem__(r, given[0].shape[1]))
        encoded = model.encode_masked(batch)
        model.objectives["reconstruction"](encoded)
        hook.remove()
        hidden = model.reconstruct(batch)["video"].hidden
        assert torch.equal(hidden, ~tiny.chosen(encoded.plans["video"].visible, None, 256))
    assert lengths == {0.0: 28 + 228, 0.5: 28 + 114, 0.75: 28 + 57}


@torch.no_grad()
def test_unlabelled_samples_do_not_count():
    recipe = tiny.tiny("videomae_v2_finetune", ["objectives.classification.classes=3"])
    model, batch = recipe.build(), recipe.example(batch_size=4)
    objective, some = model.objectives["classification"], torch.tensor([2, -1, 0, -1])
    encoded = model.encode_masked(replace(batch, label=some))
    assert encoded.plans["video"].visible.shape[1] == 32  # nothing is hidden
    logits = objective.head(objective.norm(encoded.tokens["video"].x.mean(1)))[[0, 2]]
    parts = model(replace(batch, label=some))
    assert_close(parts["classification/label"], cross_entropy(logits, some[[0, 2]], label_smoothing=0.1))
    assert parts["classification/accuracy"] == (logits.argmax(1) == some[[0, 2]]).float().mean()
    assert parts.total == parts["classification/label"]  # accuracy is told and weighs nothing
    for label in (None, torch.full((4,), -1)):
        assert model(replace(batch, label=label)).total == 0


def test_labels_are_learned():
    recipe = tiny.tiny("videomae_v2_finetune", ["trunk.depth=1"])
    model, batch = recipe.build(), recipe.example(batch_size=16, seed=4)
    clips = batch["video"].values // 2 + 64 * batch.label[:, None, None, None, None].byte()  # dark and bright ones
    batch = replace(batch, signals={"video": replace(batch["video"], values=clips)})
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(12):
        optimizer.zero_grad()
        model(batch).total.backward()
        optimizer.step()
    assert model(batch)["classification/accuracy"] == 1


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    return prepare("world", tmp_path_factory.mktemp("corpus") / "world", clips=16, seconds=1.0, size=32).parent


def train(world: Path, output: Path, recipe: str, *more: str) -> int:
    return main(["--recipe", recipe, "--data", str(world), "--output", str(output), *SMALL, *more])


def lasting(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {n: w for n, w in model.state_dict().items() if n.startswith(("tokenizers.", "trunk."))}


def test_three_stages_start_from_each_other(world, tmp_path, capsys):
    """Each begins with what the one before has learned; its labels, objective and head are its own."""
    previous = None
    for name in ("videomae_v2", "videomae_v2_posttrain", "videomae_v2_finetune"):
        output = tmp_path / name
        start = [f"training.start={previous}", "optimizer.lr=1e-9"] if previous else []
        assert train(world, output, name, "--steps", "1", *start) == 0
        if previous:
            assert "starting with the trunk and tokenizers of" in capsys.readouterr().err
            assert not (output / "panels").exists()
            old, new = (lasting(MaskedAutoencoder.from_pretrained(run)) for run in (previous, output))
            assert all(torch.allclose(new[key], old[key], atol=1e-7) for key in old)
            fresh = lasting(build(load_recipe(output / "checkpoints" / "step-1")))
            assert not all(torch.allclose(new[key], fresh[key], atol=1e-7) for key in old)
        previous = output
    kept = load_recipe(output / "checkpoints" / "step-1").tree["objectives"]["classification"]["classes"]
    assert kept == list(open_data(str(world)).labels) and len(kept) > 2
    assert train(world, tmp_path / "other", "videomae_v2_finetune", f"training.start={previous}", "trunk.depth=2") == 2
    told = capsys.readouterr().err
    assert "missing there: trunk.stacks.video.blocks.1.norm1.weight" in told and "more" in told
    assert train(world, tmp_path / "none", "videomae_v2_finetune", f"training.start={tmp_path}") == 2
    assert "there is no checkpoint here" in capsys.readouterr().err


def test_labels_must_be_there_and_fit(world):
    manifest = open_data(str(world))
    with pytest.raises(InputError, match="classes=2"):
        fit(Recipe.load("videomae_v2_finetune", ["objectives.classification.classes=2"]), manifest, world)
    with pytest.raises(InputError, match="two labels"):
        fit(Recipe.load("videomae_v2_finetune"), replace(manifest, labels=()), world)


def test_a_run_on_fewer_modalities_takes_what_it_has_of_them(world, tmp_path):
    data = open_data(str(world))
    both = fit(tiny.tiny("default", modalities=["video", "text"]), data, tmp_path).build(seed=7)
    both.save_pretrained(tmp_path / "both")
    words = tiny.tiny("default", [f"training.start={tmp_path / 'both'}", "modalities.text.words=4096"], ["text"])
    words = fit(same_files(words), data, tmp_path / "never")
    assert words.tree["modalities"]["text"]["vocabulary"].startswith(str(tmp_path / "both"))  # ids mean what they meant
    model = words.build()
    begin(model, words, str(tmp_path / "both"))
    theirs = both.state_dict()
    assert all(torch.equal(weight, theirs[name]) for name, weight in lasting(model).items())
    with pytest.raises(InputError, match=r"tokenizers.video.project.weight: \(128, 384\) there, \(64, 384\) here"):
        narrow = tiny.tiny("default", ["trunk.width=64"], ["video"])
        begin(narrow.build(), narrow, str(tmp_path / "both"))
