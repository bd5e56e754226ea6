"""Fail the disk at every operation of a save, in every way, and count what can still be read.

    python stress/disk.py [--flips 200] [--seed 0]

Under four circumstances (nothing saved before; an older checkpoint that goes afterwards; the same step saved again; the
newest one damaged and replaced) every operation of one save is met by a SIGKILL, by a power cut (contents that were not
flushed are there, gone, torn or zero, every subset of renames and new names that were not flushed is undone), and by a
full disk, once and from then on. Then a real full tmpfs, where mounting is permitted, and random flips of single bits.
The disks are those of tests/failing.py. Whatever happens, the old or the new checkpoint must come back, bit for bit.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))

import failing
from failing import Disk, Saving, fork, loaded, on

from mmmae.training.resume import resumed
from modalities.errors import InputError

Counts = tuple[int, int, int]  # met, came back as before, came back as saved
NAMES = {
    "first": "nothing saved before", "next": "an older one", "again": "the same step", "fallen": "the newest damaged",
}  # fmt: skip


def counted(saving: Saving, roots: list[Path | None]) -> Counts:
    old = sum(root == saving.old for root in roots)
    return len(roots), old, sum(root == saving.new for root in roots)


def kills(saving: Saving, root: Path) -> Counts:
    found = []
    for number in range(len(saving.operations(root))):
        saving.fresh(root)
        with on(Disk(number, failing.killed)):
            assert fork(lambda: saving.save(root)) == -signal.SIGKILL
        found.append(loaded(root))
    return counted(saving, found)


def power_cuts(saving: Saving, root: Path) -> Counts:
    return counted(saving, [loaded(failing.lay_out(state, root)) for _, state in failing.power_cuts(saving, root)])


def full_disks(saving: Saving, root: Path) -> Counts:
    found = []
    for number in range(len(saving.operations(root))):
        for stays in (False, True):
            saving.fresh(root)
            try:
                with on(Disk(number, failing.full, stays=stays)):
                    saving.save(root)
            except InputError as error:
                assert "bytes are needed and" in str(error) and "bytes are free in" in str(error)
                found.append(loaded(root))
    return counted(saving, found)


def small_disk(saving: Saving, root: Path, place: Path) -> Counts | str:
    """A tmpfs filled up more and more, with its room told and (as with quotas) not told beforehand."""
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(place)], capture_output=True)
    if mounted.returncode:
        return f"not permitted: {mounted.stderr.decode().strip()}"
    found = []
    try:
        for told in (True, False):
            for filled in range(0, 256, 2):
                try:
                    shutil.copytree(saving.before, place / "run")
                    (place / "filler").write_bytes(bytes(1024 * filled))
                except OSError:
                    break  # the old checkpoint itself no longer fits
                disk = Disk()
                if not told:
                    disk.statvfs = lambda path: os.statvfs("/")  # type: ignore[attr-defined]
                try:
                    with on(disk):
                        saving.save(place / "run")
                except InputError as error:
                    assert "the disk is full" in str(error)
                found.append(loaded(place / "run"))
                shutil.rmtree(place / "run")
                (place / "filler").unlink()
            for leftover in place.iterdir():
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
    return counted(saving, found)


def flips(saving: Saving, root: Path, count: int, draw: random.Random) -> tuple[int, int]:
    """(flips found with the file named, times that the checkpoint before was taken)."""
    saving.fresh(root)
    saving.write(root, 5, 7, keep=2)
    newest = root / "run/checkpoints/step-5"
    files = sorted(newest.iterdir())
    named = fallen = 0
    for number in range(count):
        path = files[number % len(files)]
        sound = path.read_bytes()
        at, bit = draw.randrange(len(sound)), 1 << draw.randrange(8)
        path.write_bytes(sound[:at] + bytes([sound[at] ^ bit]) + sound[at + 1 :])
        folder, faults = resumed(root / "run", "auto")
        fallen += folder == newest.with_name("step-4")
        named += len(faults) == 1 and (path.name in faults[0] or path.name == "checksums.json")
        path.write_bytes(sound)
    return named, fallen


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    table = Table("saved before", "what happens", "times", "the old one", "the new one", "neither")
    lost = 0
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        home = Path(folder)
        for kind in Saving.KINDS:
            saving = Saving(kind, home / kind)
            ways = {"SIGKILL": kills, "power cut": power_cuts, "full disk": full_disks}
            for way, measure in ways.items():
                met, old, new = measure(saving, home / "run")
                table.add_row(NAMES[kind], way, str(met), str(old), str(new), str(met - old - new))
                lost += met - old - new
            table.add_section()
        saving = Saving("next", home / "small")
        found = small_disk(saving, home / "run", home / "disk")
        if isinstance(found, str):
            table.add_row(NAMES["next"], f"a tmpfs ({found})")
        else:
            met, old, new = found
            table.add_row(NAMES["next"], "a tmpfs that is full", str(met), str(old), str(new), str(met - old - new))
            lost += met - old - new
        named, fallen = flips(saving, home / "run", arguments.flips, random.Random(arguments.seed))
        table.add_row(
            NAMES["next"], "a flipped bit", str(arguments.flips), str(fallen), "0", str(arguments.flips - fallen)
        )
        lost += arguments.flips - named
    console = Console()
    console.print(table)
    console.print(f"{named} of {arguments.flips} flips found and their file named")
    return int(lost > 0)


if __name__ == "__main__":
    sys.exit(main())
