"""What is read of what lies on the disk: damage is told, nothing is begun anew, other files are left alone."""

from __future__ import annotations

import json

import pytest
import torch
from failing import Saving, loaded
from safetensors.torch import load

from mmmae import MaskedAutoencoder
from mmmae.storage import atomic as durable
from mmmae.storage import checkpoint
from mmmae.storage.tensors import packed
from mmmae.training.log import logged
from mmmae.training.resume import resumed
from modalities.errors import InputError


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


def test_a_torn_log_keeps_its_whole_lines(tmp_path):
    path = tmp_path / "log.jsonl"
    lines = [json.dumps({"step": step, "loss": 0.5}) for step in (1, 2, 3)]
    for torn in (b'{"step": 2, "lo', b"\0" * 20, b"\xff\xfe", b"7", b'{"loss": 1}', b""):
        path.write_bytes("\n".join([*lines, ""]).encode() + torn)
        assert logged(path, 2) == lines[:2]
    assert logged(path, 0) == [] and logged(tmp_path / "none", 3) == []
