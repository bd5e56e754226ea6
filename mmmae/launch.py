"""Checks and messages around a command: arguments, shadowed packages, processes, errors."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
HALTED = 3  # exit code of a run that ended itself
EXHAUSTED = ("DefaultCPUAllocator: can't allocate", "DefaultCPUAllocator: not enough memory", "CUDA out of memory",
             "CUDA error: out of memory", "Cannot allocate memory", "unable to mmap")  # fmt: skip
PROCESS_FLAGS = ("--num_processes", "--num-processes", "--nproc_per_node", "--nproc-per-node")


class Halted(RuntimeError):
    """The error of a run that stops itself, since continuing would do harm; with the reason and how to resume."""


class Elsewhere(Exception):
    """The error in a process that ends because another one has failed, which reports the reason."""


def training_parser() -> argparse.ArgumentParser:
    """The arguments of a training run; `key=value` pairs after them override the recipe."""
    parser = argparse.ArgumentParser(
        prog="mmmae train",
        description="Pretrain a masked autoencoder on any mix of video, audio, IMU and text.",
        epilog="e.g. accelerate launch mmmae/train.py --modalities video,text --data clips/ masking.video.ratio=0.8",
    )
    add = parser.add_argument
    add("--recipe", default="default", metavar="NAME|FILE", help="a recipe by name (`mmmae recipes`) or file")
    add("--modalities", metavar="A,B", help="streams to train on, e.g. video,text")
    corpora = "manifest, folder of recordings or name of a corpus (default: world); again for further corpora"
    add("--data", metavar="PATH", action="append", help=corpora)
    add("--output", type=Path, metavar="DIR", help="folder of the run (default: runs/RECIPE-MODALITIES)")
    add("--steps", type=int, metavar="N", help="optimizer steps; takes precedence over --epochs")
    add("--epochs", type=int, metavar="N", help="epochs")
    add(
        "--batch-size",
        type=int,
        metavar="N",
        help="global batch size: samples of one optimizer step over all processes",
    )
    add("--workers", type=int, metavar="N", help="loader workers per process")
    add("--seed", type=int, metavar="N", help="random seed of weights, order, windows, crops and masks")
    add("--save-every", type=int, metavar="N", help="steps between checkpoints")
    add("--log-every", type=int, metavar="N", help="steps between log lines")
    add("--resume", default="auto", metavar="auto|none|DIR", help="resume from the newest checkpoint (default: auto)")
    add("--track", metavar="A,B", help="Accelerate's trackers (default: tensorboard), e.g. wandb; `none` for none")
    add("overrides", nargs="*", metavar="key=value", help="settings of the recipe, e.g. size=small trunk.use=joint")
    return parser


def add_checkpoint_arguments(
    parser: argparse.ArgumentParser,
    *,
    data: str = "manifest, folder of recordings or name of a corpus",
    unit: str = "recordings",
) -> None:
    """The arguments of every command that shows recordings to a checkpoint.

    data: what `--data` may be. unit: what `--batch-size` counts.
    """
    add = parser.add_argument
    add("run", type=Path, metavar="CHECKPOINT", help="a run, one of its checkpoints, or a saved model")
    add("--data", metavar="PATH", help=f"{data} (default: world)")
    add("--modalities", metavar="A,B", help="streams to use (default: all that the data has)")
    add("--batch-size", type=int, default=32, metavar="N", help=f"{unit} encoded at once")
    add("--workers", type=int, default=2, metavar="N", help="loader workers per process")
    add("--outside", action="store_true", help="also read files outside the data's folder")


def require_counts(arguments: argparse.Namespace, *names: str) -> None:
    """Refuse numbers that count nothing.

    Raises:
        InputError: names the first of them.
    """
    from modalities.errors import InputError

    for name in names:
        if getattr(arguments, name) < 1:
            raise InputError(f"--{name.replace('_', '-')} {getattr(arguments, name)}: expected 1 or more")


def overrides_of(arguments: argparse.Namespace) -> list[str]:
    """The recipe overrides of the flags, then the explicit ones."""
    flags = ("steps", "epochs", "batch_size", "workers", "seed", "save_every", "log_every")
    given = [f"training.{flag}={getattr(arguments, flag)}" for flag in flags if getattr(arguments, flag) is not None]
    if arguments.epochs is not None and arguments.steps is None:
        given.append("training.steps=null")
    if arguments.track is not None:
        given.append(f"training.trackers=[{'' if arguments.track == 'none' else arguments.track}]")
    return [*given, *arguments.overrides]


def listed(names: str | None) -> list[str] | None:
    """`a,b` as a list; None stays None."""
    return None if names is None else [name.strip() for name in names.split(",") if name.strip()]


def guarded(command: Callable[[argparse.Namespace], int], arguments: argparse.Namespace) -> int:
    """Run a command; its exit code.

    Input that needs mending and memory that ran out become a short message and 2 (in one of several processes; in the
    others 2 alone), a run that ended itself 3, Ctrl-C 130.
    """
    if message := shadowed():
        print(f"mmmae: {message}", file=sys.stderr)
        return 2
    from modalities.errors import InputError

    try:
        return command(arguments)
    except InputError as error:
        print(f"mmmae: {error}", file=sys.stderr)
        return 2
    except Elsewhere:
        return 2
    except Halted as error:
        print(f"mmmae: {error}", file=sys.stderr)
        return HALTED
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = error.filename or "the output"
        print(f"mmmae: {where}: the disk is full\n  make room there, then run the same again", file=sys.stderr)
        return 2
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        print(f"mmmae: memory ran out: {first_line(error)}\n  use a smaller --batch-size, or fewer --workers",
              file=sys.stderr)  # fmt: skip
        return 2
    except KeyboardInterrupt:
        print("mmmae: interrupted", file=sys.stderr)
        return 130


def out_of_memory(error: BaseException) -> bool:
    """Whether an error means that main memory or GPU memory ran out."""
    named = type(error).__name__ == "OutOfMemoryError"  # torch's, recognised without importing it
    return isinstance(error, MemoryError) or named or any(words in str(error) for words in EXHAUSTED)


def first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def leave(code: int) -> NoReturn:
    """End this process; one of several at once, for a thread of gloo that is at work while Python ends aborts it."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def shadowed() -> str | None:
    """The message if another package named like one of ours would be imported in its place; None if none would."""
    for package in ("modalities", "fusion", "configs"):
        spec = find_spec(package)
        found = Path(spec.origin).resolve() if spec and spec.origin else None
        if found is None or found.parent.parent != ROOT:
            return (
                f"the package {package!r} of mmmae is shadowed by {found or 'a folder without code'}\n"
                f"  uninstall that package, or take its folder off PYTHONPATH; ours lies in {ROOT / package}"
            )
    return None


def requested_processes() -> int | None:
    """The number of processes requested from the command that started this one, by its command line."""
    import psutil

    words: Sequence[str] = ()
    for parent in psutil.Process().parents()[:3]:
        try:
            words = parent.cmdline()
        except psutil.Error:
            continue
        for word, following in zip(words, [*words[1:], ""], strict=True):
            name, _, value = word.partition("=")
            value = value or following
            if name in PROCESS_FLAGS and value.isdigit():
                return int(value)
    return None


def precision(setting: str) -> str | None:
    """Accelerate's mixed precision: bf16 where the device has it; None lets `accelerate launch` decide."""
    import torch

    if setting != "auto":
        return setting
    if os.environ.get("ACCELERATE_MIXED_PRECISION", "no") != "no":
        return None
    return "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "no"


def check_processes(started: int, script: str) -> str | None:
    """A warning if fewer processes run than were requested, as with `accelerate launch --cpu`."""
    requested = requested_processes()
    if requested is None or started >= requested:
        return None
    return (
        f"{requested} processes were requested and {started} started; `accelerate launch --cpu` starts only one. "
        f"This works:\n  ACCELERATE_USE_CPU=true torchrun --nproc_per_node {requested} {script}"
    )
