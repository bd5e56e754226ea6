"""VideoMAE's weights come and go in others' layouts without a bit lost, and nothing is left out in silence."""

from __future__ import annotations

import argparse
import json
import pathlib
import re
import warnings
from collections.abc import Mapping
from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.testing import assert_close
from transformers import VideoMAEConfig, VideoMAEForPreTraining, VideoMAEForVideoClassification, VideoMAEModel

from fusion.sizes import SIZES
from mmmae import MaskedAutoencoder, Recipe
from mmmae.__main__ import main
from mmmae.api import load as read
from mmmae.build import build
from mmmae.convert.anatomy import inferred
from mmmae.convert.files import Found
from mmmae.convert.layouts import LAYOUTS, VIDEOMAE
from mmmae.convert.write import write
from modalities.errors import InputError
from modalities.records import Signal

SHAPE = ["modalities.video.frames=4", "modalities.video.size=32"]  # which the authors' file does not tell
HEADS = ["trunk.heads=4", "objectives.reconstruction.decoder.heads=3"]
NAMES = {  # transformers' names for the authors', written down apart from the package's own table
    r"^videomae\.": "encoder.", "embeddings.patch_embeddings.projection": "patch_embed.proj",
    r"encoder\.layer\.": "blocks.", "decoder_layers": "blocks",
    "layernorm_before": "norm1", "layernorm_after": "norm2", "layernorm": "norm",
    r"attention\.attention\.query\.bias": "attn.q_bias", r"attention\.attention\.value\.bias": "attn.v_bias",
    "attention.output.dense": "attn.proj", "intermediate.dense": "mlp.fc1", "output.dense": "mlp.fc2",
}  # fmt: skip


def reference(cls: type = VideoMAEForPreTraining, **settings):
    """A tiny VideoMAE of transformers, no bias or scale of which stays where it started."""
    torch.manual_seed(0)
    shapes = {"image_size": 32, "patch_size": 8, "num_frames": 4, "tubelet_size": 2}
    encoder = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 128}
    decoder = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 96}
    decoder = {f"decoder_{key}": value for key, value in decoder.items()}
    model = cls(VideoMAEConfig(**{**shapes, **encoder, **decoder, "use_mean_pooling": False, **settings}))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.15 * torch.randn_like(parameter))  # attention that attends: its gradients are no rounding
    return model.eval()


def authors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of transformers' model as VideoMAE's authors name and pack them."""
    found = {}
    for name, tensor in tensors.items():
        for theirs, ours in NAMES.items():
            name = re.sub(theirs, ours, name)
        found[name] = tensor
    for name in [name for name in found if name.endswith("attention.attention.query.weight")]:
        parts = [found.pop(name.replace("query", part)) for part in ("query", "key", "value")]
        found[name.replace("attention.attention.query", "attn.qkv")] = torch.cat(parts)
    return found


def saved(model, layout: str, folder: Path) -> Path:
    """The model's weights in a layout, as its users have them."""
    if layout == "transformers":
        model.save_pretrained(folder)
        return folder
    folder.mkdir(exist_ok=True)
    arguments = argparse.Namespace(lr=1e-3, output_dir="runs")  # as VideoMAE's trainer keeps them
    torch.save({"model": authors(model.state_dict()), "args": arguments, "epoch": 3}, folder / "checkpoint.pth")
    return folder / "checkpoint.pth"


def assert_same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> None:
    assert sorted(one) == sorted(other)
    assert not [name for name in one if not torch.equal(one[name], other[name])]


def clip(count: int = 3) -> Tensor:
    return torch.randint(0, 256, (count, 4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def pixels(frames: Tensor) -> Tensor:
    """Frames as transformers' models take them."""
    mean, std = (torch.tensor(x)[:, None, None] for x in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    return (frames.float() / 255 - mean) / std


def overrides(layout: str) -> list[str]:
    return [] if layout == "transformers" else [*SHAPE, *HEADS]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_features_loss_and_every_gradient_are_those_of_transformers(layout, tmp_path):
    theirs = reference()
    model = read(saved(theirs, layout, tmp_path / "theirs"), overrides(layout)).model
    batch = {"video": Signal(clip())}
    assert_close(model.encode(batch)["video"].x, theirs.videomae(pixels(clip())).last_hidden_state, rtol=0, atol=1e-5)
    encoded = model.encode_masked(batch)
    masked = tiny.chosen(encoded.plans["video"].hidden, None, 32)
    said = theirs(pixels(clip()), bool_masked_pos=masked)
    assert_close(
        encoded.tokens["video"].x, theirs.videomae(pixels(clip()), masked).last_hidden_state, rtol=0, atol=1e-5
    )
    loss = model(batch).total
    assert_close(loss, said.loss, rtol=0, atol=1e-5)
    loss.backward()
    said.loss.backward()
    wanted = authors({name: p.grad for name, p in theirs.named_parameters()})
    wanted = {VIDEOMAE.bare(name): grad for name, grad in wanted.items()}
    for name, parameter in model.named_parameters():
        gradient = VIDEOMAE.equation(name, "video").forth(wanted)
        assert (parameter.grad - gradient).norm() <= 1e-4 * gradient.norm(), name


@pytest.mark.parametrize("top", ["model", "module", None])
@pytest.mark.parametrize("prefix", ["", "_orig_mod.", "module.", "backbone.", "module._orig_mod."])
def test_the_authors_checkpoint_there_and_back_is_bit_identical(prefix, top, tmp_path):
    weights = authors(reference().state_dict())
    wrapped = {prefix + name: tensor for name, tensor in weights.items()}
    torch.save({top: wrapped} if top else wrapped, tmp_path / "theirs.pth")
    write(read(tmp_path / "theirs.pth", [*SHAPE, *HEADS]).model, "videomae", tmp_path / "back")
    assert_same(torch.load(tmp_path / "back" / "checkpoint.pth", weights_only=True)["model"], weights)


@pytest.mark.parametrize("biases", [("q_bias", "v_bias"), ("query.bias", "value.bias")])
@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_transformers_there_and_back_is_bit_identical(file, biases, tmp_path):
    theirs = reference()
    theirs.config.save_pretrained(tmp_path)
    weights = {}
    for name, tensor in theirs.state_dict().items():  # old and new releases name the biases differently
        for new, called in zip(("query.bias", "value.bias"), biases, strict=True):
            name = re.sub(rf"{new}$", called, name)
        weights[name] = tensor
    store = torch.save if file.endswith("bin") else save_file
    store(weights, tmp_path / file)
    model = MaskedAutoencoder.from_pretrained(tmp_path)
    write(model, "transformers", tmp_path / "back")
    again, info = VideoMAEForPreTraining.from_pretrained(tmp_path / "back", output_loading_info=True)
    assert not any(info.values())
    assert_same(again.state_dict(), theirs.state_dict())
    known = json.loads((tmp_path / "back" / "config.json").read_text())
    wanted = json.loads((tmp_path / "config.json").read_text()) | {"layer_norm_eps": 1e-6, "dtype": "float32"}
    assert {key: known[key] for key in known if key not in ("qkv_bias", "architectures")}.items() <= wanted.items()
    write(model, "mmmae", tmp_path / "ours")
    assert_same(MaskedAutoencoder.from_pretrained(tmp_path / "ours").state_dict(), model.state_dict())


@pytest.mark.parametrize("prefix", ["", "encoder.", "backbone.", "_orig_mod."])
def test_a_fine_tuned_encoder_comes_without_its_head_and_says_so(prefix, tmp_path):
    theirs = reference(VideoMAEForVideoClassification, use_mean_pooling=True, num_labels=5)
    weights = authors(theirs.state_dict())
    body = {prefix + n.removeprefix("encoder."): x for n, x in weights.items() if n.startswith("encoder.")}
    head = {n.replace("classifier", "head"): x for n, x in weights.items() if not n.startswith("encoder.")}
    torch.save({"module": {**body, **head}}, tmp_path / "tuned.pth")
    theirs.save_pretrained(tmp_path / "folder")
    batch, wanted = {"video": Signal(clip())}, theirs.videomae(pixels(clip())).last_hidden_state
    for path, given in ((tmp_path / "tuned.pth", [*SHAPE, HEADS[0]]), (tmp_path / "folder", [])):
        found = read(path, given)
        told = " ".join(found.notes)
        assert "fc_norm.weight" in told and ("head.bias" in told or "classifier.bias" in told)
        assert "no final norm" in told and "a fresh one was drawn" in told
        assert_close(found.model.encode(batch)["video"].x, wanted, rtol=1e-5, atol=1e-5)
        assert found.model(batch).total.isfinite()


def test_an_encoder_of_transformers_there_and_back(tmp_path):
    theirs = reference(VideoMAEModel)
    theirs.save_pretrained(tmp_path / "theirs")
    with pytest.warns(UserWarning, match="a fresh one was drawn"):
        model = MaskedAutoencoder.from_pretrained(tmp_path / "theirs")
    write(model, "transformers", tmp_path / "back", encoder=True)
    again, info = VideoMAEModel.from_pretrained(tmp_path / "back", output_loading_info=True)
    assert not any(info.values())
    assert_same(again.state_dict(), theirs.state_dict())


@pytest.mark.parametrize("size", list(SIZES))
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_the_size_is_read_from_shapes(layout, size):
    with torch.device("meta"):
        model = Recipe.load("videomae", [f"size={size}"]).build()
    theirs: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        theirs |= layout.equation(name, "video").back(tensor, {"t": 2, "h": 16, "w": 16})
    recipe = inferred(Found(Path("checkpoint.pth"), theirs), layout, theirs, [])
    assert recipe.tree["size"] == size
    with torch.device("meta"):
        again = build(recipe)
    assert {n: x.shape for n, x in again.state_dict().items()} == {n: x.shape for n, x in model.state_dict().items()}


# What is refused


def refused(path: Path, given=()) -> str:
    with pytest.raises(InputError) as error, warnings.catch_warnings():
        warnings.simplefilter("error")
        read(path, given)
    assert str(path) in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    "lost", ["encoder.blocks.1.attn.q_bias", "decoder.head.bias", "encoder_to_decoder.weight", "encoder.norm.weight"]
)
def test_a_missing_or_unexpected_tensor_is_named(lost, tmp_path):
    weights = authors(reference().state_dict())
    kept = {name: tensor for name, tensor in weights.items() if name != lost}
    torch.save({"model": kept}, tmp_path / "a.pth")
    assert lost in refused(tmp_path / "a.pth", [*SHAPE, *HEADS]).partition("missing:")[2].partition(";")[0]
    torch.save({"model": weights | {"encoder.pos_embed": torch.zeros(3)}}, tmp_path / "b.pth")
    assert refused(tmp_path / "b.pth", [*SHAPE, *HEADS]).endswith("missing: none; unexpected: encoder.pos_embed")


def test_biases_that_transformers_lost_are_seen(tmp_path, monkeypatch):
    theirs = reference()
    theirs.save_pretrained(tmp_path / "whole")
    kept = {n: x for n, x in load_file(tmp_path / "whole" / "model.safetensors").items() if not n.endswith("q_bias")}
    save_file(kept, tmp_path / "whole" / "model.safetensors")
    assert "videomae.encoder.layer.0.attention.attention.q_bias" in refused(tmp_path / "whole")
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if name.endswith(("query.bias", "value.bias")):
                parameter.zero_()
    theirs.save_pretrained(tmp_path / "zero")
    with pytest.warns(UserWarning, match="biases are 0"):
        model = MaskedAutoencoder.from_pretrained(tmp_path / "zero")
    torch.nn.init.ones_(model.trunk.stacks["video"].blocks[0].attention.q_bias)
    load = VideoMAEForPreTraining.from_pretrained

    def forgetful(*arguments, **settings):
        found, info = load(*arguments, **settings)
        torch.nn.init.zeros_(found.videomae.encoder.layer[0].attention.attention.query.bias)
        return found, info

    monkeypatch.setattr(VideoMAEForPreTraining, "from_pretrained", forgetful)
    with pytest.raises(InputError, match=r"changed .*layer\.0\.attention\.attention\.q_bias"):
        write(model, "transformers", tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_what_is_no_videomae_is_named(tmp_path):
    assert "no such file" in refused(tmp_path / "nowhere.pth")
    torch.save({"model": {"a": torch.ones(1)}, "args": pathlib.PurePosixPath("x")}, tmp_path / "code.pth")
    assert "pathlib" in refused(tmp_path / "code.pth") and "would run code" in refused(tmp_path / "code.pth")
    (tmp_path / "text.pth").write_text("hello")
    refused(tmp_path / "text.pth")
    torch.save({"model": {"conv1.weight": torch.ones(1)}}, tmp_path / "other.pth")
    assert "conv1.weight" in refused(tmp_path / "other.pth") and "patch_embed.proj" in refused(tmp_path / "other.pth")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").write_text("")
    assert "notes.txt" in refused(tmp_path / "folder")
    saved(reference(), "videomae", tmp_path / "authors")
    assert "trunk.heads=N" in refused(tmp_path / "authors" / "checkpoint.pth", SHAPE)
    for key, value in {"hidden_act": "relu", "norm_pix_loss": False, "layer_norm_eps": 1e-3}.items():
        folder = saved(reference(), "transformers", tmp_path / key)
        config = json.loads((folder / "config.json").read_text()) | {key: value}
        (folder / "config.json").write_text(json.dumps(config))
        assert f"{key}={value!r}" in refused(folder)
    wide = saved(reference(intermediate_size=160), "transformers", tmp_path / "wide")
    assert "(160, 32), expected (128, 32)" in refused(wide)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (["trunk.use=joint"], "trunk is not `separate`"),
        (["modalities.video.positions=grid"], "positions is not `flat`"),
        (["objectives.reconstruction.normalise=none"], "normalise is not `patch_channel`"),
        (["objectives.reconstruction.decoder.use=cross"], "no reconstruction with a `joint` decoder"),
    ],
)
def test_a_model_that_is_no_videomae_is_not_written_as_one(changes, told, tmp_path):
    model = tiny.tiny("videomae", changes).build()
    with pytest.raises(InputError, match=re.escape(told)):
        write(model, "transformers", tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_the_command_converts_both_ways(tmp_path, capsys):
    file = saved(reference(), "videomae", tmp_path / "theirs")
    run, out = tmp_path / "run", tmp_path / "out"
    assert main(["convert", str(file), "--out", str(run), *SHAPE, *HEADS]) == 0
    assert main(["convert", str(run), "--to", "transformers", "--out", str(out)]) == 0
    assert_same(VideoMAEForPreTraining.from_pretrained(out).state_dict(), reference().state_dict())
    assert main(["convert", str(run), "--to", "transformers", "--out", str(out)]) == 2
    assert "is there already" in capsys.readouterr().err
