"""A recipe by its name runs as it is: batch, pieces and workers follow corpus, memory and cores, and are recorded."""

from __future__ import annotations

import ctypes
import gc
import json
import shutil
from argparse import Namespace
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from walks import QUIET, SMALL, walks

from mmmae.api import Recipe
from mmmae.launch import guarded, out_of_memory
from mmmae.recipes import files as recipes
from mmmae.train import main
from mmmae.training import machine
from mmmae.training.batching import LEAST, STEPS, fitting_batch, pieces_for
from mmmae.training.footprint import Footprint, Growth, Trial
from mmmae.training.optim import peak
from modalities.errors import InputError

counts = st.integers(1, 3000)


@given(counts, st.integers(1, 9000), st.sampled_from([1, 2, 3, 8]), st.sampled_from([1, 2, 4]))
def test_a_batch_fits_the_corpus(recordings, intended, world, repeats):
    unit = world * repeats
    batch = fitting_batch(intended, recordings, unit, repeats)
    assert batch % unit == 0 and (batch <= recordings * repeats or batch == unit)
    assert batch <= max(intended, unit)
    assert batch <= max(recordings / STEPS, LEAST, unit)
    if intended <= min(recordings, max(recordings / STEPS, LEAST)) and intended % unit == 0:
        assert batch == intended


@given(counts, st.integers(1, 64), st.integers(1, 5000))
def test_pieces_are_equal_and_as_few_as_fit(parts, unit, most):
    batch, pieces = parts * unit, pieces_for(parts * unit, unit, most)
    assert batch % pieces == 0 and batch // pieces % unit == 0
    assert batch // pieces <= max(most, unit)
    fewer = [n for n in range(1, pieces) if batch % n == 0 and batch // n % unit == 0]
    assert all(batch // n > most for n in fewer)


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_finds_a_batch_for_the_world(name):
    sections = Recipe.load(name).sections
    batch = fitting_batch(sections.training.batch_size, 480, sections.data.repeats, sections.data.repeats)
    assert sections.data.repeats <= batch <= 480 / STEPS
    assert sections.training.batch_size % batch == 0  # halved, so that processes divide both alike


# Runs


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return walks(tmp_path_factory.mktemp("walks"), 20)


def command(data: Path, output: Path, *more: str) -> list[str]:
    common = ["--recipe", "imu_mae", "--data", str(data), "--output", str(output), "window=0.8", "trunk.depth=1"]
    known = ["modalities.imu.mean=[0, 0, 0, 0, 0, 0]", "modalities.imu.std=[1, 1, 1, 1, 1, 1]"]  # not learned
    return [*common, *known, "size=tiny", "data.holdout=0.2", "--log-every", "1", "--track", "none", *more]


def settings(output: Path, step: int) -> dict:
    return json.loads((output / "checkpoints" / f"step-{step}" / "recipe.json").read_text())["recipe"]["training"]


def log(output: Path) -> list[dict]:
    return [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]


def little(monkeypatch, samples: int) -> None:
    """Let memory hold so many samples."""

    def measure(self, most: int) -> Footprint:
        return Footprint(0, 100, 0, 0.0, int(samples * 100 * 1.25 / 0.8) + 1)

    monkeypatch.setattr(Trial, "measure", measure)


def test_a_recipe_larger_than_the_corpus_trains_and_says_so(data, tmp_path, capsys):
    assert main(command(data, tmp_path / "run", "--steps", "2", "--workers", "0")) == 0
    said = capsys.readouterr().err
    assert "16 samples a step instead of the 256 of imu_mae: there are 17 recordings to train on" in said
    assert "memory       about " in said
    used = settings(tmp_path / "run", 2)
    assert (used["batch_size"], used["piece"]) == (16, 16)
    optimizer = Recipe.load("imu_mae").sections.optimizer
    assert max(line["learning_rate"] for line in log(tmp_path / "run")) == pytest.approx(peak(optimizer, 16), rel=1e-5)


@pytest.mark.parametrize("flag", [["--batch-size", "256"], ["training.batch_size=256"]])
def test_a_batch_that_was_asked_for_and_cannot_be_had_is_refused(data, tmp_path, capsys, monkeypatch, flag):
    monkeypatch.setattr(Trial, "measure", lambda *_: pytest.fail("refused before anything is tried"))
    assert main(command(data, tmp_path / "run", "--steps", "2", *flag)) == 2
    said = capsys.readouterr().err
    assert "a batch of 256 recordings" in said and "more than the 17" in said and "leave it away" in said


def test_memory_decides_the_piece(data, tmp_path, capsys, monkeypatch):
    plain = command(data, tmp_path / "plain", "--steps", "2", "--workers", "0")
    assert main(plain) == 0
    little(monkeypatch, samples=5)
    assert main(command(data, tmp_path / "pieces", "--steps", "2", "--workers", "0")) == 0
    assert settings(tmp_path / "pieces", 2)["piece"] == 4
    assert "for 16 samples a step in 4 pieces of 4" in capsys.readouterr().err
    for one, other in zip(log(tmp_path / "plain"), log(tmp_path / "pieces"), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)


def test_what_memory_cannot_hold_is_said_beforehand(data, tmp_path, capsys, monkeypatch):
    little(monkeypatch, samples=0)
    assert main(command(data, tmp_path / "run", "--steps", "1", "--workers", "0")) == 0
    said = capsys.readouterr().err
    assert settings(tmp_path / "run", 1)["piece"] == 1
    assert said.index("that may not fit") < said.index("step 1/1")


def test_pieces_of_a_contrast_are_said_to_compare_less(data, tmp_path, capsys, monkeypatch):
    little(monkeypatch, samples=4)
    both = ["--data", str(data), "--modalities", "imu,text", *QUIET, *SMALL, "--steps", "1", "--batch-size", "8"]
    assert main([*both, "--output", str(tmp_path / "both")]) == 0
    assert "contrastive compares the 4 samples of a piece with each other, not all 8" in capsys.readouterr().err
    little(monkeypatch, samples=8)
    assert main([*both, "--output", str(tmp_path / "whole")]) == 0
    assert "compares" not in capsys.readouterr().err


@pytest.mark.parametrize("batch", [(), ("--batch-size", "16")], ids=["of the recipe", "given"])
def test_a_run_goes_on_with_the_pieces_it_began_with(data, tmp_path, monkeypatch, batch):
    with monkeypatch.context() as small:
        little(small, samples=4)
        assert main(command(data, tmp_path / "once", "--steps", "4", "--workers", "0", *batch)) == 0
        assert (
            main(command(data, tmp_path / "twice", "--steps", "4", "--workers", "0", *batch, "--save-every", "2")) == 0
        )
    shutil.rmtree(tmp_path / "twice" / "checkpoints" / "step-4")
    assert main(command(data, tmp_path / "twice", "--steps", "4", "--workers", "0", *batch, "--save-every", "2")) == 0
    assert settings(tmp_path / "twice", 4)["piece"] == 4
    for name in ("model.safetensors", "optimizer.safetensors"):
        one, other = ((tmp_path / run / "checkpoints" / "step-4" / name).read_bytes() for run in ("once", "twice"))
        assert one == other, name


def test_a_run_keeps_its_batch_when_the_corpus_grows(tmp_path, capsys):
    data, output = walks(tmp_path / "data", 12), tmp_path / "run"
    assert main(command(data, output, "--steps", "1", "--workers", "0")) == 0
    first = settings(output, 1)["batch_size"]
    walks(tmp_path / "data", 30)
    assert main(command(data, output, "--steps", "2", "--workers", "0")) == 0
    assert settings(output, 2)["batch_size"] == first == 8
    assert main(command(data, output, "--steps", "3", "--workers", "0", "--batch-size", "12")) == 0
    assert (settings(output, 3)["batch_size"], settings(output, 3)["piece"]) == (12, 12)


@pytest.mark.parametrize(
    "given, pieces", [("training.piece=5", 4), ("training.accumulate=8", 2), ("training.piece=99", 16)]
)
def test_pieces_that_were_asked_for_are_used(data, tmp_path, given, pieces):
    assert main(command(data, tmp_path / "run", "--steps", "1", "--workers", "0", given)) == 0
    used = settings(tmp_path / "run", 1)
    assert used["batch_size"] == 16 and used["piece"] == pieces


def test_workers_are_as_many_as_cores(data, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("mmmae.training.batching.cores", lambda: 1)
    assert main(command(data, tmp_path / "run", "--steps", "1", "training.epochs=1")) == 0
    assert settings(tmp_path / "run", 1)["workers"] == 1
    assert "workers      1 instead of 2: there are 1 cores" in capsys.readouterr().err
    assert main(command(data, tmp_path / "more", "--steps", "1", "--workers", "2")) == 0
    assert settings(tmp_path / "more", 1)["workers"] == 2


def test_workers_leave_room_for_the_run(data, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("mmmae.training.batching.cores", lambda: 64)
    monkeypatch.setattr("mmmae.training.batching.free_memory", lambda: 2**30)
    assert main(command(data, tmp_path / "run", "--steps", "1")) == 0
    assert "workers      1 instead of 2: memory has room for 1" in capsys.readouterr().err


# What is measured


def trial(name: str, *overrides: str) -> Trial:
    recipe = Recipe.load(name, ["size=tiny", *overrides])
    return Trial(recipe.build(), recipe, recipe.augment(), torch.device("cpu"), nullcontext)


def test_a_trial_tells_what_a_pass_takes():
    made = trial("videomae", "modalities.video.size=112")
    found = made.measure(16)
    batch = made.batch(16)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # memory that tests before have freed would hide the growth
    with Growth() as growth:
        made.run(batch)
    made.clear()
    assert 0.6 * growth.bytes < found.need(16) < 4 * growth.bytes, (growth.bytes, found)
    assert found.record == 16 * 3 * 112 * 112 and found.seconds > 0


def test_a_trial_leaves_nothing_behind():
    made = trial("cav_mae", "modalities.video.size=64")
    weights = {name: tensor.clone() for name, tensor in made.model.state_dict().items()}
    drawn = torch.get_rng_state()
    made.measure(4)
    assert torch.equal(drawn, torch.get_rng_state())
    assert all(torch.equal(tensor, weights[name]) for name, tensor in made.model.state_dict().items())
    assert all(p.grad is None for p in made.model.parameters())


def test_containers_limit_memory_and_cores(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "cgroups", lambda: iter([tmp_path]))
    everything, all_cores = machine.free_memory(), machine.cores()
    (tmp_path / "memory.max").write_text(f"{3 * 2**20}\n")
    (tmp_path / "memory.current").write_text(f"{2 * 2**20}\n")
    (tmp_path / "memory.stat").write_text("anon 5\ninactive_file 7\n")
    assert machine.free_memory() == 2**20 + 7 < everything
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.free_memory() > 2**20 + 7
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    assert machine.cores() == 1
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert machine.cores() == all_cores


# Running out


def exhausted(*_: object, **__: object) -> int:
    return len(torch.empty(2**55))


def test_memory_that_runs_out_is_told_with_a_remedy(capsys):
    with pytest.raises(RuntimeError) as caught:
        exhausted()
    assert out_of_memory(caught.value) and out_of_memory(MemoryError())
    assert out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    assert not out_of_memory(RuntimeError("shapes differ"))
    assert guarded(exhausted, Namespace()) == 2
    assert "memory ran out" in capsys.readouterr().err
    with pytest.raises(RuntimeError, match="shapes"):
        guarded(lambda _: (_ for _ in ()).throw(RuntimeError("shapes")), Namespace())


def test_a_run_whose_memory_runs_out_names_the_piece_that_helps(data, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("mmmae.training.trainer.Trainer.prepare", exhausted)
    assert main(command(data, tmp_path / "run", "--steps", "1", "--workers", "0")) == 2
    said = capsys.readouterr().err
    assert "memory ran out at step 1, in pieces of 16 samples" in said and "training.piece=8" in said


# What another command makes


@pytest.mark.parametrize("name", ["folder", "sensors", "captions"])
def test_embeddings_that_are_missing_name_their_command(tmp_path, capsys, name):
    if name == "folder":
        (tmp_path / "a.mp4").write_bytes(b"")
    else:
        walks(tmp_path, 4, felt=lambda number: name == "sensors")
    assert main(["--recipe", "lv_mae", "--data", str(tmp_path), "--steps", "3", "size=tiny"]) == 2
    said = capsys.readouterr().err
    assert "mmmae embed RUN --data" in said and "--modalities" not in said


def test_a_discriminator_is_as_wide_as_its_size():
    def width(*overrides: str) -> int:
        recipe = Recipe.load("marlin", list(overrides))
        with torch.device("meta"):
            model = recipe.build()
        return model.objectives["adversarial"].discriminators["video"][0].out_features

    assert (width(), width("size=tiny"), width("size=small")) == (1536, 256, 768)


def test_errors_of_the_loader_stay_errors():
    assert not out_of_memory(InputError("a loader worker died"))
