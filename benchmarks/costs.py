"""What our own training costs: by length of the sequence, by modalities, by processes, and before it begins.

    python benchmarks/costs.py {length,modalities,processes,startup} [--rounds 5] [--json FILE]

length, modalities: seconds of a training step (forward, backward, AdamW; batch 4, float32) of videomae at size=small
with 8 to 64 frames, and of everything at size=small with one to four modalities; medians and quartiles of interleaved
rounds. processes: samples/s of `mmmae train` on the synthetic world by torchrun with one process and with two, one
thread each. startup: seconds until `mmmae --help` ends, until `import mmmae` does, and from launch to the first loss.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from timeit import timeit

import numpy as np
from rich.console import Console
from rich.table import Table

from mmmae import Recipe
from mmmae.training.optim import adamw

ROOT = Path(__file__).resolve().parent.parent
TRAIN = [str(ROOT / "mmmae" / "train.py"), "--workers", "1", "--track", "none", "training.evaluate_every=1000000"]


def trained(name: str, overrides: list[str], streams: list[str] | None) -> tuple[Callable[[], None], int]:
    """A training step of a recipe, and how many tokens its trunk sees of a sample."""
    recipe = Recipe.load(name, ["size=small", *overrides], streams)
    model, example = recipe.build(0), recipe.example(4)
    optimizer = adamw(model, recipe.sections.optimizer)
    seen = sum(tokens.x.shape[1] for tokens in model.step(example).embedded.values())

    def step() -> None:
        model(example).total.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step, seen


def interleaved(steps: dict[str, tuple[Callable[[], None], int]], rounds: int) -> list[dict]:
    """Seconds of each step in every round, after one that does not count."""
    found: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds + 1):
        for name, (step, _) in steps.items():
            seconds = timeit(step, number=1)
            if number:
                found[name].append(seconds)
    return [{"name": name, "unit": "s", "visible tokens": steps[name][1], "values": found[name]} for name in steps]


def length(rounds: int) -> list[dict]:
    frames = (8, 16, 32, 64)
    steps = {f"{n} frames": trained("videomae", [f"modalities.video.frames={n}"], None) for n in frames}
    return interleaved(steps, rounds)


def modalities(rounds: int) -> list[dict]:
    sets = (
        ["video"],
        ["audio"],
        ["imu"],
        ["video", "audio"],
        ["video", "audio", "imu"],
        ["video", "audio", "imu", "text"],
    )
    return interleaved({"+".join(streams): trained("everything", [], streams) for streams in sets}, rounds)


def processes(rounds: int) -> list[dict]:
    """Samples/s that the run itself reports, the first lines left out."""
    found = {1: [], 2: []}
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    for _ in range(rounds):
        for count in found:
            with tempfile.TemporaryDirectory() as folder:
                command = [
                    sys.executable,
                    "-m",
                    "torch.distributed.run",
                    "--standalone",
                    "--nproc_per_node",
                    str(count),
                ]
                options = ["--output", folder, "--steps", "60", "--log-every", "20", "--batch-size", "16"]
                subprocess.run([*command, *TRAIN, *options], check=True, env=environment, capture_output=True)
                lines = (Path(folder) / "log.jsonl").read_text(encoding="utf-8").splitlines()
            found[count].append(json.loads(lines[-1])["samples_per_second"])
    return [{"name": f"{count} processes", "unit": "samples/s", "values": values} for count, values in found.items()]


def startup(rounds: int) -> list[dict]:
    found: dict[str, list[float]] = {"mmmae --help": [], "import mmmae": [], "launch to first loss": []}
    for _ in range(rounds):
        found["mmmae --help"].append(ended([sys.executable, "-m", "mmmae", "--help"]))
        found["import mmmae"].append(ended([sys.executable, "-c", "import mmmae"]))
        found["launch to first loss"].append(first_loss())
    return [{"name": name, "unit": "s", "values": values} for name, values in found.items()]


def ended(command: list[str]) -> float:
    begin = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - begin


def first_loss() -> float:
    """Seconds from `accelerate launch` to the line of step 1."""
    launch = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--quiet",
        "--num_processes",
        "1",
        "--num_machines",
        "1",
    ]
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *launch,
            "--mixed_precision",
            "no",
            "--dynamo_backend",
            "no",
            *TRAIN,
            "--output",
            folder,
            "--steps",
            "2",
        ]
        begin = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert process.stdout is not None
        seconds = next(time.perf_counter() - begin for line in process.stdout if re.search(r"step 1/2\b.*loss", line))
        process.stdout.read()
        process.wait()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = {"length": length, "modalities": modalities, "processes": processes, "startup": startup}
    parser.add_argument("what", choices=list(known))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    rows = known[arguments.what](arguments.rounds)
    table = Table(
        arguments.what, *(["visible tokens"] if "visible tokens" in rows[0] else []), rows[0]["unit"], "quartiles"
    )
    for row in rows:
        low, median, high = np.percentile(row["values"], [25, 50, 75])
        seen = [str(row["visible tokens"])] if "visible tokens" in row else []
        table.add_row(row["name"], *seen, f"{median:.3g}", f"{low:.3g}-{high:.3g}")
    Console().print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
