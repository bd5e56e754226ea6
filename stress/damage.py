"""Train over at least 1,000 damaged recordings of 36 kinds, in several settings; a table of what happened.

    python stress/damage.py --output runs/damage [--each 30] [--good 600]

Counted are: crashes (a process that ended by a signal or with a traceback), hangs (a run past its time), recordings
named twice, bad ones that nobody named, good ones that somebody named, and errors that a reader did not foresee. The
runs (0, 1, 2 and 4 workers, one and two processes, one killed and resumed without workers) must name the same
recordings and log the same losses, and `mmmae check` must name them beforehand. Every recording lasts as long as the
window, so that training meets all of each.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests")]  # where the damage is defined

from harm import KINDS, SECONDS, Harmed, harmed  # noqa: E402

BATCH = 48
LIMIT = 1200  # seconds after which a run hangs
ENV = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "PYTHONPATH": str(ROOT)}
SMALL = [f"window={SECONDS}", "modalities.video.frames=2", "modalities.video.size=32", "modalities.audio.rate=8000",
         "--modalities", "video,audio,imu,text"]  # fmt: skip
SETTINGS = {"0 workers": (1, 0), "1 worker": (1, 1), "2 workers": (1, 2), "4 workers": (1, 4),
            "2 processes": (2, 0), "2 processes x 2 workers": (2, 2), "killed and resumed": (1, 2)}  # fmt: skip


def command(words: list[str]) -> tuple[int | None, str]:
    """The exit code (None: it had to be ended) and what was said."""
    try:
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True, env=ENV, timeout=LIMIT)
    except subprocess.TimeoutExpired as error:
        return None, str(error.stderr or "")
    return done.returncode, done.stderr


def words(data: Harmed, output: Path, processes: int, workers: int, *more: str) -> list[str]:
    """The command of a training run of one epoch."""
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    return [*(launch if processes > 1 else []), str(ROOT / "mmmae/train.py"), "--data", str(data.data), *SMALL,
            "--output", str(output), "--batch-size", str(BATCH), "--workers", str(workers), "--log-every", "1",
            "--steps", str(len(data.kinds) // BATCH), "--track", "none",
            "size=tiny", "trunk.depth=1", "data.holdout=0", *more]  # fmt: skip


def killed(command: list[str], output: Path, steps: int) -> None:
    """Run a command until it has logged so many steps, then kill it."""
    with subprocess.Popen([sys.executable, *command], stderr=subprocess.DEVNULL, env=ENV) as process:
        while process.poll() is None and len(losses(output)) < steps:
            time.sleep(0.05)
        process.kill()


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def losses(output: Path) -> list[float]:
    return [line["loss"] for line in lines(output / "log.jsonl")]


def measure(data: Harmed, output: Path, setting: str) -> dict:
    """Train for one epoch in one setting."""
    processes, workers = SETTINGS[setting]
    shutil.rmtree(output, ignore_errors=True)
    begin, half = time.perf_counter(), len(data.kinds) // BATCH // 2
    if "killed" in setting:
        killed(words(data, output, 1, workers, "data.bad=1.0", "--save-every", str(half)), output, half + 2)
        workers = 0
    code, said = command(words(data, output, processes, workers, "data.bad=1.0", "--save-every", "1000"))
    named = [line["id"] for line in lines(output / "bad_samples.jsonl")]
    return {
        "setting": setting, "seconds": time.perf_counter() - begin, "code": code, "named": named,
        "steps": len(losses(output)), "losses": losses(output),
        "crash": code not in (0, None) or "Traceback" in said, "hang": code is None,
        "unforeseen": sum("reader fails" in line["reason"] for line in lines(output / "bad_samples.jsonl")),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/damage"))
    parser.add_argument("--each", type=int, default=30, help="recordings of each kind of damage")
    parser.add_argument("--good", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--settings", default=",".join(SETTINGS), help="which of them, by name")
    arguments = parser.parse_args()
    console, found = Console(width=140), []
    shutil.rmtree(arguments.output, ignore_errors=True)
    table = Table("data", "setting", "crashes", "hangs", "named", "twice", "missed", "wrong", "unforeseen",
                  "same as check", "same as first", "seconds")  # fmt: skip
    for home in ("manifest", "folder"):
        bad = arguments.each * sum(kind.home == home for kind in KINDS.values())
        good = arguments.good // (8 if home == "folder" else 1)
        good += -(bad + good) % BATCH  # an epoch of whole batches meets every recording
        data = harmed(arguments.output / home, home, each=arguments.each, good=good, seed=arguments.seed)
        report = arguments.output / f"{home}-check.jsonl"
        begin = time.perf_counter()
        code, said = command(["-m", "mmmae", "check", str(data.data), *SMALL, "--report", str(report)])
        checked = {line["id"]: line for line in lines(report)}
        seconds = f"{time.perf_counter() - begin:.0f} s"
        console.print(f"{home}: {len(data.kinds)} recordings, {bad} of them damaged")
        console.print(f"check names {len(checked)} in {seconds}, exit code {code}")
        if missed := data.named("bad") - checked.keys():
            console.print(f"check missed {sorted(missed)}")
        first = None
        for setting in arguments.settings.split(","):
            row = measure(data, arguments.output / f"{home}-{setting.replace(' ', '-')}", setting)
            first, named, counts = first or row, set(row["named"]), Counter(row["named"])
            close = len(row["losses"]) == len(first["losses"]) and all(
                abs(a - b) <= (1e-4 * abs(b) if SETTINGS[setting][0] > 1 else 0)
                for a, b in zip(row["losses"], first["losses"], strict=False)
            )
            row |= {
                "twice": sum(count > 1 for count in counts.values()),
                "missed": len(data.named("bad") - named),
                "wrong": len(named - data.named("bad", "either")),
                "check": named == checked.keys(),
                "equal": named == set(first["named"]) and close,
            }
            found.append(row)
            table.add_row(home, setting, str(int(row["crash"])), str(int(row["hang"])), str(len(named)),
                          str(row["twice"]), str(row["missed"]), str(row["wrong"]), str(row["unforeseen"]),
                          str(row["check"]), str(row["equal"]), f"{row['seconds']:.0f}")  # fmt: skip
        stops = arguments.output / f"{home}-stops"
        code, said = command(words(data, stops, 1, 2))
        console.print(f"with data.bad at its default: exit code {code}\n{said.strip()[-700:]}\n", markup=False)
    console.print(table)
    console.print(f"{len(KINDS)} kinds of damage; {sum(row['crash'] + row['hang'] for row in found)} crashes and hangs")
    (arguments.output / "damage.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
