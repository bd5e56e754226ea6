"""A disk that fails on purpose under mmmae/storage/atomic.py: killed, full, or without power at any operation."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mmmae import Recipe
from mmmae.storage import atomic as durable
from mmmae.storage import checkpoint
from mmmae.training.resume import resumed

Contents = dict[str, bytes]
TAKES_ROOM = ("mkdir", "create", "write", "sync", "rename")


class Disk:
    """Stands in for `os`: notes every operation, and at the one numbered `at` does what `fail` does.

    A write that fails has written its first half.
    """

    def __init__(self, at: int | None = None, fail: Callable[[], None] = lambda: None, *, stays: bool = False):
        self.at, self.fail, self.stays = at, fail, stays
        self.events: list[tuple[Any, ...]] = []
        self.paths: dict[int, str] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def operation(self, *event: Any) -> bool:
        """Note an operation; whether it is to fail."""
        self.events.append(event)
        number = len(self.events) - 1
        return number == self.at or (self.stays and number > (self.at or 0) and event[0] in TAKES_ROOM)

    def mkdir(self, path, *more):
        if self.operation("mkdir", str(path)):
            self.fail()
        os.mkdir(path, *more)

    def open(self, path, flags, *more):
        if flags & os.O_CREAT and self.operation("create", str(path)):
            self.fail()
        handle = os.open(path, flags, *more)
        self.paths[handle] = str(path)
        return handle

    def write(self, handle, piece):
        if self.operation("write", self.paths[handle], bytes(piece)):
            os.write(handle, piece[: len(piece) // 2])
            self.fail()
        return os.write(handle, piece)

    def fsync(self, handle):
        if self.operation("sync", self.paths[handle]):
            self.fail()

    def rename(self, one, other):
        if self.operation("rename", str(one), str(other)):
            self.fail()
        os.rename(one, other)

    def unlink(self, path):
        if self.operation("unlink", str(path)):
            self.fail()
        os.unlink(path)

    def rmdir(self, path):
        if self.operation("rmdir", str(path)):
            self.fail()
        os.rmdir(path)


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def full() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Saving:
    """One save of a small checkpoint under one of several circumstances, to be repeated on failing disks.

    Args:
        kind: `first` (nothing saved before), `next` (the old one goes afterwards), `again` (the same step is replaced),
            `fallen` (the newest one is damaged, the run went back).
    """

    KINDS = ("first", "next", "again", "fallen")

    def __init__(self, kind: str, folder: Path):
        self.kind, self.before, self.after = kind, folder / "before", folder / "after"
        folder.mkdir(parents=True, exist_ok=True)
        vocabulary = folder / "vocabulary.json"
        vocabulary.write_text('{"pad": 0, "mask": 2, "tokenizer": {}}')
        self.recipe = Recipe.load("default", ["size=tiny"], ["text"])
        self.recipe = self.recipe.changed({"modalities": {"text": {"vocabulary": str(vocabulary), "words": 300}}})
        self.step = 4 if kind == "again" else 5
        (self.before / "run").mkdir(parents=True)
        if kind != "first":
            self.write(self.before, 4, 0)
        if kind == "fallen":
            self.write(self.before, 6, 1, keep=2)
            (self.before / "run/checkpoints/step-6/state.json").write_text("{")
        shutil.copytree(self.before, self.after)
        self.save(self.after)
        self.old, self.new = loaded(self.before), loaded(self.after)
        assert self.new is not None and self.new != self.old and (self.old is None) == (kind == "first")

    def save(self, root: Path) -> None:
        self.write(root, self.step, 7)

    def write(self, root: Path, step: int, seed: int, keep: int = 1) -> None:
        torch.manual_seed(seed)
        model = nn.Linear(5, 3)
        optimizer = torch.optim.AdamW(model.parameters())
        model(torch.randn(2, 5)).sum().backward()
        optimizer.step()
        state = checkpoint.State(step, {"scaler": None})
        checkpoint.save(root / "run", model, optimizer, self.recipe, state, keep=keep)

    def operations(self, root: Path) -> list[tuple[Any, ...]]:
        """Every operation of the save, on a fresh copy of what was there before."""
        disk = Disk()
        with on(disk):
            self.save(self.fresh(root))
        return disk.events

    def fresh(self, root: Path) -> Path:
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(self.before, root)
        return root

    def stands(self, root: Path) -> bool:
        """Whether the old or the new checkpoint is what a run goes on from, every bit of it."""
        return loaded(root) in (self.old, self.new)


class on:
    """Put a disk under mmmae/storage/atomic.py."""

    def __init__(self, disk: Disk):
        self.disk = disk

    def __enter__(self) -> Disk:
        durable.os = self.disk
        return self.disk

    def __exit__(self, *_: object) -> None:
        durable.os = os


def loaded(root: Path) -> Contents | None:
    """The files of the checkpoint that `--resume auto` goes on from."""
    folder, _ = resumed(root / "run", "auto")
    return None if folder is None else files(folder)


def files(folder: Path) -> Contents | None:
    """What the files of a folder hold, None if there is none."""
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.is_dir() else None


def fork(work: Callable[[], Any]) -> int:
    """Do some work in a process of its own; its exit code, or minus the signal that ended it."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = int(work() or 0)
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


# Power cuts: what the disk may hold afterwards


class File:
    def __init__(self, data: bytes = b"", safe: bool = False):
        self.data, self.safe = data, safe

    def kept(self) -> list[bytes]:
        """What a power cut may leave of it: contents never flushed are there, gone, torn or zero."""
        half = len(self.data) // 2
        return [self.data] if self.safe else list({self.data, b"", self.data[:half], bytes(len(self.data))})


class Folder:
    def __init__(self):
        self.names: dict[str, File | Folder] = {}  # as the running system sees it
        self.safe: dict[str, File | Folder] = {}  # as it was flushed
        self.pending: list[tuple[Any, ...]] = []  # changes since then, each of which a power cut may undo

    def change(self, *change: Any) -> None:
        apply(self.names, change)
        self.pending.append(change)

    def kept(self) -> Iterator[dict[str, File | Folder]]:
        """Every list of names that a power cut may leave: any of the pending changes may be lost."""
        for chosen in itertools.product((True, False), repeat=len(self.pending)):
            names = dict(self.safe)
            for change in itertools.compress(self.pending, chosen):
                apply(names, change)
            yield names


def apply(names: dict[str, Any], change: tuple[Any, ...]) -> None:
    kind, name, *rest = change
    if kind == "link":
        names[name] = rest[0]
    elif kind == "rename":
        if name in names:
            names[rest[0]] = names.pop(name)
    else:
        names.pop(name, None)


def read(path: Path) -> Folder:
    """A folder on a disk at rest."""
    folder = Folder()
    for entry in path.iterdir():
        folder.names[entry.name] = read(entry) if entry.is_dir() else File(entry.read_bytes(), safe=True)
    folder.safe = dict(folder.names)
    return folder


def replay(root: Folder, home: Path, event: tuple[Any, ...]) -> None:
    """One operation of a save under `home`."""

    def look(path: str) -> tuple[Any, str]:
        *above, name = Path(path).relative_to(home).parts
        folder: Any = root
        for part in above:
            folder = folder.names[part]
        return folder, name

    kind, path, *rest = event
    folder, name = look(path)
    if kind in ("mkdir", "create"):
        folder.change("link", name, Folder() if kind == "mkdir" else File())
    elif kind == "write":
        node = folder.names[name]
        node.data, node.safe = node.data + rest[0], False
    elif kind == "sync":
        node = folder.names[name]
        if isinstance(node, Folder):
            node.safe, node.pending = dict(node.names), []
        else:
            node.safe = True
    elif kind == "rename":
        assert Path(rest[0]).parent == Path(path).parent
        folder.change("rename", name, Path(rest[0]).name)
    else:
        folder.change("unlink", name)


def remains(folder: Folder, at: str = "") -> Iterator[dict[str, bytes | None]]:
    """Everything that a power cut may leave: contents by path, None for a folder."""
    for names in folder.kept():
        choices = []
        for name, node in names.items():
            path = f"{at}/{name}" if at else name
            if isinstance(node, File):
                choices.append([{path: data} for data in node.kept()])
            else:
                choices.append([{path: None, **inner} for inner in remains(node, path)])
        for combined in itertools.product(*choices):
            yield {path: data for part in combined for path, data in part.items()}


def power_cuts(saving: Saving, root: Path) -> Iterator[tuple[int, dict[str, bytes | None]]]:
    """(operations done, what lies on the disk) for a power cut after any number of a save's operations, each once."""
    tree = read(saving.before)
    seen = set()
    for number, event in enumerate([None, *saving.operations(root)]):
        if event is not None:
            replay(tree, root, event)
        for state in remains(tree):
            key = (frozenset(state.items()), number)
            if key not in seen:
                seen.add(key)
                yield number, state


def lay_out(state: dict[str, bytes | None], root: Path) -> Path:
    """Put on a real disk what a power cut left."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    for path, data in state.items():
        if data is None:
            (root / path).mkdir(exist_ok=True)
        else:
            (root / path).write_bytes(data)
    return root
