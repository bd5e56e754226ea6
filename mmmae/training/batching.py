"""How much a run takes at once: the batch of a recipe as far as the corpus goes, its pieces, and the loader's workers.

A recipe's own figures are what its paper had, on its corpus and its machines; what is used in their place is said. What
a user gives for one run is used as it is. All are recorded with the run, and a run that goes on uses them again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmmae.data.loader import Schedule, share
from mmmae.data.mixture import Mixture
from mmmae.recipes.recipe import RecipeSpec, Spec
from mmmae.storage.checkpoint import STATE, load_recipe
from mmmae.training.machine import cores, free_memory

if TYPE_CHECKING:
    from mmmae.recipes.sections import Training
    from mmmae.training.footprint import Footprint, Trial

STEPS = 8  # that a pass over the corpus has at least: one batch of all there is would learn once from it
LEAST = 32  # samples to which a batch is still halved for that
WORKER = 400 * 2**20  # bytes of a loader worker: interpreter, decoders, and what it does not share with its parent
SLOW = 60.0  # seconds of a step from which on its length is said
FIGURES = ("batch_size", "piece", "workers")  # settings of `training` that are decided here


def fitting_batch(intended: int, recordings: int, unit: int, repeats: int = 1) -> int:
    """The samples of a step for a corpus: the intended ones, halved while they are more than an eighth of it.

    A batch of 32 is left where there are as many. Halves are what processes and pieces divide alike.

    unit: of which the batch is a multiple (processes x repeats).
    """
    batch = intended
    while batch > min(max(recordings / STEPS, LEAST), recordings * repeats):
        batch //= 2
    return max(unit, batch // unit * unit)


def pieces_for(batch: int, unit: int, most: int) -> int:
    """Into how few equal pieces, multiples of `unit`, a batch can be cut that hold at most `most` samples each."""
    parts = batch // unit
    return next((n for n in range(1, parts + 1) if parts % n == 0 and batch // n <= most), max(1, parts))


class Sizes:
    """Decides batch, pieces and workers of a run, and remembers in `notes` what there is to say of them.

    Args:
        recipe: as the user asks for it.
        given: settings of `training` that the user gave for this run.
        start: the checkpoint that the run goes on from, if any.
        world: processes; repeats: samples of one decode.
    """

    def __init__(self, recipe: RecipeSpec, given: Collection[str], start: Path | None, world: int):
        self.given, self.world, self.repeats = set(given), world, recipe.sections.data.repeats
        self.name, self.unit, self.notes = Path(recipe.name).stem, world * self.repeats, list[str]()
        asked: Training = recipe.sections.training
        self.cuts = asked.accumulate or 1
        self.asked = {name: getattr(asked, name) for name in FIGURES}
        self.used = {} if start is None else used(start, self.asked, self.given)

    def batch(self, recipe: Spec, recordings: int, mixture: Mixture | None = None) -> Spec:
        """The recipe with the batch and the workers that the run uses.

        recordings: to train on. mixture: the shares of several corpora.

        Raises:
            InputError: the batch that was given cannot be had.
        """
        self.unit *= 1 if mixture is None else mixture.period
        batch = self.samples(recordings)
        part = share(batch, world=self.world, pieces=self.cuts, repeats=self.repeats)
        # refused before anything is tried
        Schedule(recordings, part, world=self.world, pieces=self.cuts, mixture=mixture)
        return recipe.changed({"training": {"batch_size": batch, "workers": self.workers()}})

    def samples(self, recordings: int) -> int:
        intended = self.asked["batch_size"]
        if "batch_size" in self.given:
            return intended
        batch = self.used.get("batch_size") or fitting_batch(intended, recordings, self.unit, self.repeats)
        if batch != intended:
            parts = f"{self.world} processes with {self.repeats} samples of each recording share it"
            why = f"there are {recordings} recordings to train on" if 2 * batch <= intended else parts
            self.notes.append(
                f"batch        {batch} samples a step instead of the {intended} of {self.name}: {why}\n"
                "             (the learning rate follows; --batch-size sets another)"
            )
        return batch

    def workers(self) -> int:
        wanted = self.asked["workers"]
        if "workers" in self.given:
            return wanted
        room = free_memory() // 2 // WORKER
        most = max(1, min(cores(), room) // self.world)
        workers = min(self.used.get("workers") or wanted, most)
        if workers < wanted:
            why = f"there are {cores()} cores" if room >= cores() else f"memory has room for {room}"
            self.notes.append(f"workers      {workers} instead of {wanted}: {why} (--workers sets others)")
        return workers

    def pieces(self, recipe: Spec, trial: Trial, smallest: Callable[[int], int] = int) -> Spec:
        """The recipe with the piece that the run uses: the largest that memory holds, unless the size is given.

        smallest: of a figure of every process.
        """
        settings = recipe.sections.training
        batch, most = settings.batch_size, settings.batch_size // self.world
        ahead = 0 if trial.device.type == "cuda" else 2 * settings.workers + 1  # batches that wait in main memory
        footprint = trial.measure(most)
        piece = self.used.get("piece", settings.piece)
        if settings.accumulate is not None:
            count = settings.accumulate
        elif piece != "auto":
            count = pieces_for(batch, self.unit, int(piece))
        else:
            fitting = [pieces for pieces in divisors(batch // self.unit) if footprint.fits(most // pieces, ahead)]
            count = fitting[0] if fitting else batch // self.unit
            count = self.surviving(trial, batch, count) if trial.device.type == "cuda" else count
            count = pieces_for(batch, self.unit, smallest(batch // count))
        piece = max(1, batch // count)
        self.tell(footprint, batch, piece, ahead)
        if count > 1 and (names := trial.comparing()):
            self.notes.append(
                f"note         {' and '.join(names)} compares the {piece} samples of a piece with each other, not all "
                f"{batch} of a step"
            )
        return recipe.changed({"training": {"piece": piece}})

    def surviving(self, trial: Trial, batch: int, count: int) -> int:
        """The pieces of which a pass ends without running out of memory, from `count` up."""
        return next(
            (
                pieces for pieces in divisors(batch // self.unit)
                if pieces >= count and trial.survives(batch // pieces // self.world)
            ),
            batch // self.unit,
        )  # fmt: skip

    def tell(self, footprint: Footprint, batch: int, piece: int, ahead: int) -> None:
        """Note what a step of each process is expected to take, and what helps where that is more than there is."""
        need, free = footprint.need(max(1, piece // self.world), ahead), footprint.free
        cut = f" in {batch // piece} pieces of {piece}" if piece < batch else ""
        size, room = need / 2**30, free / 2**30
        self.notes.append(f"memory       about {size:.1f} of {room:.1f} GB free, for {batch} samples a step{cut}")
        if need > free:
            self.notes.append(f"warning: that may not fit\n  {remedy(piece, self.unit)}")
        seconds, fewer = footprint.seconds * batch / self.world, max(self.unit, batch // 4 // self.unit * self.unit)
        if seconds > SLOW:
            quicker = seconds * fewer / batch
            self.notes.append(
                f"time         about {seconds:.0f} s a step on this machine; --batch-size {fewer}: {quicker:.0f} s"
            )


def divisors(number: int) -> list[int]:
    """The whole numbers that divide another, the smallest first."""
    return [n for n in range(1, number + 1) if number % n == 0]


def remedy(piece: int, unit: int = 1) -> str:
    """What helps a run whose pieces of so many samples do not fit into memory."""
    smaller = f"training.piece={max(unit, piece // 2 // unit * unit)}, " if piece > unit else ""
    return (
        f"Launch again with {smaller}training.recompute=true, fewer --workers, a smaller size= or smaller inputs; "
        "a run goes on from its newest checkpoint."
    )


def used(start: Path, asked: Mapping[str, Any], given: Collection[str]) -> dict[str, int]:
    """The figures that a checkpoint was made with, of settings that ask for the same now as they did then."""
    then = json.loads((start / STATE).read_text(encoding="utf-8")).get("asked", {})
    figures = load_recipe(start).sections.training
    found = {name: getattr(figures, name) for name in FIGURES if name not in given and then.get(name) == asked[name]}
    other = "batch_size" in given and asked["batch_size"] != figures.batch_size
    if other or {"accumulate", "piece"} & set(given):
        found.pop("piece", None)
    return {name: figure for name, figure in found.items() if isinstance(figure, int)}
