"""Pretrain: the one place where the training loop meets Accelerate.

accelerate launch mmmae/train.py --modalities video,text --data DIR
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if __name__ == "__main__" and not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)  # a script's own folder must not come before the package

from mmmae.launch import (
    Halted,
    check_processes,
    first_line,
    guarded,
    leave,
    listed,
    out_of_memory,
    overrides_of,
    precision,
    training_parser,
)

if TYPE_CHECKING:
    from mmmae.api import Recipe
    from mmmae.training.result import Run
    from mmmae.training.trainer import Trainer
    from modalities.errors import InputError


def train(
    recipe: str | Path | Mapping[str, Any] | Recipe = "default",
    data: Any = None,
    output: str | Path | None = None,
    overrides: Sequence[str] | Mapping[str, Any] = (),
    *,
    modalities: Sequence[str] | None = None,
    resume: str = "auto",
    **training: Any,
) -> Run:
    """Train a model as the command does, from Python or a notebook: `mmmae.train("videomae", "clips/", "runs/clips")`.

    A second call with the same arguments goes on where the first one stopped. Ctrl-C saves a checkpoint, then raises.

    Args:
        recipe: its name, its file, what would stand in the file, or a Recipe.
        data: whatever `--data` may be, recordings in memory, or a list of several such corpora (shared out by
            `data.weights`); the synthetic world by default.
        output: the run's folder; by default `runs/RECIPE-MODALITIES`.
        overrides: such as `["size=small", "masking.video.ratio=0.75"]` or `{"size": "small"}`.
        modalities: train on these only.
        resume: `auto`, `none`, or the checkpoint to go on from.
        training: settings of the section `training`, such as `steps=1000, batch_size=64, workers=4`.

    Raises:
        InputError: recipe, data or output need mending, or memory ran out; the message says how.
        Halted: the run ended itself.
    """
    from mmmae.recipes.merge import overlay, overridden

    changes = overlay(overridden(overrides), {"training": training} if training else {})
    if "epochs" in training and "steps" not in training:
        changes["training"].setdefault("steps", None)
    chosen = customised(recipe, changes, modalities)
    found, interrupted = pretrain(
        chosen, data, None if output is None else Path(output), resume, set(changes.get("training") or {})
    )
    if interrupted is not None:
        signal.raise_signal(interrupted)  # what was to happen, now that the run is saved
    return found


def customised(
    recipe: str | Path | Mapping[str, Any] | Recipe, changes: Mapping[str, Any], modalities: Sequence[str] | None
) -> Recipe:
    """A recipe, whatever it is given as, with changes."""
    from mmmae.api import Recipe
    from mmmae.recipes.merge import changed

    if not isinstance(recipe, Recipe):
        return Recipe.load(recipe, changes, modalities)
    found = Recipe(changed(recipe.tree, changes, recipe.name), recipe.name, recipe.narrowed)
    return found if modalities is None else found.narrow(modalities)


def run(arguments: argparse.Namespace) -> int:
    """The command: one training run, from arguments to the last checkpoint."""
    from mmmae.api import Recipe
    from mmmae.recipes.merge import overridden

    overrides = overrides_of(arguments)
    recipe = Recipe.load(arguments.recipe, overrides, listed(arguments.modalities))
    given = set(overridden(overrides).get("training") or {})
    _, interrupted = pretrain(recipe, arguments.data, arguments.output, arguments.resume, given)
    return 0 if interrupted is None else 128 + interrupted


def pretrain(
    recipe: Recipe, data: Any, output: Path | None, resume: str, given: Collection[str]
) -> tuple[Run, int | None]:
    """Train until the last step, or until a signal asks to stop: what there is then, and the signal.

    given: settings of `training` that the user gave for this run, rather than the recipe.
    """
    import torch
    from accelerate import Accelerator, InitProcessGroupKwargs
    from accelerate.state import AcceleratorState

    from mmmae.parallel.signals import Interrupt, die_with_parent, launched
    from mmmae.parallel.watchdog import ENDED, Watch
    from mmmae.training.trainer import Trainer

    output = output or Path("runs") / "-".join([Path(recipe.name).stem, *recipe.streams])
    settings = recipe.sections.training
    patience = timedelta(seconds=settings.timeout + 60)  # the watch speaks first
    if not launched():
        AcceleratorState._reset_state()  # a run before in the same process may have had another precision
    accelerator = Accelerator(
        mixed_precision=precision(settings.precision), log_with=list(settings.trackers) or None, project_dir=output,
        kwargs_handlers=[InitProcessGroupKwargs(timeout=patience)],
    )  # fmt: skip
    if launched():
        die_with_parent(signal.SIGTERM)
    torch.set_float32_matmul_precision("high")
    interrupt, rank, world = Interrupt(), accelerator.process_index, accelerator.num_processes
    watch = Watch(rank, world, timeout=settings.timeout, interrupt=interrupt)
    watch.start()
    trainer = None
    try:
        trainer = Trainer(accelerator, recipe, data, output, resume, interrupt, watch, given)
        if warning := check_processes(world, f"mmmae/train.py {' '.join(sys.argv[1:])}"):
            trainer.report.say(f"warning: {warning}")
        with interrupt:
            try:
                trainer.train()
            except RuntimeError as error:  # a collective that another process left
                if isinstance(error, Halted) or world == 1 or (message := watch.dead(patience=5.0)) is None:
                    raise
                raise Halted(message) from error
        accelerator.end_training()
        watch.at(trainer.step, ENDED)
    except (MemoryError, RuntimeError) as error:
        if out_of_memory(error):
            raise exhausted(error, trainer) from error
        raise
    finally:
        watch.close()
    return trainer.result(), interrupt.signal


def exhausted(error: BaseException, trainer: Trainer | None) -> InputError:
    """What to say when memory ran out."""
    from mmmae.training.batching import remedy
    from modalities.errors import InputError

    piece = 1 if trainer is None else max(1, trainer.settings.batch_size // trainer.pieces)
    where = "before the first step" if trainer is None else f"at step {trainer.step + 1}, in pieces of {piece} samples"
    return InputError(f"memory ran out {where}: {first_line(error)}\n  {remedy(piece)}")


def main(argv: list[str] | None = None) -> int:
    return guarded(run, training_parser().parse_intermixed_args(argv))


class CallableModule(ModuleType):
    """This module, called like its function: `mmmae.train` is the name of both, and recipes are trained by either."""

    def __call__(self, *given: Any, **named: Any) -> Run:
        return train(*given, **named)


sys.modules[__name__].__class__ = CallableModule

if __name__ == "__main__":
    leave(main())
