"""Nothing saved is lost: kills, power cuts, full disks and rotten bits at every operation of a save."""

from __future__ import annotations

import ast
import os
import random
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import failing
import pytest
import torch.distributed as dist
from failing import Disk, Saving, fork, loaded, on

from mmmae.api import MaskedAutoencoder
from mmmae.launch import Elsewhere
from mmmae.storage import atomic as durable
from mmmae.storage import checkpoint
from mmmae.training.resume import resumed
from modalities.errors import InputError


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder in memory where there is such a thing: these tests write little and often."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder)


circumstances = pytest.mark.parametrize("kind", Saving.KINDS)


@circumstances
def test_a_kill_at_any_operation_leaves_the_old_or_the_new_checkpoint(kind, place):
    saving = Saving(kind, place)
    count = len(saving.operations(place / "run"))
    assert count > 30
    found = []
    for number in range(count):
        root = saving.fresh(place / "run")
        with on(Disk(number, failing.killed)):
            assert fork(lambda root=root: saving.save(root)) == -signal.SIGKILL
        assert saving.stands(root), number
        found.append(loaded(root) == saving.new)
        for folder in (root / "run/checkpoints").glob("step-*"):  # nothing that can be seen is half there
            assert failing.files(folder) in (failing.files(saving.before / folder.relative_to(root)), saving.new)
        saving.save(root)  # whoever comes next finds nothing in the way, and clears up
        assert loaded(root) == saving.new
        assert not [path for path in (root / "run/checkpoints").iterdir() if path.name.startswith(".")], number
    assert found == sorted(found) and True in found and False in found  # from some operation on it is the new one


@circumstances
def test_a_power_cut_at_any_operation_leaves_the_old_or_the_new_checkpoint(kind, place):
    saving = Saving(kind, place)
    last = len(saving.operations(place / "run"))
    seen = 0
    for number, state in failing.power_cuts(saving, place / "run"):
        root = failing.lay_out(state, place / "run")
        assert saving.stands(root), (number, sorted(state))
        if number == last:
            assert loaded(root) == saving.new  # what was reported as saved is there
        seen += 1
    assert seen > 500


@circumstances
@pytest.mark.parametrize("stays", [False, True], ids=["once", "from then on"])
def test_a_full_disk_at_any_operation_leaves_the_old_or_the_new_checkpoint(kind, stays, place):
    saving = Saving(kind, place)
    for number, event in enumerate(saving.operations(place / "run")):
        root = saving.fresh(place / "run")
        with on(Disk(number, failing.full, stays=stays)), pytest.raises(InputError) as caught:
            saving.save(root)
        message = str(caught.value)
        assert "bytes are needed and" in message and "bytes are free in" in message and "make room" in message
        assert saving.stands(root), (number, event)
        saving.save(root)
        assert loaded(root) == saving.new


def test_too_little_room_is_told_before_anything_is_written(tmp_path):
    saving = Saving("next", tmp_path)
    root = saving.fresh(tmp_path / "run")

    class Small(Disk):
        def statvfs(self, path):
            return os.statvfs_result((4096, 4096, 10, 2, 2, 9, 9, 9, 0, 255))

    with on(Small()) as disk, pytest.raises(InputError, match=r"\d+ bytes are needed and 8192 bytes are free in .*run"):
        saving.save(root)
    assert disk.events == [] and loaded(root) == saving.old


def test_a_real_small_disk_that_is_full(tmp_path):
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160k", "none", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"may not mount a tmpfs: {mounted.stderr.decode().strip()}")
    try:
        saving = Saving("next", tmp_path)
        root = Path(shutil.copytree(saving.before, place / "run"))
        for told in (True, False):  # found beforehand; found by writing, where the file system does not tell its room
            for filled in range(0, 160, 4):
                (place / "filler").write_bytes(bytes(1024 * filled))
                disk = Disk()
                if not told:
                    disk.statvfs = lambda path: os.statvfs("/")  # type: ignore[attr-defined]
                try:
                    with on(disk):
                        saving.save(root)
                except InputError as error:
                    assert "the disk is full" in str(error)
                    assert loaded(root) == saving.old
                    assert not list((root / "run/checkpoints").glob(".*"))
                    break
                except OSError:
                    break
                assert loaded(root) == saving.new
                (place / "filler").unlink()
                shutil.rmtree(root)
                shutil.copytree(saving.before, root)
            else:
                raise AssertionError("never full")
            (place / "filler").unlink()
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_every_flipped_bit_is_found_and_the_checkpoint_before_is_taken(place):
    saving = Saving("next", place)
    root = saving.fresh(place / "run")
    saving.write(root, 5, 7, keep=2)
    newest, before = (root / f"run/checkpoints/step-{step}" for step in (5, 4))
    files = sorted(path.name for path in newest.iterdir())
    assert files == sorted([*checkpoint.FILES, durable.CHECKSUMS, "text-vocabulary.json"])
    draw = random.Random(0)
    for number in range(200):
        path = newest / files[number % len(files)]
        sound = path.read_bytes()
        at, bit = draw.randrange(len(sound)), 1 << draw.randrange(8)
        path.write_bytes(sound[:at] + bytes([sound[at] ^ bit]) + sound[at + 1 :])
        folder, faults = resumed(root / "run", "auto")
        assert folder == before, (path.name, at, bit)
        assert len(faults) == 1 and str(newest) in faults[0] and "damaged" in faults[0]
        for use in (lambda: checkpoint.load_model(newest, MaskedAutoencoder), lambda: resumed(place, str(newest))):
            with pytest.raises(InputError, match=r"(?s)damaged: .*step-4") as caught:
                use()
            assert path.name in str(caught.value) or path.name == durable.CHECKSUMS
        path.write_bytes(sound)
    assert resumed(root / "run", "auto") == (newest, [])


def test_a_save_that_fails_ends_every_process(place):
    """The others wait for the main one: without a word from it they would do so for ever."""
    saving = Saving("next", place)
    root = saving.fresh(place / "run")

    def process(rank: int) -> int:
        dist.init_process_group("gloo", init_method=f"file://{place}/meet", rank=rank, world_size=2)
        try:
            with on(Disk(9 if rank == 0 else None, failing.full)):
                saving.save(root)
        except (InputError, Elsewhere) as error:
            (place / f"told-{rank}").write_text(str(error))
            return 2
        return 0

    with ThreadPoolExecutor() as both:  # each waits for its process
        assert list(both.map(lambda rank: fork(lambda: process(rank)), (0, 1))) == [2, 2]
    told = [(place / f"told-{rank}").read_text() for rank in (0, 1)]
    assert told[0] == told[1] and "bytes are needed" in told[0]
    assert loaded(root) == saving.old


def test_missing_torn_and_unreadable_files_are_named(place):
    saving = Saving("next", place)
    for name in [*checkpoint.FILES, durable.CHECKSUMS]:
        for spoil in (Path.unlink, lambda path: os.truncate(path, 20), lambda path: path.unlink() or path.mkdir()):
            root = saving.fresh(place / "run")
            saving.write(root, 5, 7, keep=2)
            path = root / "run/checkpoints/step-5" / name
            spoil(path)
            folder, faults = resumed(root / "run", "auto")
            if name == durable.CHECKSUMS and not path.exists():  # as if somebody had put it together
                assert folder == path.parent and not faults
            else:
                assert folder is not None and folder.name == "step-4" and len(faults) == 1 and name in faults[0]


def test_the_disk_is_changed_through_os_alone():
    tree = ast.parse(Path(durable.__file__).read_text())
    called = {node.func for node in ast.walk(tree) if isinstance(node, ast.Call)}
    names = {f.attr for f in called if isinstance(f, ast.Attribute) and not ast.unparse(f).startswith("os.")}
    assert not names & {"write_text", "write_bytes", "mkdir", "rename", "replace", "unlink", "rmdir", "touch"}
    opened = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "open"]
    assert [ast.unparse(node.args[1]) for node in opened] == ["'rb'"]
