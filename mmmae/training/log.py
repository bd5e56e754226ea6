"""What a run says of itself: a JSON line for every logged step, a progress bar, and Accelerate's trackers."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mmmae.storage.atomic import flush, replace
from mmmae.training.optim import peak

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import nn

    from mmmae.recipes.recipe import RecipeSpec


HELD = "evaluation/"  # what the names of held-out figures begin with


class Clock:
    """Seconds that steps take, and how many of them pass waiting for data; pauses between steps do not count."""

    def __init__(self):
        self.reset()

    def reset(self) -> None:
        self.busy = self.waited = 0.0
        self.samples = 0

    @contextmanager
    def step(self, samples: int) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        self.busy += time.perf_counter() - begin
        self.samples += samples

    @contextmanager
    def wait(self) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        self.waited += time.perf_counter() - begin

    def figures(self) -> dict[str, float]:
        """Speed since the last reset: samples per second, and the share of time spent waiting for data."""
        busy = max(self.busy, 1e-9)
        return {"samples_per_second": self.samples / busy, "data_wait": self.waited / busy}


class Report:
    """Writes `log.jsonl` in the run's folder, shows a bar on the main process, feeds the trackers.

    It speaks from the start; `begin` must come before the first step.
    """

    def __init__(self, accelerator: Accelerator, output: Path):
        self.accelerator, self.path = accelerator, output / "log.jsonl"
        self.main = accelerator.is_main_process
        self.console = Console(stderr=True, quiet=not self.main, highlight=False, soft_wrap=True)
        self.progress = Progress(
            TextColumn("[bold]step"), MofNCompleteColumn(), BarColumn(), TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(), TextColumn("<"), TimeRemainingColumn(), console=self.console,
            disable=not (self.main and self.console.is_terminal),
        )  # fmt: skip
        self.steps = 0
        self.task = self.progress.add_task("train", total=None, note="")

    def begin(self, steps: int, step: int) -> None:
        """The run goes from a step to the last one; lines of later steps, written before a resume, are dropped."""
        self.steps = steps
        self.progress.update(self.task, total=steps, completed=step)
        if self.main:
            replace(self.path, "".join(f"{line}\n" for line in logged(self.path, step)))

    def introduce(self, recipe: RecipeSpec, model: nn.Module, recordings: int, held: int) -> None:
        """What is about to happen, in two lines."""
        batch, optimizer = recipe.sections.training.batch_size, recipe.sections.optimizer
        millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
        device, precision = self.accelerator.device.type, self.accelerator.mixed_precision
        self.say(
            f"mmmae: {recipe.name} on {', '.join(recipe.streams)}; {millions:.1f} M parameters; "
            f"{recordings} recordings to train on, {held} held out\n"
            f"       {self.steps} steps of {batch} samples, learning rate up to {peak(optimizer, batch):.2g}, "
            f"on {self.accelerator.num_processes} x {device} ({precision}); everything goes to {self.path.parent}"
        )

    def say(self, message: str) -> None:
        """A line for the person at the terminal."""
        self.console.print(message, markup=False)

    def advance(self) -> None:
        self.progress.advance(self.task)

    def flush(self) -> None:
        """Make the lines written so far survive a power cut."""
        if self.main:
            flush(self.path)

    def write(self, step: int, figures: Mapping[str, Any]) -> None:
        """One logged step: a JSON object, the bar's note, the trackers."""
        if not self.main:
            return
        line = {"step": step, **{name: rounded(value) for name, value in figures.items()}}
        with self.path.open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        held = {n.removeprefix(HELD): value for n, value in figures.items() if n.startswith(HELD)}
        own = {name: value for name, value in figures.items() if not name.startswith(HELD)}
        speed = f"{figures['samples_per_second']:.1f} samples/s, waiting {figures['data_wait']:.0%}"
        note = f"{told(own)} {speed}"
        self.progress.update(self.task, note=note)
        if self.progress.disable:
            self.say(f"step {step}/{self.steps} {note}")
        if held:
            self.say(f"step {step} held-out {told(held)}")
        self.accelerator.log({k: v for k, v in line.items() if k != "step"}, step=step)


def told(losses: Mapping[str, Any]) -> str:
    """The loss and its parts, in words."""
    parts = " ".join(f"{name} {value:.3g}" for name, value in losses.items() if "/" in name)
    return f"loss {losses['loss']:.4f} ({parts})"


def logged(path: Path, step: int) -> list[str]:
    """The whole lines of a log up to a step; a kill may have torn the last one."""
    lines = path.read_bytes().splitlines() if path.exists() and step else []
    kept = []
    for line in lines:
        with suppress(ValueError, LookupError, TypeError):  # no JSON, or no such object
            if json.loads(line)["step"] <= step:
                kept.append(line.decode())
    return kept


def rounded(value: Any) -> Any:
    """Numbers with the digits that float32 has; null for those that are none, which JSON does not know."""
    if not isinstance(value, float):
        return value
    return float(f"{value:.7g}") if math.isfinite(value) else None
