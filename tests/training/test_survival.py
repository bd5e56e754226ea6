"""Steps that are not finite, signals, and processes that die or hang: real runs, and what is left of them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from places import ROOT
from small_runs import SMALL, log_of
from torch.distributed import TCPStore

from mmmae.corpora import prepare
from mmmae.parallel.signals import Interrupt
from mmmae.parallel.watchdog import ENDED, Watch, here
from mmmae.storage.checkpoint import saved

TWO = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
FAULTY = str(ROOT / "tests" / "faulty.py")


@pytest.fixture(scope="module")
def walks(tmp_path_factory) -> Path:
    """Sixteen recordings, of which only the captions are read."""
    folder = tmp_path_factory.mktemp("corpus") / "world"
    return prepare("world", folder, clips=16, seconds=1.5, size=16).parent


def arguments(data: Path, output: Path, *more: str) -> list[str]:
    return ["--data", str(data), "--output", str(output), "--modalities", "text", *SMALL,
            "training.evaluate_every=100", *more]  # fmt: skip


@contextmanager
def running(words: list[str], **settings: str) -> Iterator[subprocess.Popen]:
    """A command in a group of processes of its own, of which nothing stays."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "PYTHONPATH": str(ROOT), **settings}
    process = subprocess.Popen(
        [sys.executable, *words], env=env, cwd=ROOT, text=True, start_new_session=True, stderr=subprocess.PIPE
    )
    try:
        yield process
    finally:
        for one in members(process.pid):
            one.kill()
        process.wait()


def members(group: int) -> list[psutil.Process]:
    """Who lives in a group of processes, whoever their parents are by now."""
    alive = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                alive.append(process)
        except (psutil.NoSuchProcess, ProcessLookupError):
            continue
    return alive


def wait_for(condition, seconds: float = 100.0) -> float:
    """Seconds until a condition holds."""
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < seconds, "waited too long"
        time.sleep(0.05)
    return time.monotonic() - begin


def steps_of(output: Path) -> int:
    path = output / "log.jsonl"
    return path.read_text().count("\n") if path.exists() else 0


def latest(output: Path) -> Path | None:
    """The newest checkpoint of a run."""
    return [None, *saved(output).values()][-1]


def bits(output: Path) -> list[bytes]:
    folder = latest(output)
    assert folder is not None
    return [(folder / name).read_bytes() for name in ("model.safetensors", "optimizer.safetensors")]


def skipped(output: Path) -> list[dict]:
    return [json.loads(line) for line in (output / "skipped_steps.jsonl").read_text().splitlines()]


def test_a_step_that_is_not_finite_on_one_rank_changes_nothing_on_any(walks, tmp_path):
    left_out = [["left out", rank, step] for rank in (0, 1) for step in (2, 4)]
    for name, faults in {"faulty": [["nan", 1, 2], ["infinite", 0, 4]], "without": left_out}.items():
        words = [*TWO, FAULTY, *arguments(walks, tmp_path / name, "--steps", "5", "--save-every", "5")]
        with running(words, FAULTS=json.dumps(faults)) as process:
            errors = process.communicate(timeout=100)[1]
            assert process.returncode == 0, errors
    assert bits(tmp_path / "faulty") == bits(tmp_path / "without")
    loss, gradient = skipped(tmp_path / "faulty")
    assert (loss["step"], loss["what"]) == (2, "loss") and (gradient["step"], gradient["what"]) == (4, "gradient")
    assert loss["ranks"] == [1] and len(loss["samples"]) == 4  # its half of the batch
    losses = [one["loss"] for one in log_of(tmp_path / "faulty")]
    assert [step for step, loss in enumerate(losses, 1) if loss is None] == [2]
    assert not (tmp_path / "without" / "skipped_steps.jsonl").exists()


def test_ten_steps_in_a_row_end_the_run_and_nine_do_not(walks, tmp_path):
    for name, count, code in (("nine", 9, 0), ("ten", 10, 3)):
        faults = [["nan", 0, step] for step in range(3, 3 + count)]
        words = [FAULTY, *arguments(walks, tmp_path / name, "--steps", "14", "--save-every", "2")]
        with running(words, FAULTS=json.dumps(faults)) as process:
            errors = process.communicate(timeout=100)[1]
        assert process.returncode == code and "Traceback" not in errors, errors
        assert len(skipped(tmp_path / name)) == count
    assert "step 12: the loss is not finite for 10 steps in a row" in errors and "optimizer.lr" in errors


def test_the_policy_to_halt_leaves_the_weights_before(walks, tmp_path):
    more = ["--steps", "6", "--save-every", "1", "training.nonfinite=halt"]
    words = [FAULTY, *arguments(walks, tmp_path / "run", *more)]
    with running(words, FAULTS=json.dumps([["nan", 0, 3]])) as process:
        errors = process.communicate(timeout=100)[1]
    assert process.returncode == 3 and "step 3: the loss is not finite" in errors
    newest = latest(tmp_path / "run")
    assert newest is not None and newest.name == "step-2"


def train(words: list[str]) -> str:
    """A whole run; what it said."""
    with running(["-m", "mmmae", "train", *words]) as process:
        errors = process.communicate(timeout=100)[1]
        assert process.returncode == 0, errors
    return errors


@pytest.fixture(scope="module")
def whole(walks, tmp_path_factory) -> Path:
    """A run of a hundred steps that nobody disturbed."""
    output = tmp_path_factory.mktemp("runs") / "whole"
    train(arguments(walks, output, "--steps", "100", "--save-every", "100"))
    return output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_all_processes_saves_ends_and_resumes_exactly(walks, whole, tmp_path, number):
    output = tmp_path / "run"
    common = arguments(walks, output, "--steps", "100", "--save-every", "100")
    with running(["-m", "mmmae", "train", *common, "--workers", "1"]) as process:
        wait_for(lambda: steps_of(output) >= 3)
        os.killpg(process.pid, number)
        process.wait(timeout=10)
        wait_for(lambda: not members(process.pid), 2.0)
        errors = process.communicate()[1]
    assert process.returncode == 128 + number and "Traceback" not in errors, errors
    folder = latest(output)
    assert folder is not None and folder.name != "step-100"
    assert f"stopped at step {folder.name.removeprefix('step-')} of 100 as asked" in errors
    assert f"resuming at step {folder.name.removeprefix('step-')}" in train(common)
    assert bits(output) == bits(whole)
    assert [line["loss"] for line in log_of(output)] == [line["loss"] for line in log_of(whole)]


def test_a_second_signal_leaves_at_once(walks, tmp_path):
    output = tmp_path / "run"
    words = [FAULTY, *arguments(walks, output, "--steps", "9", "--save-every", "9")]
    with running(words, FAULTS='[["slow", 0, 3]]') as process:
        wait_for(lambda: steps_of(output) >= 2)
        time.sleep(0.5)
        process.terminate()
        time.sleep(0.3)
        process.terminate()  # an echo, not a second wish
        time.sleep(1.5)
        assert process.poll() is None
        process.terminate()
        assert process.wait(timeout=2) == 143
    assert latest(output) is None


def test_a_process_that_has_ended_is_missed_at_once_unless_it_said_so(monkeypatch):
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(store.port))
    first, second = (Watch(rank, 2, timeout=60.0, interrupt=Interrupt()) for rank in (0, 1))
    with running(["-c", "input()"]) as other:
        number = other.pid
    for doing, message in (("saving", "rank 1 died (after step 7, saving)"), (ENDED, None)):
        store.set("mmmae/watch/1", json.dumps([1, 7, doing, here(), number]))
        first.exchange(store)
        assert (first.dead() or "").partition("\n")[0] == (message or "")
        assert first.verdict() is None  # a process may end before the launcher asks the others to
        first.interrupt.signal = signal.SIGTERM
        assert first.verdict() == first.dead()
        first.interrupt.signal = None
    store.set("mmmae/watch/1", json.dumps([2, 8, "saving", "elsewhere", number]))
    first.exchange(store)
    assert first.dead() is None  # a number says nothing of another machine
    second.start()
    second.at(9, ENDED)
    second.close()
    assert not second.is_alive()  # a thread that Python's end finds inside the store would abort the process
    first.exchange(store)
    assert first.processes[1].doing == ENDED and first.processes[1].step == 9


def test_when_a_rank_dies_the_others_are_gone_in_five_seconds_and_say_who(walks, tmp_path):
    output = tmp_path / "run"
    words = [*TWO, "mmmae/train.py", *arguments(walks, output, "--workers", "1", "--steps", "100000")]
    with running(words) as process:
        wait_for(lambda: steps_of(output) >= 3)
        time.sleep(1.0)  # a few signs of life
        ranks = psutil.Process(process.pid).children()
        victim = next(rank for rank in ranks if rank.environ()["RANK"] == "1")
        victim.kill()
        assert wait_for(lambda: not any(p.pid != process.pid for p in members(process.pid)), 10.0) < 5.0
        errors = process.communicate(timeout=20)[1]
    assert process.returncode != 0
    found = re.search(r"mmmae: rank 1 died \(after step (\d+), ", errors)
    assert found and 3 <= int(found[1]) <= steps_of(output) + 1, errors


def test_when_a_rank_hangs_the_others_end_after_the_timeout_and_say_who(walks, tmp_path):
    output = tmp_path / "run"
    words = [*TWO, "mmmae/train.py", *arguments(walks, output, "--steps", "100000", "training.timeout=6")]
    with running(words) as process:
        wait_for(lambda: steps_of(output) >= 3)
        ranks = {rank.environ()["RANK"]: rank for rank in psutil.Process(process.pid).children()}
        ranks["1"].suspend()
        assert 3.0 < wait_for(lambda: not ranks["0"].is_running() or ranks["0"].status() == "zombie", 20.0) < 12.0
        ranks["1"].kill()
        errors = process.communicate(timeout=40)[1]
    assert re.search(r"mmmae: rank 1 has not moved on for 6 s \(after step \d+, ", errors), errors
