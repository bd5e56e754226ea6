"""Stages of training: what is frozen rests, LoRA alone moves, and streams begin with runs of their own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import tiny
import torch
from torch import nn

from mmmae import MaskedAutoencoder, Recipe
from mmmae.recipes.sections import Training
from mmmae.storage.checkpoint import load_recipe
from mmmae.training.optim import adamw, set_learning_rate
from mmmae.training.stages import adapt, freeze, staged
from mmmae.training.warm_start import begin
from modalities.errors import InputError

STREAMS = ["video", "text"]


def recipe(*changes: str) -> Recipe:
    return tiny.tiny("default", ["trunk.use=branches", "trunk.depth=2", *changes], STREAMS)


def learned(recipe: Recipe, model: MaskedAutoencoder, steps: int = 2) -> dict[str, torch.Tensor]:
    """The weights after a few steps at a high rate, with weight decay."""
    optimizer = adamw(model, recipe.sections.optimizer)
    set_learning_rate(optimizer, 0.01)
    for seed in range(steps):
        model.train()
        model(recipe.example(batch_size=3, seed=seed)).total.backward()
        optimizer.step()
        optimizer.zero_grad()
    return dict(model.state_dict())


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name, weight in before.items() if not torch.equal(weight, after[name])}


def copied(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in model.state_dict().items()}


# Frozen parts


@pytest.mark.parametrize("parts", [("trunk",), ("tokenizers.video", "trunk.blocks"), ("norm1",)])
def test_a_frozen_part_rests_and_the_others_move(parts):
    made = recipe()
    model = made.build()
    free = moved(copied(model), learned(made, model))
    again = made.build()
    staged(again, Training(freeze=parts))
    frozen = {name for name in again.state_dict() if any(f".{part}." in f".{name}" for part in parts)}
    assert frozen and moved(copied(made.build()), learned(made, again)) == free - frozen


def test_a_frozen_part_computes_as_in_evaluation_whenever_the_model_trains():
    model = recipe("masking.video.use=drop").build()
    freeze(model, ["masking.maskings.video", "trunk.branches.text"])
    for module in (model, nn.Sequential(model)):
        module.train()
        assert model.training and not model.masking.maskings["video"].training
        assert not any(part.training for part in model.trunk.branches["text"].modules())
        assert all(part.training for part in model.trunk.branches["video"].modules())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"freeze": ("trnk",)}, "'trunk'"),
        ({"freeze": ("tokenizers", "trunk", "objectives", "masking")}, "nothing is left"),
        ({"lora": {"names": ("kvq",)}}, "'qkv'"),
        ({"lora": {"train": ("objectives.classification",)}}, "no part"),
        ({"lora": {"train": ("trunk",)}}, "both"),
    ],
)
def test_names_of_nothing_are_refused(changes, says):
    model = recipe("masking.video.use=random").build()
    if "lora" in changes:
        pytest.importorskip("peft")
    with pytest.raises(InputError, match=says):
        staged(model, Training(**changes))


# LoRA


@pytest.fixture
def lora() -> Training:
    pytest.importorskip("peft")
    return Training(lora={"rank": 4, "alpha": 8, "names": ("trunk",), "train": ("objectives.contrastive",)})


def test_adapters_change_nothing_at_first_and_alone_move(lora):
    made = recipe()
    model, batch = made.build(), made.example(batch_size=2)
    before = model(batch).total
    assert lora.lora is not None
    state = torch.get_rng_state()
    adapt(model, lora.lora, seed=1)
    assert torch.equal(state, torch.get_rng_state())
    torch.testing.assert_close(model(batch).total, before, rtol=1e-6, atol=0)
    names = moved(copied(model), learned(made, model))
    adapters = {name for name in model.state_dict() if ".lora_" in name}
    assert adapters and all(name.startswith("trunk.") for name in adapters)
    assert names == adapters | {name for name in model.state_dict() if name.startswith("objectives.contrastive.")}


def test_without_peft_the_remedy_is_named(lora, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(InputError, match=r"pip install 'mmmae\[lora\]'"):
        staged(recipe().build(), lora)


def test_a_checkpoint_with_adapters_comes_back_merged(lora, tmp_path):
    made = recipe("training.lora={rank: 4, alpha: 8, names: [trunk], train: [objectives.contrastive]}")
    model, batch = made.build(), made.example(batch_size=2)
    staged(model, lora)
    learned(made, model, steps=3)
    model.eval()
    model.save_pretrained(tmp_path / "run")
    merged = MaskedAutoencoder.from_pretrained(tmp_path / "run")
    plain = made.build().eval()
    assert merged.state_dict().keys() == plain.state_dict().keys()
    for name, loss in model(batch).items():
        torch.testing.assert_close(merged(batch)[name], loss, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(plain(batch).total, merged(batch).total, rtol=1e-3)
    merged.save_pretrained(tmp_path / "copy")
    again = MaskedAutoencoder.from_pretrained(tmp_path / "copy")
    assert not moved(copied(merged), copied(again))
    fresh = made.build()
    begin(fresh, made, str(tmp_path / "run"))
    assert all(torch.equal(w, merged.state_dict()[n]) for n, w in fresh.state_dict().items() if n.startswith("trunk."))


# Several runs


def runs(folder: Path, *changes: str) -> dict[str, str]:
    """One untrained run for each stream, with weights of its own."""
    for seed, stream in enumerate(STREAMS):
        alone = tiny.tiny("default", ["trunk.use=branches", "trunk.depth=2", *changes], [stream])
        alone.build(seed + 10).save_pretrained(folder / stream)
    return {stream: str(folder / stream) for stream in STREAMS}


@pytest.mark.parametrize("trunk", ["branches", "separate", "bottleneck"])
def test_each_stream_begins_with_its_own_run_and_what_they_share_is_new(tmp_path, trunk):
    changes = [f"trunk.use={trunk}", *(["trunk.fusion_depth=1"] if trunk == "bottleneck" else [])]
    start = runs(tmp_path, *changes)
    made = recipe(*changes)
    model, fresh = made.build(), copied(made.build())
    lines = begin(model, made, start)
    assert len(lines) == 2 and all(stream in line for stream, line in zip(STREAMS, lines, strict=True))
    theirs = {stream: MaskedAutoencoder.from_pretrained(path).state_dict() for stream, path in start.items()}
    for name, weight in model.state_dict().items():
        if not name.startswith(("trunk.", "tokenizers.")):
            assert torch.equal(weight, fresh[name])
            continue
        owners = [stream for stream in STREAMS if name in theirs[stream]]
        assert torch.equal(weight, theirs[owners[0]][name] if len(owners) == 1 else fresh[name]), name


def test_one_run_for_all_streams_is_that_run(tmp_path):
    made = recipe()
    made.build(7).save_pretrained(tmp_path)
    one, each = made.build(), made.build()
    begin(one, made, str(tmp_path))
    begin(each, made, dict.fromkeys(STREAMS, str(tmp_path)))
    assert not moved(copied(one), copied(each))


def test_starts_that_cannot_be_are_refused(tmp_path):
    start = runs(tmp_path)
    every = tiny.tiny("default")
    with pytest.raises(InputError, match="'video'"):
        begin(every.build(), every, {"vide": start["video"]})
    for changes, given, says in (
        ([], {"video": start["text"]}, "has no stream 'video'"),
        ([], {"video": str(tmp_path / "none")}, "no checkpoint"),
        (["trunk.use=joint"], start, "which only one run can give"),
        (["trunk.width=64"], start, "here"),
    ):
        made = recipe(*changes)
        with pytest.raises(InputError, match=says):
            begin(made.build(), made, given)


def test_what_is_trained_is_kept_with_the_recipe(tmp_path):
    made = recipe("training={freeze: [tokenizers], lora: {rank: 2}, start: {video: a, text: b}}")
    made.build().save_pretrained(tmp_path)
    found = load_recipe(tmp_path).sections.training
    assert found.freeze == ("tokenizers",) and found.start == {"video": "a", "text": "b"}
    assert found.lora is not None and found.lora.rank == 2
