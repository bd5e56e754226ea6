"""Launch every recipe by its name alone on the synthetic world at size=tiny; a table of what each run used and reached.

    python benchmarks/recipes.py --output runs/recipes [--steps 3] [NAME ...]

Each is `accelerate launch mmmae/train.py --recipe NAME --data DIR --steps 3 size=tiny`, one after the other; nothing
but the run's folder is added. `lv_mae` is launched twice: on the world, to see what it says, and on what `mmmae embed`
makes of the world by the run of `videomae`. `seconds` pass on the clock, `of cores` is what processors worked in all;
memory is that of all processes of the run (shared pages count once).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from mmmae import Recipe
from mmmae.corpora import prepare
from mmmae.recipes.files import names

ROOT = Path(__file__).resolve().parent.parent
BEAT = 0.5  # seconds between looks at the memory
LONGEST = 600.0  # seconds until a run is given up
COLUMNS = (
    "recipe",
    "batch",
    "used",
    "piece",
    "workers",
    "seconds",
    "of cores",
    "GB",
    "first loss",
    "last loss",
    "held out",
)


def launch(name: str, run: Path, data: Path, steps: int) -> dict:
    """What a run used and reached, or what it said when it failed."""
    command = [
        *("-m", "accelerate.commands.launch", str(ROOT / "mmmae" / "train.py"), "--recipe", name, "--data", str(data)),
        *("--steps", str(steps), "--output", str(run), "size=tiny"),
    ]
    begin, worked, peak = time.perf_counter(), busy(), 0
    said = run.with_suffix(".log")
    with said.open("w") as log:
        process = subprocess.Popen([sys.executable, *command], stdout=log, stderr=log)
        while process.poll() is None and time.perf_counter() - begin < LONGEST:
            peak = max(peak, held(process.pid))
            time.sleep(BEAT)
        process.kill()
    code = process.wait()
    found = {"seconds": time.perf_counter() - begin, "of cores": busy() - worked, "GB": peak / 2**30}
    found["batch"] = Recipe.load(name).sections.training.batch_size
    if code:
        lines = [line for line in said.read_text().splitlines() if line.strip()]
        start = next((n for n, line in enumerate(lines) if line.startswith("mmmae: ") and "parameters" not in line), 0)
        return found | {"message": "\n".join(lines[start : start + 4])}
    training = json.loads((run / "checkpoints" / f"step-{steps}" / "recipe.json").read_text())["recipe"]["training"]
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    losses = {"first loss": log[0]["loss"], "last loss": log[-1]["loss"], "held out": log[-1].get("evaluation/loss")}
    return found | {"used": training["batch_size"], **{key: training[key] for key in ("piece", "workers")}} | losses


def busy() -> float:
    """Seconds that processors have worked for processes that this one began and that have ended."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def held(number: int) -> int:
    """Bytes of a process and all that it began."""
    total = 0
    with suppress(psutil.Error):
        process = psutil.Process(number)
        for one in (process, *process.children(recursive=True)):
            with suppress(psutil.Error):
                total += one.memory_full_info().pss
    return total


def embedded(run: Path, data: Path, out: Path) -> Path:
    """The world as sequences of embeddings, one for each second."""
    if not (out / "manifest.jsonl").exists():
        command = ["-m", "mmmae", "embed", str(run), "--data", str(data), "--segment", "1", "--out", str(out)]
        subprocess.run([sys.executable, *command], check=True)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", metavar="NAME", help="all of them by default")
    parser.add_argument("--output", type=Path, default=Path("runs/recipes"))
    parser.add_argument("--data", type=Path, help="default: the world, written to OUTPUT/world")
    parser.add_argument("--steps", type=int, default=3)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    data = arguments.data or prepare("world", arguments.output / "world").parent
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    found: dict[str, dict] = {}
    for name in sorted(arguments.recipes or names(), key="lv_mae".__eq__):  # last: it reads what another run embeds
        found[name] = launch(name, arguments.output / name, data, arguments.steps)
        print(name, json.dumps(found[name]), flush=True)
        if name == "lv_mae" and (arguments.output / "videomae" / "checkpoints").exists():
            made = embedded(arguments.output / "videomae", data, arguments.output / "embedded")
            run = arguments.output / "lv_mae-embedded"
            found["lv_mae, after embed"] = launch(name, run, made, arguments.steps)
    table = Table(*COLUMNS)
    for name, said in found.items():
        cells = [said.get(key, "") for key in COLUMNS[1:]]
        table.add_row(name, *(f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in cells))
    Console(width=140).print(table)
    for name, said in found.items():
        if "message" in said:
            print(f"--- {name}\n{said['message']}")
    sys.exit(any("message" in said and name != "lv_mae" for name, said in found.items()))


if __name__ == "__main__":
    main()
