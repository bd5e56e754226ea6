"""The exported encoder computes what `model.encode` does, for any batch size."""

from __future__ import annotations

import json
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import tiny
import torch

import mmmae
from mmmae.__main__ import main
from mmmae.commands.export import OPSET
from modalities.errors import InputError

SMALL = ["trunk.depth=1"]


def built(streams, *changes):
    return tiny.tiny("default", [*SMALL, *changes], modalities=streams).build().eval()


def require_same(run, model, near):
    """Tokens and features of batches of one and of three are those of `encode`."""
    for size in (1, 3):
        batch = model.recipe.example(batch_size=size, seed=size)
        with torch.no_grad():
            expected = model.encode(batch)
        made = run({name: signal.values for name, signal in batch.items()})
        assert sorted(made) == sorted(f"{name}_{kind}" for name in expected for kind in ("tokens", "features"))
        for name, tokens in expected.items():
            assert made[f"{name}_tokens"].shape == tokens.x.shape
            torch.testing.assert_close(made[f"{name}_tokens"], tokens.x, rtol=0, atol=near)
            torch.testing.assert_close(made[f"{name}_features"], tokens.mean(), rtol=0, atol=near)


def by_torch(path):
    return torch.export.load(path).module()


def by_onnx(path):
    session = onnxruntime.InferenceSession(path)
    names = [output.name for output in session.get_outputs()]

    def run(values):
        made = session.run(names, {name: x.numpy() for name, x in values.items()})
        return {name: torch.from_numpy(np.array(x)) for name, x in zip(names, made, strict=True)}

    return run


@pytest.mark.parametrize(
    ("streams", "changes"),
    [
        (["video"], []),
        (["audio"], []),
        (["imu"], []),
        (["imu"], ["modalities.imu.kind=stft", "modalities.imu.patch=8", "modalities.imu.graph=gat"]),
        (["text"], []),
        (["video", "audio"], ["trunk.use=branches", "trunk.depth=2"]),
        (["video", "audio"], ["trunk.use=bottleneck", "trunk.depth=2", "trunk.fusion_depth=1"]),
    ],
)
def test_a_torch_program_equals_encode(streams, changes, tmp_path):
    model = built(streams, *changes)
    mmmae.export(model, tmp_path / "encoder.pt2", to="torch")
    require_same(by_torch(tmp_path / "encoder.pt2"), model, near=1e-6)


@pytest.mark.parametrize("streams", [["video", "text"], ["audio"], ["imu"]])
def test_an_onnx_file_equals_encode(streams, tmp_path):
    model = built(streams)
    about = mmmae.export(model, tmp_path / "encoder.onnx", to="onnx")
    require_same(by_onnx(tmp_path / "encoder.onnx"), model, near=1e-5)
    written = onnx.load(tmp_path / "encoder.onnx")
    assert [entry.version for entry in written.opset_import if not entry.domain] == [OPSET]
    assert {entry.key: json.loads(entry.value) for entry in written.metadata_props}["mmmae"] == about
    for value in [*written.graph.input, *written.graph.output]:
        assert value.type.tensor_type.shape.dim[0].dim_param == "batch"
    assert list(about["inputs"]) == [value.name for value in written.graph.input] == streams


def test_a_run_is_exported_by_command(tmp_path, capsys):
    model = built(["video", "text"])
    model.save_pretrained(tmp_path / "run")
    out = tmp_path / "encoder.pt2"
    command = ["export", str(tmp_path / "run"), "--to", "torch", "--out", str(out), "--modalities", "video"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "uint8    (batch, 4, 3, 32, 32)" in said and "video_features" in said and "text" not in said
    clip = torch.randint(0, 256, (3, 4, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        expected = model.encode({"video": clip})["video"]
    kept = {"mmmae.json": ""}
    program = torch.export.load(out, extra_files=kept).module()
    assert json.loads(kept["mmmae.json"])["inputs"]["video"]["shape"] == ["batch", 4, 3, 32, 32]
    assert program({"video": clip})["video_tokens"].shape == expected.x.shape


def test_a_model_is_left_as_it_was(tmp_path):
    model = built(["text"]).train()
    mmmae.export(model, tmp_path / "encoder.pt2", to="torch")
    assert model.training and all(parameter.requires_grad for parameter in model.parameters())


def test_an_export_that_cannot_be_is_refused(tmp_path):
    model = built(["text"])
    for given, words in (
        ({"to": "tflite"}, "expected one of onnx, torch"),
        ({"modalities": ["video"]}, "no such stream"),
        ({"path": tmp_path / "nowhere" / "encoder.onnx"}, "no folder"),
    ):
        with pytest.raises(InputError, match=words):
            mmmae.export(**{"source": model, "path": tmp_path / "encoder.onnx", **given})
    assert not list(tmp_path.iterdir())


def test_without_onnxscript_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(InputError, match=r"mmmae\[export\]"):
        mmmae.export(built(["text"]), tmp_path / "encoder.onnx")
