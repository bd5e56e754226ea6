"""Kill a training run at random moments, go on with it, and compare every bit with the run that was left alone.

    python stress/kill.py [--kills 50] [--processes 1] [--torchrun] [--seed 0] [--output FOLDER]

Each kill is a SIGKILL to one process of a fresh run: while it starts, in a step, inside saving (at a moment while a
draft of a checkpoint lies there), or to a process of the loader. The same command is then run again to its end, and the
SHA-256 of weights and moments and the losses of every step are compared. Processes are forked from one that has loaded
the libraries; `--torchrun` starts them as a user does, which takes some 20 s more for each.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "TOKENIZERS_PARALLELISM": "false"}

import psutil
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mmmae.corpora import prepare
from mmmae.storage import checkpoint
from mmmae.train import main as train

ROOT = Path(__file__).resolve().parent.parent
KINDS = {"step": 0.4, "saving": 0.3, "worker": 0.2, "start": 0.1}
STEPS, EVERY, PATIENCE = 10, 2, 120.0
ALONE = (
    10.0  # seconds that forked processes may outlive one that was killed, before they are ended as torchrun ends them
)


class Run:
    """One launch of the command: its processes, and how they ended."""

    def __init__(self, data: Path, output: Path, processes: int, torchrun: bool):
        self.output = output
        words = ["--data", str(data), "--output", str(output), "--modalities", "imu,text", "--steps", str(STEPS)]
        words += ["--save-every", str(EVERY), "--log-every", "1", "--batch-size", "8", "--workers", "1"]
        words += ["--track", "none", "size=tiny", "window=1.0", f"training.evaluate_every={STEPS}"]
        output.mkdir(parents=True, exist_ok=True)
        self.errors = open(output.with_suffix(".err"), "a")  # noqa: SIM115
        if torchrun:
            launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
            command = [*(launcher if processes > 1 else [sys.executable]), "mmmae/train.py", *words]
            self.started = [subprocess.Popen(command, cwd=ROOT, stdout=self.errors, stderr=self.errors).pid]
        else:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            self.started = [self.fork(words, rank, processes, port) for rank in range(processes)]
        self.torchrun = torchrun and processes > 1
        self.codes: dict[int, int] = {}

    def fork(self, words: list[str], rank: int, world: int, port: int) -> int:
        """What torchrun does for one rank, but for the time that loading takes."""
        child = os.fork()
        if child:
            return child
        code = 1
        try:
            if world > 1:
                places = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world}
                os.environ |= {key: str(value) for key, value in places.items()}
                os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            os.dup2(self.errors.fileno(), 1)
            os.dup2(self.errors.fileno(), 2)
            torch.set_num_threads(1)
            code = train(words)
            self.output.with_suffix(".modules").write_text("\n".join(sys.modules))
        except SystemExit as leave:
            code = int(leave.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)

    def ranks(self) -> list[int]:
        """The processes that train."""
        return [child.pid for child in children(self.started[0])] if self.torchrun else self.started

    def workers(self) -> list[int]:
        return [child.pid for rank in self.ranks() for child in children(rank)]

    def ended(self) -> bool:
        for pid in self.started:
            if pid not in self.codes and (found := os.waitpid(pid, os.WNOHANG))[0]:
                self.codes[pid] = os.waitstatus_to_exitcode(found[1])
        return len(self.codes) == len(self.started)

    def wait(self, patience: float = PATIENCE) -> bool:
        """Whether it ended in time; what had not is killed."""
        in_time = until(self.ended, patience)
        if not in_time:
            for pid in [*self.workers(), *self.ranks(), *self.started]:
                kill(pid)
            until(self.ended, PATIENCE)
        self.errors.close()
        return in_time

    def lines(self) -> int:
        log = self.output / "log.jsonl"
        return log.read_bytes().count(b"\n") if log.exists() else 0

    def saving(self) -> bool:
        home = self.output / "checkpoints"
        try:
            return any(name.startswith(".") for name in os.listdir(home))
        except FileNotFoundError:
            return False


def until(holds: Callable[[], object], patience: float, pause: float = 0.002) -> bool:
    end = time.perf_counter() + patience
    while not holds():
        if time.perf_counter() > end:
            return False
        time.sleep(pause)
    return True


def children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children()
    except psutil.Error:
        return []


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def outcome(output: Path) -> tuple[list, dict[str, str]]:
    """Losses of every step and of the evaluation, and the SHA-256 of the last checkpoint's tensors."""
    lines = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    log = [
        {key: value for key, value in line.items() if key not in ("samples_per_second", "data_wait")} for line in lines
    ]
    folder = output / "checkpoints" / f"step-{STEPS}"
    names = (checkpoint.MODEL, checkpoint.OPTIMIZER)
    return log, {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


def strike(run: Run, kind: str, draw: random.Random, begins: float, trains: float, saves: float) -> str | None:
    """Kill one process; where that was, None where the run was over before."""
    if kind == "start":
        time.sleep(draw.uniform(0, begins))
    elif kind == "saving":
        after = draw.randrange(EVERY, STEPS, EVERY)
        until(lambda: run.lines() >= after or run.ended(), PATIENCE)
        until(lambda: run.saving() or run.ended(), PATIENCE, 0.0002)
        time.sleep(draw.uniform(0, saves))
    else:
        until(lambda: run.lines() or run.ended(), PATIENCE)
        time.sleep(draw.uniform(0, trains))
    if run.ended():
        return None
    if kind == "worker":
        victims = run.workers()
    elif kind == "saving":
        victims = run.ranks()[:1]  # the one that writes
    else:
        victims = run.ranks()
    if not victims:
        return None
    kill(draw.choice(victims))
    if kind == "worker":
        return "a loader's process"
    if run.saving():
        return "inside saving"
    return "before the first step" if not run.lines() else "between or in steps"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--torchrun", action="store_true", help="start every process anew")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="where runs are kept (default: a temporary folder)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        return measure(arguments, arguments.output or Path(temporary))


def measure(arguments: argparse.Namespace, home: Path) -> int:
    draw = random.Random(arguments.seed)
    data = prepare("world", home / "world", clips=24, seconds=1.5, size=32).parent

    def launch(name: str) -> Run:
        return Run(data, home / name, arguments.processes, arguments.torchrun)

    if not arguments.torchrun:  # one run to learn what to load beforehand, so that forked ones start at once
        launch("first").wait()
        for module in (home / "first.modules").read_text().splitlines():
            with suppress(Exception):
                import_module(module)
    shutil.rmtree(home / "whole", ignore_errors=True)
    begin = time.perf_counter()
    whole, drafts = launch("whole"), 0.0
    until(lambda: whole.lines() or whole.ended(), PATIENCE)
    begins = time.perf_counter() - begin
    while not whole.ended():
        moment = time.perf_counter()
        time.sleep(0.001)
        drafts += (time.perf_counter() - moment) * whole.saving()
    trains, saves = time.perf_counter() - begin - begins, drafts / (STEPS // EVERY)
    whole.wait()
    assert set(whole.codes.values()) == {0}, whole.output.with_suffix(".err").read_text()
    expected = outcome(whole.output)

    landed, same, codes, alone, helped, bad = Counter(), 0, Counter(), [], 0, []
    for number in track(range(arguments.kills), "killing"):
        while True:
            kind = draw.choices(list(KINDS), list(KINDS.values()))[0]
            output = home / f"run-{number}"
            shutil.rmtree(output, ignore_errors=True)
            run = launch(output.name)
            where = strike(run, kind, draw, begins, trains, saves)
            moment = time.perf_counter()
            ended = run.wait(PATIENCE if arguments.torchrun else ALONE)
            alone.append(time.perf_counter() - moment)
            if where is not None and set(run.codes.values()) != {0}:
                break
        landed[where] += 1
        helped += not ended
        if where == "a loader's process":
            codes.update(run.codes.values())
        again = launch(output.name)
        finished = again.wait()
        if finished and set(again.codes.values()) == {0} and outcome(output) == expected:
            same += 1
            shutil.rmtree(output)
        else:
            bad.append((number, where, again.codes))
    table = Table("where the kill landed", "kills")
    for where, count in landed.most_common():
        table.add_row(where, str(count))
    table.add_section()
    table.add_row("all", str(arguments.kills))
    table.add_row("gone on to the same weights, moments and losses", str(same))
    console = Console()
    console.print(table)
    console.print(f"exit codes after the death of a loader's process: {dict(codes)}")
    console.print(
        f"longest that what was not killed lived on: {max(alone):.1f} s; runs that had to be ended then: {helped}"
    )
    for fault in bad:
        console.print(f"NOT THE SAME: {fault}")
    return int(same != arguments.kills)


if __name__ == "__main__":
    sys.exit(main())
