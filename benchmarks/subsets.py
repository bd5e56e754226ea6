"""Train on every non-empty subset of video, audio, IMU and text; a table of what each run learned on held-out data.

    python benchmarks/subsets.py --output runs/subsets [--steps 150] [--jobs 2]

Each row is a run of `mmmae train --modalities SUBSET` on the synthetic world, measured by benchmarks/learned.py: the
held-out error of each stream divided by that of the best constant, and R@1 of retrieval averaged over all directions.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path

from rich.console import Console
from rich.table import Table

STREAMS = ("video", "audio", "imu", "text")
SUBSETS = [subset for size in range(1, 5) for subset in combinations(STREAMS, size)]


def measure(subset: tuple[str, ...], output: Path, data: list[str], steps: int) -> dict:
    """Train (or go on with) one subset on one thread and measure it."""
    run = output / "-".join(subset)
    here = Path(__file__).parent
    settings = {**os.environ, "OMP_NUM_THREADS": "1"}
    train = [
        "-m",
        "mmmae",
        "train",
        "--modalities",
        ",".join(subset),
        "--output",
        str(run),
        "--steps",
        str(steps),
        *data,
    ]
    options = ["--workers", "1", "--track", "none", f"training.evaluate_every={steps}", f"--save-every={steps}"]
    subprocess.run([sys.executable, *train, *options], check=True, env=settings, stderr=subprocess.DEVNULL)
    figures = run / "learned.json"
    learned = [str(here / "learned.py"), str(run), *data, "--json", str(figures)]
    subprocess.run([sys.executable, *learned], check=True, env=settings, stdout=subprocess.DEVNULL)
    return json.loads(figures.read_text(encoding="utf-8"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/subsets"))
    parser.add_argument("--data", help="as for training")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--jobs", type=int, default=1, help="runs at once")
    arguments = parser.parse_args()
    data = ["--data", arguments.data] if arguments.data else []
    with ThreadPoolExecutor(arguments.jobs) as pool:
        found = list(pool.map(lambda s: measure(s, arguments.output, data, arguments.steps), SUBSETS))
    table = Table("modalities", *(f"{name} / constant" for name in STREAMS), "mean R@1", "chance")
    for subset, figures in zip(SUBSETS, found, strict=True):
        ratios = [figures["held-out error"].get(name, {}).get("ratio") for name in STREAMS]
        recalls = list(figures["retrieval"].values())
        mean = sum(row["R@1"] for row in recalls) / len(recalls) if recalls else None
        chance = recalls[0]["chance R@1"] if recalls else None
        table.add_row("+".join(subset), *("" if x is None else f"{x:.3f}" for x in [*ratios, mean, chance]))
    Console().print(table)
    (arguments.output / "subsets.json").write_text(
        json.dumps({"+".join(subset): figures for subset, figures in zip(SUBSETS, found, strict=True)}, indent=2)
    )


if __name__ == "__main__":
    main()
