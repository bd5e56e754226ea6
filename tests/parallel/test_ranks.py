"""An evaluation over several processes says and writes what one says and writes; where one of them fails, all end."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from accelerate import PartialState
from hypothesis import given
from hypothesis import strategies as st
from torch.multiprocessing import start_processes

from mmmae import Recipe
from mmmae.__main__ import main
from mmmae.corpora.writing import write_imu
from mmmae.data.manifest import Manifest
from mmmae.data.open_settings import fit
from mmmae.parallel.ranks import Ranks
from modalities.errors import InputError

WORLD = 2


@pytest.fixture(scope="module")
def walks(tmp_path_factory) -> Path:
    """Fifteen recordings of a sensor with captions, two of them bad, in the first and the second half; and a run."""
    folder = tmp_path_factory.mktemp("walks")
    rows = []
    for number in range(15):
        noise = np.random.default_rng(number)
        time = np.arange(round(50 * (0.8 + 0.3 * (number % 4)))) / 50
        write_imu(folder / f"{number}.csv", time, {"hip": noise.normal(size=(len(time), 6)) + number % 3})
        text = None if number % 5 == 4 else f"they walk {'on ' * (number % 3)}"
        side = "test" if number % 3 == 2 else "train"
        label = "ab"[number % 2]
        rows.append({"id": f"{number}", "imu": f"{number}.csv", "text": text, "label": label, "split": side})
    for number in (2, 14):
        (folder / f"{number}.csv").write_text("no table")
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = Recipe.load("default", ["size=tiny", "window=0.8", "modalities.text.length=12"], ["imu", "text"])
    fit(recipe, Manifest.open(folder), folder / "learned").build().save_pretrained(folder / "run")
    return folder


def as_rank(rank: int, words: list[str], says: Path, port: int, prepare: Callable[[int], None]) -> None:
    """The command in one of several processes; what it prints and its exit code go to files."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(WORLD), "ACCELERATE_USE_CPU": "true",
                   "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}  # fmt: skip
    sys.stdout, sys.stderr = ((says / f"{name}-{rank}").open("w", buffering=1) for name in ("out", "err"))
    PartialState._reset_state()  # what a test before left in the process that was forked
    prepare(rank)
    (says / f"code-{rank}").write_text(str(main(words)))


def together(words: list[str], says: Path, prepare: Callable[[int], None] = lambda rank: None) -> list[list[str]]:
    """Exit code, output and errors of each process, in that order."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start_processes(as_rank, (words, says, port, prepare), WORLD, start_method="fork")
    return [[(says / f"{name}-{rank}").read_text() for name in ("code", "out", "err")] for rank in range(WORLD)]


def command(walks: Path, name: str, *more: str) -> list[str]:
    name, *kind = name.split()
    return [name, str(walks / "run"), *kind, "--data", str(walks), "--workers", "0", "--batch-size", "2", *more]


COMMANDS = {
    "probe": ["--drop", "--seeds", "1", "--output"],
    "probe --kind finetune": ["--modalities", "imu", "--epochs", "1", "--seeds", "2", "--output"],
    "retrieve": ["--output"],
    "embed": ["--segment", "0.8", "--stride", "0.3", "--out"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_two_processes_make_and_say_what_one_does(walks, tmp_path, capfd, monkeypatch, name):
    monkeypatch.setattr("mmmae.probe.finetune.Tuning.length", lambda *_: 4)
    out = tmp_path / "out"
    words = command(walks, name, *COMMANDS[name], str(out))
    capfd.readouterr()
    assert main(words) == 1
    alone = {path.name: path.read_bytes() for path in out.iterdir()}
    said = capfd.readouterr().out
    assert "'2'" in said and "'14'" in said
    out.rename(tmp_path / "before")
    first, second = together(words, tmp_path)
    assert first == ["1", said, ""] and second == ["0", "", ""]
    assert {path.name: path.read_bytes() for path in out.iterdir()} == alone


def test_one_message_ends_all_processes(walks, tmp_path):
    for wish, says in {
        ("--modalities", "video"): "the run has imu, text",
        ("--batch-size", "0"): "--batch-size 0",
    }.items():
        found = together(command(walks, "probe", "--output", str(tmp_path / "out"), *wish), tmp_path)
        assert [(code, out.strip()) for code, out, _ in found] == [("2", ""), ("2", "")]
        assert "".join(err for *_, err in found).count(says) == 1


@pytest.mark.parametrize("rank", range(WORLD))
def test_a_process_that_fails_on_its_way_ends_the_others(walks, tmp_path, rank):
    def prepare(here: int) -> None:
        from mmmae.probe import features

        whole = features.encoded

        def encoded(*given):
            if here == rank:
                raise InputError(f"rank {rank} cannot go on")
            return whole(*given)

        features.encoded = encoded

    found = together(command(walks, "probe", "--output", str(tmp_path / "out")), tmp_path, prepare)
    for here, (code, out, err) in enumerate(found):
        assert (code, out.strip()) == ("2", "") and err == (
            f"mmmae: rank {rank} cannot go on\n" if here == rank else ""
        )


@given(st.integers(0, 40), st.integers(1, 9), st.integers(1, 6))
def test_shares_are_whole_batches_and_all_there_is(count, size, world):
    batches = [list(range(count))[n : n + size] for n in range(0, count, size)]
    found = []
    for number in range(world):
        ranks = Ranks()
        ranks.number, ranks.world = number, world
        own = list(ranks.share(range(count), size))
        found += [own[n : n + size] for n in range(0, len(own), size)]
    assert found == batches
