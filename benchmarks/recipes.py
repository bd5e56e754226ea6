"""Launch every recipe for some steps on the embedded world at size=tiny; a table of what each run said.

    python benchmarks/recipes.py --output runs/recipes [--steps 30] [--jobs 2] [NAME ...]

Pictures are 64 pixels wide; everything else is the recipe's own. `lv_mae` trains on what `mmmae embed` makes of the
world by the run of `videomae`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mmmae import Recipe
from mmmae.overlay import names

ROOT = Path(__file__).resolve().parent.parent


def launch(name: str, output: Path, data: Path, steps: int) -> dict:
    """The first and the last line of a recipe's log, or what it said when it failed."""
    recipe = Recipe.load(name)
    streams = {stream: recipe.stream(stream) for stream in recipe.streams}
    shapes = [f"modalities.{m}.size=64" for m, s in streams.items() if s.use == "video" and s.share is None]
    run = output / name
    if "embedding" in streams:
        data = embedded(output, data)
    options = ["--data", str(data), "--output", str(run), "--steps", str(steps), "--batch-size", "8", "--workers", "1"]
    command = [
        *("-m", "accelerate.commands.launch", "--quiet", "--num_processes", "1", "--num_machines", "1"),
        *("--mixed_precision", "no", "--dynamo_backend", "no", str(ROOT / "mmmae" / "train.py")),
        *("--recipe", name, *options, "--log-every", "10", "--track", "none", "size=tiny", *shapes),
        f"training.evaluate_every={steps}",
    ]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, env=environment())
    if done.returncode:
        return {"error": (done.stdout + done.stderr)[-2000:]}
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return {"first": lines[0]["loss"], "last": lines[-1]["loss"], "held out": lines[-1].get("evaluation/loss")}


def embedded(output: Path, data: Path) -> Path:
    """The world as sequences of embeddings."""
    out = output / "embedded"
    if not (out / "manifest.jsonl").exists():
        command = ["-m", "mmmae", "embed", str(output / "videomae"), "--data", str(data), "--segment", "1"]
        subprocess.run([sys.executable, *command, "--out", str(out)], check=True, env=environment())
    return out


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", metavar="NAME", help="all of them by default")
    parser.add_argument("--output", type=Path, default=Path("runs/recipes"))
    parser.add_argument("--data", type=Path, default=Path("data/world"))
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--jobs", type=int, default=1, help="runs at once")
    arguments = parser.parse_args()
    chosen = sorted(arguments.recipes or names(), key="lv_mae".__eq__)  # last: it reads what another run embeds
    with ThreadPoolExecutor(arguments.jobs) as pool:
        found = list(pool.map(lambda name: launch(name, arguments.output, arguments.data, arguments.steps), chosen))
    table = Table("recipe", "first loss", "last loss", "held out")
    for name, said in zip(chosen, found, strict=True):
        figures = [said.get(key) for key in ("first", "last", "held out")]
        table.add_row(
            name, *(("" if x is None else f"{x:.4g}" for x in figures) if "error" not in said else ["failed"])
        )
    Console().print(table)
    for name, said in zip(chosen, found, strict=True):
        if "error" in said:
            print(f"--- {name}\n{said['error']}")
    sys.exit(any("error" in said for said in found))


if __name__ == "__main__":
    main()
