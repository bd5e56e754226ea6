"""Laws of the order: what a step reads depends on the seed alone, whatever the ranks, workers and resumes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from itertools import islice

import pytest
import torch
from clocks import assert_same, clips, recordings
from hypothesis import given
from hypothesis import strategies as st

from mmmae.data.loader import Loader, Schedule, evaluation
from modalities.errors import InputError


def joined(batches):
    """Ids and windows of the batches of all ranks, in order of rank."""
    return [(name, start) for batch in batches for name, start in zip(batch.ids, batch["video"].start, strict=True)]


@given(st.integers(1, 40), st.integers(1, 5), st.integers(1, 4), st.integers(0, 9))
def test_every_recording_comes_once_per_epoch_and_ranks_share_a_batch(samples, batch_size, world, seed):
    if samples < batch_size * world:
        with pytest.raises(InputError, match="--batch-size"):
            Schedule(samples, batch_size, world=world, seed=seed)
        return
    ranks = Schedule(samples, batch_size, world=world, seed=seed)
    single = Schedule(samples, batch_size * world, seed=seed)
    assert ranks.steps_per_epoch == single.steps_per_epoch == samples // (batch_size * world)
    for epoch in (0, 1):
        steps = range(epoch * ranks.steps_per_epoch, (epoch + 1) * ranks.steps_per_epoch)
        together = [[place for rank in range(world) for place in ranks.places(step, rank)] for step in steps]
        assert together == [single.places(step, 0) for step in steps]
        seen = [place for places in together for place in places]
        assert len(set(seen)) == len(seen) == len(steps) * batch_size * world
        assert all(e == epoch and 0 <= index < samples for e, index in seen)


def test_epochs_and_seeds_have_orders_of_their_own():
    first = Schedule(100, 100, seed=0)
    orders = [first.places(0, 0), first.places(1, 0), Schedule(100, 100, seed=1).places(0, 0)]
    assert len({tuple(index for _, index in order) for order in orders}) == 3


def test_workers_change_nothing(tmp_path):
    path = recordings(tmp_path)
    runs = [list(islice(Loader(clips(path, seed=3), 5, workers=workers), 4)) for workers in (0, 1, 2)]
    for batches in zip(*runs, strict=True):
        assert_same(batches[0], batches[1])
        assert_same(batches[0], batches[2])


def test_two_ranks_read_the_batch_of_one(tmp_path):
    dataset = clips(recordings(tmp_path))
    one = islice(Loader(dataset, 6), 4)
    two = islice(zip(Loader(dataset, 3, rank=0, world=2), Loader(dataset, 3, rank=1, world=2), strict=True), 4)
    for whole, parts in zip(one, two, strict=True):
        assert joined([whole]) == joined(parts)


def test_a_run_resumes_from_its_step(tmp_path):
    dataset = clips(recordings(tmp_path))
    run = list(islice(Loader(dataset, 5), 7))
    for batch, resumed in zip(run[3:], Loader(dataset, 5, start_step=3), strict=False):
        assert_same(batch, resumed)


def test_reading_ahead_leaves_the_model_its_random_numbers(tmp_path):
    dataset = clips(recordings(tmp_path))
    before = torch.get_rng_state()
    next(iter(Loader(dataset, 2)))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("world", [1, 2, 5])
def test_evaluation_reads_every_recording_once_in_order(tmp_path, world):
    dataset = clips(recordings(tmp_path, 11), centre=True)
    ranks = [list(evaluation(dataset, 2, rank=rank, world=world)) for rank in range(world)]
    rounds = [[batches[i] for batches in ranks if i < len(batches)] for i in range(max(map(len, ranks)))]
    assert [name for batches in rounds for name, _ in joined(batches)] == [f"r{i}" for i in range(11)]
    even = [list(evaluation(dataset, 2, rank=rank, world=world, even=True)) for rank in range(world)]
    assert len({tuple(len(batch.ids) for batch in batches) for batches in even}) == 1
    assert sum(len(batch.ids) for batches in even for batch in batches) == 11 - 11 % world


# ---------------------------------------------------------------------------------------------------- processes

SCRIPT = """
import signal, sys, time
sys.path[:0] = {paths!r}
from clocks import clips
from mmmae.data.loader import Loader
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell takes from what it starts with &
    batches = iter(Loader(clips({manifest!r}), 2, workers=2))
    try:
        while next(batches):
            print("reading", flush=True)
            {then}
    except KeyboardInterrupt:
        for _ in range(20):  # long enough to use up what was read ahead
            next(batches)
"""


@pytest.mark.parametrize("then", ["break", "sys.exit(0)", "time.sleep(60)"])
def test_workers_leave_quietly_and_survive_an_interrupt(tmp_path, then):
    script = SCRIPT.format(paths=sys.path, manifest=str(recordings(tmp_path)), then=then)
    (tmp_path / "main.py").write_text(script)
    process = subprocess.Popen(
        [sys.executable, tmp_path / "main.py"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, cwd=tmp_path,
    )  # fmt: skip
    assert process.stdout.readline() == "reading\n", process.stderr.read()
    if "sleep" in then:
        os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does: every process of the group
    assert process.wait(20) == 0 and process.stderr.read() == ""
