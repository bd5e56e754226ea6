"""Recipes, checkpoints and weights made to run code or to read other files."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import torch
from hostile import CANARY, Cases, Payload, embedding, put
from safetensors.torch import save_file

from mmmae import Recipe
from mmmae.api import MaskedAutoencoder
from mmmae.build import build_readers
from mmmae.convert import read as convert
from mmmae.storage import checkpoint
from mmmae.storage import tensors as weights
from modalities.errors import InputError
from modalities.text import TextReader, Vocabulary

CASES = Cases()
case = CASES.case

# Pickle in what models are made of


@case
def a_checkpoint_of_others_that_runs(folder):
    torch.save({"model": {"a": torch.ones(1)}, "args": Payload(folder)}, folder / "a.pth")
    convert.read(folder / "a.pth")


for ending in (".pth", ".bin", ".safetensors"):
    CASES[f"a_pickle_as_checkpoint{ending}"] = lambda folder, ending=ending: convert.read(put(folder, "a" + ending))


@case
def a_pickle_as_vocabulary(folder):
    TextReader(vocabulary=str(put(folder, "vocabulary.json")))


@case
def a_pickle_as_recipe(folder):
    Recipe.load(put(folder, "a.yaml"))


def run(folder: Path, **changes: Any) -> Path:
    """A checkpoint as `checkpoint.save_model` lays it out, some of its files as they should not be."""
    tree = Recipe.load("default", ["size=tiny"], ["video"]).tree
    saved = {"name": "a", "narrowed": True, "recipe": tree, "files": {}}
    save_file({"a": torch.zeros(1)}, folder / checkpoint.MODEL)
    put(folder, checkpoint.RECIPE, json.dumps(saved | changes))
    return folder


@case
def a_pickle_as_weights(folder):
    run(folder)
    put(folder, checkpoint.MODEL)
    checkpoint.load_model(folder, MaskedAutoencoder)


@case
def a_pickle_as_recipe_of_a_checkpoint(folder):
    run(folder)
    put(folder, checkpoint.RECIPE)
    checkpoint.load_model(folder, MaskedAutoencoder)


# Recipes

TAGS = ("!!python/object/apply:os.mkdir [{path}]", "!!python/object/new:os.mkdir [{path}]", "!!python/name:os.mkdir")
RESOLVED = ("${{oc.env:HOME}}", "${{canary:{path}}}", "${{window}}")
for n, text in enumerate((*TAGS, *RESOLVED)):

    def in_a_file(folder: Path, text: str = text) -> None:
        put(folder, "a.yaml", f"base: default\nsize: {text.format(path=folder / CANARY)}\n")
        Recipe.load(folder / "a.yaml")

    def as_an_override(folder: Path, text: str = text) -> None:
        Recipe.load("default", [f"size={text.format(path=folder / CANARY)}"])

    CASES |= {f"yaml_{n}_in_a_file": in_a_file, f"yaml_{n}_as_an_override": as_an_override}


@case
def interpolation_in_the_recipe_of_a_checkpoint(folder):
    tree = Recipe.load("default", ["size=tiny"], ["video"]).tree
    run(folder, recipe=tree | {"size": f"${{canary:{folder / CANARY}}}"})
    checkpoint.load_model(folder, MaskedAutoencoder)


@case
def aliases_that_unfold_without_end(folder):
    lines = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9 if n else ['x'] * 9)}]" for n in range(30)]
    Recipe.load(put(folder, "a.yaml", "\n".join(lines)))


@case
def mappings_nested_without_end(folder):
    Recipe.load(put(folder, "a.yaml", "{a: " * 5000))


NAMES = {
    "masking.video.use": "os.mkdir", "trunk.use": "subprocess.Popen", "modalities.video.use": "antigravity.x",
    "modalities.video.hint": "os:mkdir.x", "objectives.reconstruction.decoder.use": "builtins.eval",
    "masking.audio.use": "idlelib.idle", "augment.video.use": "this.s", "masking.text.use": "mmmae.__main__.main",
}  # fmt: skip
for key, named in NAMES.items():
    CASES[f"{key}={named}"] = lambda folder, key=key, named=named: Recipe.load("default", [f"{key}={named}"]).readers()


@case
def a_name_of_python_in_a_checkpoint(folder):
    tree = Recipe.load("default", ["size=tiny"], ["video"]).tree
    run(folder, recipe=tree | {"trunk": {"use": "os.mkdir", "path": str(folder / CANARY)}})
    checkpoint.load_model(folder, MaskedAutoencoder)


# Checkpoints that lead elsewhere


def elsewhere(folder: Path, name: str, listed: bool = True) -> None:
    """A checkpoint whose recipe names a vocabulary."""
    Vocabulary.learn(["a secret"]).save(folder / "secret.json")
    tree = Recipe.load("default", ["size=tiny"], ["text"]).tree
    tree["modalities"]["text"]["vocabulary"] = name
    inner = folder / "run"
    inner.mkdir(exist_ok=True)
    run(inner, recipe=tree, files={"text": ["vocabulary"]} if listed else {})
    build_readers(checkpoint.load_recipe(inner))


@case
def a_checkpoint_naming_a_file_above_it(folder):
    elsewhere(folder, "../secret.json")


@case
def a_checkpoint_naming_an_absolute_file(folder):
    elsewhere(folder, str(folder / "secret.json"))


@case
def a_checkpoint_naming_a_file_that_it_does_not_list(folder):
    elsewhere(folder, str(folder / "secret.json"), listed=False)


@case
def a_checkpoint_with_a_link_out_of_it(folder):
    (folder / "run").mkdir()
    (folder / "run/vocabulary.json").symlink_to(folder / "secret.json")
    elsewhere(folder, "vocabulary.json")


@case
def an_index_of_weights_that_lie_elsewhere(folder):
    save_file({"a": torch.zeros(1)}, folder / "secret.safetensors")
    put(folder, "run/config.json", "{}")
    put(folder, "run/model.safetensors.index.json", json.dumps({"weight_map": {"a": "../secret.safetensors"}}))
    convert.read(folder / "run")


# Headers of safetensors


def tensors(header: Any, size: int | None = None, body: bytes = bytes(48)) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + body


def tensor(begin: int, end: int, shape: tuple[int, ...] = (1, 6)) -> dict[str, Any]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}


HEADERS = {
    "endless": tensors({}, 2**63), "longer_than_the_file": tensors({}, 10_000), "no_object": tensors([1]),
    "overlapping": tensors({"embedding": tensor(0, 24), "b": tensor(12, 36)}),
    "backwards": tensors({"a": tensor(24, 0)}),
    "negative": tensors({"a": tensor(-24, 0)}), "outside": tensors({"a": tensor(0, 2**40, (2**38,))}),
    "with_a_hole": tensors({"a": tensor(24, 48)}), "of_another_shape": tensors({"a": tensor(0, 24, (2**62, 2**62))}),
}  # fmt: skip
for kind, content in HEADERS.items():
    CASES[f"header_{kind}"] = lambda folder, content=content: embedding(put(folder, "a.safetensors", content))
    CASES[f"weights_{kind}"] = lambda folder, content=content: weights.load(put(folder, "a.safetensors", content))


# Code that comes with a model of transformers

CODE = "open({path!r}, 'w').close()\nfrom transformers import {base}\nclass Evil({base}): pass\n"


@case
def a_tokenizer_with_code_of_its_own(folder):
    put(folder, "model/evil.py", CODE.format(path=str(folder / CANARY), base="PreTrainedTokenizerFast"))
    config = {"auto_map": {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}, "tokenizer_class": "Evil"}
    put(folder, "model/tokenizer_config.json", json.dumps(config))
    put(folder, "model/config.json", json.dumps({"model_type": "evil", "auto_map": {"AutoConfig": "evil.Evil"}}))
    Vocabulary.load(folder / "model")


def encoder(folder: Path, config: dict[str, Any]) -> Any:
    put(folder, "model/config.json", json.dumps(config))
    recipe = ["size=tiny", f"modalities.text.encoder={folder / 'model'}", "modalities.text.words=10"]
    try:
        return Recipe.load("default", recipe, ["text"]).build()
    except (ValueError, OSError) as error:  # transformers' own errors
        raise InputError(str(error)) from error


@case
def an_encoder_with_code_of_its_own(folder):
    put(folder, "model/evil.py", CODE.format(path=str(folder / CANARY), base="PretrainedConfig"))
    encoder(folder, {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil"}})


@case
def an_encoder_whose_weights_are_a_pickle(folder):
    put(folder, "model/pytorch_model.bin")
    small = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 16}
    encoder(folder, {"model_type": "bert", "vocab_size": 10, **small})
