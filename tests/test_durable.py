"""Nothing saved is lost: kills, power cuts, full disks and rotten bits at every operation of a save."""

from __future__ import annotations

import ast
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import failing
import psutil
import pytest
import torch
import torch.distributed as dist
from failing import Disk, Saving, fork, loaded, on
from safetensors.torch import load
from test_train import SMALL, log_of

from mmmae import MaskedAutoencoder, checkpoint, durable
from mmmae.corpora import prepare
from mmmae.launch import Elsewhere
from mmmae.report import logged
from mmmae.resume import resumed
from mmmae.train import main
from mmmae.weights import packed
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
        for use in (lambda: checkpoint.load_model(newest), lambda: resumed(place, str(newest))):
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


def test_when_every_checkpoint_is_damaged_nothing_is_begun_anew(tmp_path):
    root = Saving("next", tmp_path).before
    (root / "run/checkpoints/step-4/state.json").write_text("{}")
    with pytest.raises(InputError, match=r"no checkpoint can be read\n.*state.json has 2 bytes"):
        resumed(root / "run", "auto")


def test_what_else_lies_among_checkpoints_is_passed_over(tmp_path):
    saving = Saving("next", tmp_path)
    home = saving.before / "run/checkpoints"
    for name in ("step-abc", "step-9", "step-", ".step-8.draft", "notes", "step-4-copy", "step-010"):
        (home / name).mkdir()
    (home / ".step-8.draft/model.safetensors").write_bytes(b"half")
    (home / "step-4-copy/model.safetensors").write_bytes(b"half")
    (home / "step-11").write_text("a file")
    (home / "step-12").symlink_to("nowhere")
    assert resumed(saving.before / "run", "auto") == (home / "step-4", [])
    saving.save(saving.before)
    assert loaded(saving.before) == saving.new
    assert (home / "step-4-copy").exists() and not (home / ".step-8.draft").exists()


def test_a_folder_without_checksums_loads_where_its_files_can_be_read(tmp_path):
    root = Saving("next", tmp_path).before
    folder = root / "run/checkpoints/step-4"
    (folder / durable.CHECKSUMS).unlink()
    assert resumed(root / "run", "auto") == (folder, [])
    for name in checkpoint.FILES:
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[:-1])
        with pytest.raises(InputError, match=f"{name} cannot be read"):
            resumed(root / "run", "auto")
        (folder / name).write_bytes(whole)


def test_a_model_is_saved_whole_and_over_itself_but_not_over_other_files(tmp_path):
    from tiny import tiny

    model = tiny("default", modalities=["imu"]).build()
    folder = tmp_path / "above" / "model"
    model.save_pretrained(folder)
    first = (folder / checkpoint.MODEL).read_bytes()
    with torch.no_grad():
        next(model.parameters()).add_(1)
    model.save_pretrained(folder)
    assert (folder / checkpoint.MODEL).read_bytes() != first
    assert sorted(path.name for path in folder.iterdir()) == ["checksums.json", "model.safetensors", "recipe.json"]
    again = MaskedAutoencoder.from_pretrained(folder).state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in model.state_dict().items())
    folder.rename(folder.with_name(".model.aside"))  # killed between the two renames of a replacement
    MaskedAutoencoder.from_pretrained(folder)
    model.save_pretrained(folder)
    assert [path.name for path in folder.parent.iterdir()] == ["model"]
    (folder / durable.CHECKSUMS).write_text("{")
    model.save_pretrained(folder)
    (folder / "mine.txt").write_text("kept")
    with pytest.raises(InputError, match=r"holds other files \(mine.txt\)"):
        model.save_pretrained(folder)
    assert (folder / "mine.txt").read_text() == "kept"


def test_weights_are_packed_as_safetensors_packs_them():
    kinds = [torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.uint8, torch.bool]
    tensors = {f"x{kind}": (torch.arange(6).reshape(2, 3) % 2).to(kind) for kind in kinds}
    tensors |= {"scalar": torch.tensor(3.0), "empty": torch.empty(0, 4), "turned": torch.arange(6.0).reshape(2, 3).T}
    size, chunks = packed(tensors)
    data = b"".join(chunks)
    assert len(data) == size
    back = load(data)
    assert back.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert back[name].dtype == tensor.dtype and torch.equal(back[name], tensor), name


def test_the_disk_is_changed_through_os_alone():
    tree = ast.parse(Path(durable.__file__).read_text())
    called = {node.func for node in ast.walk(tree) if isinstance(node, ast.Call)}
    names = {f.attr for f in called if isinstance(f, ast.Attribute) and not ast.unparse(f).startswith("os.")}
    assert not names & {"write_text", "write_bytes", "mkdir", "rename", "replace", "unlink", "rmdir", "touch"}
    opened = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "open"]
    assert [ast.unparse(node.args[1]) for node in opened] == ["'rb'"]


def test_a_torn_log_keeps_its_whole_lines(tmp_path):
    path = tmp_path / "log.jsonl"
    lines = [json.dumps({"step": step, "loss": 0.5}) for step in (1, 2, 3)]
    for torn in (b'{"step": 2, "lo', b"\0" * 20, b"\xff\xfe", b"7", b'{"loss": 1}', b""):
        path.write_bytes("\n".join([*lines, ""]).encode() + torn)
        assert logged(path, 2) == lines[:2]
    assert logged(path, 0) == [] and logged(tmp_path / "none", 3) == []


# Real training, in a process of its own


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    return prepare("world", tmp_path_factory.mktemp("corpus") / "world", clips=12, seconds=1.0, size=32).parent


def command(world: Path, output: Path) -> list[str]:
    settings = ["--modalities", "imu", "--steps", "6", "--save-every", "2", "size=tiny", "training.evaluate_every=6"]
    return ["--data", str(world), "--output", str(output), *SMALL, *settings]


def outcome(output: Path) -> tuple[list[dict], dict]:
    """Losses of every step, and the last checkpoint's weights and moments."""
    log = [{k: v for k, v in line.items() if k not in ("samples_per_second", "data_wait")} for line in log_of(output)]
    folder = checkpoint.find(output)
    return log, {name: (folder / name).read_bytes() for name in (checkpoint.MODEL, checkpoint.OPTIMIZER)}


def test_a_run_killed_while_saving_ends_as_if_nothing_had_happened(world, tmp_path):
    disk = Disk()
    with on(disk):
        assert main(command(world, tmp_path / "whole")) == 0
    renames = [number for number, event in enumerate(disk.events) if event[0] == "rename" and "draft" in event[1]]
    second = renames[2]  # after the log's own and the first checkpoint's
    for at in (second - 9, second + 1):
        output = tmp_path / f"killed-{at}"
        with on(Disk(at, failing.killed)):
            assert fork(lambda output=output: main(command(world, output))) == -signal.SIGKILL
        with open(output / "log.jsonl", "a") as log:
            log.write('{"step": 5, "los')
        assert fork(lambda output=output: main(command(world, output))) == 0
        assert outcome(output) == outcome(tmp_path / "whole")


@pytest.mark.timeout(120)
def test_a_killed_worker_ends_the_run_with_a_message(world, tmp_path):
    output = tmp_path / "run"
    arguments = [*command(world, output), "--workers", "1", "--steps", "2000", "--save-every", "2"]
    child = os.fork()
    if child == 0:
        sys.stderr = open(tmp_path / "errors", "w", buffering=1)  # noqa: SIM115
        os._exit(main(arguments))
    while not (output / "log.jsonl").exists() or not (workers := psutil.Process(child).children()):
        time.sleep(0.01)
    time.sleep(0.3)
    workers[0].kill()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
    errors = (tmp_path / "errors").read_text()
    assert "Traceback" not in errors
    assert "mmmae: a loader worker died" in errors and "the same command resumes the run" in errors
