"""Atomic writes of folders: complete or not at all, whatever ends the process: a kill, a full disk, a power cut.

Files are written into a draft next to the target, each flushed; then `checksums.json` with the size and SHA-256 of each
file; then the draft is flushed, renamed to the target, and the folder that holds it flushed. What a target held before
is set aside by a rename and removed only after that, so that one of both can be read at every moment (`present`).

Every change on the disk is a call of `os` from here: tests put a failing disk in its place.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from modalities.errors import InputError

CHECKSUMS = "checksums.json"
DRAFT, ASIDE = ".draft", ".aside"  # `.NAME.draft`: nothing that counts; `.NAME.aside`: what NAME was, until it is there
FULL = (errno.ENOSPC, errno.EDQUOT)
PIECE = 2**24  # bytes that are hashed and written at a time
BLOCK = 4096  # bytes that disks hand out at a time


class Content(NamedTuple):
    """What a file is to hold: its length in bytes, and these one after the other."""

    size: int
    chunks: Iterable[bytes | memoryview]

    @classmethod
    def of(cls, text: bytes) -> Content:
        return cls(len(text), [text])


def publish(target: Path, files: Mapping[str, Content]) -> None:
    """Make `target` a folder of exactly these files and their checksums; whatever goes wrong, it is as it was before.

    Raises:
        InputError: there is too little room (before anything is written if that is known), or the disk refuses.
    """
    parent, draft, aside = target.parent, beside(target, DRAFT), beside(target, ASIDE)
    needed = sum(-(-content.size // BLOCK) * BLOCK for content in files.values()) + 2 * BLOCK  # and checksums, folder
    with refusals(target, needed):
        make(parent)
        recover(target)
        if free(parent) < needed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        try:
            os.mkdir(draft)
            sums = {name: written(draft / name, content) for name, content in files.items()}
            written(draft / CHECKSUMS, Content.of(json.dumps({"files": sums}, indent=2).encode()))
            flush(draft)
            if target.exists():
                os.rename(target, aside)
                flush(parent)
            os.rename(draft, target)
            flush(parent)
            clear(aside)
        except BaseException:
            with suppress(OSError):  # a disk that refuses this too leaves a draft, which the next one sweeps away
                clear(draft)
                if aside.exists() and not target.exists():
                    os.rename(aside, target)
            raise


def replace(path: Path, contents: str | bytes) -> None:
    """Replace the contents of a file atomically: a reader finds the old or the new ones, complete."""
    draft = beside(path, DRAFT)
    clear(draft)
    written(draft, Content.of(contents.encode() if isinstance(contents, str) else contents))
    os.rename(draft, path)
    flush(path.parent)


def remove(folder: Path) -> None:
    """Remove a folder that was published; what a kill leaves of it has another name."""
    draft = beside(folder, DRAFT)
    with refusals(folder, BLOCK):
        clear(draft)
        os.rename(folder, draft)
        flush(folder.parent)
        clear(draft)


def sweep(parent: Path) -> None:
    """Remove what interrupted work left in a folder that holds nothing but what was published there."""
    with refusals(parent, BLOCK):
        for entry in sorted(parent.iterdir()) if parent.is_dir() else ():
            if entry.name.startswith(".") and entry.suffix in (DRAFT, ASIDE):
                recover(parent / entry.stem[1:])


def recover(target: Path) -> None:
    """Undo what an interruption left next to a target: remove a draft, restore a target that was not replaced."""
    aside = beside(target, ASIDE)
    if aside.exists():
        if target.exists():
            flush(target.parent)  # the rename that replaced it may not be on the disk yet
            clear(aside)
        else:
            os.rename(aside, target)
            flush(target.parent)
    clear(beside(target, DRAFT))


def present(target: Path) -> Path:
    """Where a folder can be read now: an interrupted replacement has left it set aside."""
    aside = beside(target, ASIDE)
    return aside if aside.is_dir() and not target.exists() else target


def damage(folder: Path) -> str | None:
    """What is wrong with a published folder, the file named first; None if every byte is as it was written."""
    try:
        stated = listed(folder)
    except OSError as error:
        return f"{CHECKSUMS} cannot be read ({error.strerror})"
    except (ValueError, LookupError, TypeError, AttributeError):
        return f"{CHECKSUMS} is no list of checksums"
    for name, (size, digest) in stated.items():
        try:
            with open(folder / name, "rb") as file:
                held = os.fstat(file.fileno()).st_size
                if held != size:
                    return f"{name} has {held} bytes, {size} were written"
                if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                    return f"{name} is not what was written (its SHA-256 differs)"
        except FileNotFoundError:
            return f"{name} is missing"
        except OSError as error:
            return f"{name} cannot be read ({error.strerror})"
    return None


def listed(folder: Path) -> dict[str, tuple[int, str]]:
    """The files of a published folder: bytes and SHA-256."""
    files = json.loads((folder / CHECKSUMS).read_bytes())["files"]
    return {name: (entry["bytes"], entry["sha256"]) for name, entry in files.items()}


@contextmanager
def refusals(target: Path, needed: int) -> Iterator[None]:
    """Turn errors of a disk that refuses writes into an InputError."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            room = f"{needed} bytes are needed and {free(target.parent)} bytes are free in {target.parent}"
            reason = f"the disk is full: {room}\n  make room there"
        else:
            reason = f"cannot be written: {error.strerror or error}\n  mend that, or choose another place"
        raise InputError(
            f"{target}: {reason}, then run the same again; what was saved before is still there"
        ) from error


def free(folder: Path) -> int:
    """Bytes that may still be written below a folder."""
    while not folder.is_dir():
        folder = folder.absolute().parent
    room = os.statvfs(folder)
    return room.f_bavail * room.f_frsize


def beside(path: Path, kind: str) -> Path:
    path = path if path.name else path.resolve()  # `.` has no name
    return path.with_name(f".{path.name}{kind}")


def make(folder: Path) -> None:
    """Create a folder and those above it, each for good."""
    if not folder.is_dir():
        make(folder.parent)
        with suppress(FileExistsError):
            os.mkdir(folder)
        flush(folder.parent)


def written(path: Path, content: Content) -> dict[str, int | str]:
    """Write a new file for good; its entry in the checksums."""
    digest, size = hashlib.sha256(), 0
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        for chunk in content.chunks:
            for start in range(0, len(whole := memoryview(chunk)), PIECE):
                piece = whole[start : start + PIECE]
                digest.update(piece)
                size += len(piece)
                while piece:
                    piece = piece[os.write(handle, piece) :]
        os.fsync(handle)
    finally:
        os.close(handle)
    assert size == content.size
    return {"bytes": size, "sha256": digest.hexdigest()}


def flush(path: Path) -> None:
    """Make a file's contents, or a folder's list of names, survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems over a network do not flush folders
            raise
    finally:
        os.close(handle)


def clear(path: Path) -> None:
    """Delete a folder and all in it, or a file, if it is there."""
    if path.is_dir() and not path.is_symlink():
        for entry in path.iterdir():
            clear(entry)
        os.rmdir(path)
    elif path.is_symlink() or path.exists():
        os.unlink(path)
