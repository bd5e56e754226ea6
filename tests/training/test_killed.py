"""Real training, in a process of its own: killed while it saves, or with a worker of its killed."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import failing
import psutil
import pytest
from failing import Disk, fork, on
from small_runs import SMALL, log_of

from mmmae.corpora import prepare
from mmmae.storage import checkpoint
from mmmae.train import main


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    return prepare("world", tmp_path_factory.mktemp("corpus") / "world", clips=12, seconds=1.0, size=32).parent


def command(world: Path, output: Path) -> list[str]:
    settings = ["--modalities", "imu", "--steps", "6", "--save-every", "2", "size=tiny", "training.evaluate_every=6"]
    return ["--data", str(world), "--output", str(output), *SMALL, *settings]


def outcome(output: Path) -> tuple[list[dict], dict]:
    """Losses of every step, and the last checkpoint's weights and moments."""
    log = [{k: v for k, v in line.items() if k not in ("samples_per_second", "data_wait")} for line in log_of(output)]
    folder = checkpoint.find(output)
    return log, {name: (folder / name).read_bytes() for name in (checkpoint.MODEL, checkpoint.OPTIMIZER)}


def test_a_run_killed_while_saving_ends_as_if_nothing_had_happened(world, tmp_path):
    disk = Disk()
    with on(disk):
        assert main(command(world, tmp_path / "whole")) == 0
    renames = [number for number, event in enumerate(disk.events) if event[0] == "rename" and "draft" in event[1]]
    second = renames[2]  # after the log's own and the first checkpoint's
    for at in (second - 9, second + 1):
        output = tmp_path / f"killed-{at}"
        with on(Disk(at, failing.killed)):
            assert fork(lambda output=output: main(command(world, output))) == -signal.SIGKILL
        with open(output / "log.jsonl", "a") as log:
            log.write('{"step": 5, "los')
        assert fork(lambda output=output: main(command(world, output))) == 0
        assert outcome(output) == outcome(tmp_path / "whole")


@pytest.mark.timeout(120)
def test_a_killed_worker_ends_the_run_with_a_message(world, tmp_path):
    output = tmp_path / "run"
    arguments = [*command(world, output), "--workers", "1", "--steps", "2000", "--save-every", "2"]
    child = os.fork()
    if child == 0:
        sys.stderr = open(tmp_path / "errors", "w", buffering=1)  # noqa: SIM115
        os._exit(main(arguments))
    while not (output / "log.jsonl").exists() or not (workers := psutil.Process(child).children()):
        time.sleep(0.01)
    time.sleep(0.3)
    workers[0].kill()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
    errors = (tmp_path / "errors").read_text()
    assert "Traceback" not in errors
    assert "mmmae: a loader worker died" in errors and "the same command resumes the run" in errors
