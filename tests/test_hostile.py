"""Hostile inputs: files made to run code, to read other files or to reach the network do none of it."""

from __future__ import annotations

import json
import pickle
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from media import coded, number, tone, write_film, write_sound
from omegaconf import OmegaConf
from pyarrow import parquet
from safetensors.torch import save_file

from mmmae import checkpoint, weights
from mmmae.convert import read as convert
from mmmae.data.dataset import Clips
from mmmae.data.loader import Loader
from mmmae.data.manifest import Manifest
from mmmae.recipe import Recipe
from modalities.audio import AudioReader
from modalities.embedding import EmbeddingReader
from modalities.errors import InputError
from modalities.imu import IMUReader
from modalities.text import TextReader, Vocabulary
from modalities.video import VideoReader

CANARY = "canary"
CASES: dict[str, Callable[[Path], Any]] = {}


def case(function: Callable[[Path], Any]) -> Callable[[Path], Any]:
    """One hostile input: it is written into a folder and used there, which must end in an InputError."""
    CASES[function.__name__] = function
    return function


class Payload:
    """An object whose pickle, when it is loaded, leaves a file behind."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __reduce__(self):
        return exec, (f"open({str(self.folder / CANARY)!r}, 'w').close()",)


def put(folder: Path, name: str, content: bytes | str | None = None) -> Path:
    """A file; by default it holds a pickle that runs."""
    content = pickle.dumps(Payload(folder)) if content is None else content
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def objects(path: Path) -> Path:
    """A .npy file of Python objects, which numpy pickles."""
    np.save(path, np.array([[Payload(path.parent)] * 6] * 9, dtype=object), allow_pickle=True)
    return path


def imu(path: Path) -> Any:
    return IMUReader(sensors=1).read({"path": str(path), "rate": 50.0}, 0.0, 1.0)


def embedding(path: Path) -> Any:
    return EmbeddingReader(width=6).read(str(path), 0.0, 1.0)


def video(path: Path) -> Any:
    VideoReader(frames=1).seconds(str(path))
    return VideoReader(frames=1, size=64).read(str(path), 0.0, 0.2)


def audio(path: Path) -> Any:
    return AudioReader().read(str(path), 0.0, 1.0)


# Pickle in every kind of file that is read


@case
def pickled_objects_in_npy_as_imu(folder):
    imu(objects(folder / "a.npy"))


@case
def pickled_objects_in_npy_as_embedding(folder):
    embedding(objects(folder / "a.npy"))


@case
def an_archive_of_pickles_called_npy(folder):
    np.savez(folder / "a.npz", x=np.array([Payload(folder)], dtype=object))
    imu((folder / "a.npz").rename(folder / "a.npy"))


@case
def code_in_the_header_of_npy(folder):
    header = (
        f"{{'descr': '<f4', 'fortran_order': False, 'shape': __import__('os').mkdir('{folder / CANARY}')}}\n".encode()
    )
    imu(put(folder, "a.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header))


for ending in (".csv", ".parquet", ".npy"):
    CASES[f"a_pickle_as_imu{ending}"] = lambda folder, ending=ending: imu(put(folder, "a" + ending))
for ending in (".npy", ".parquet", ".safetensors"):
    CASES[f"a_pickle_as_embedding{ending}"] = lambda folder, ending=ending: embedding(put(folder, "a" + ending))
for ending in (".wav", ".flac", ".mp3"):
    CASES[f"a_pickle_as_sound{ending}"] = lambda folder, ending=ending: audio(put(folder, "a" + ending))
for ending in (".mp4", ".mkv", ".png"):
    CASES[f"a_pickle_as_film{ending}"] = lambda folder, ending=ending: video(put(folder, "a" + ending))
for ending in (".jsonl", ".json", ".csv", ".parquet"):
    CASES[f"a_pickle_as_manifest{ending}"] = lambda folder, ending=ending: Manifest.open(put(folder, "a" + ending))


@case
def a_pickle_as_captions(folder):
    put(folder, "a.txt", b"\x80" + pickle.dumps(Payload(folder)))
    next(iter(Loader(Clips(Manifest.open(folder), {"text": TextReader()}, window=1.0), 1)))


def extension(folder: Path) -> Path:
    """A parquet file whose column is of a type that old Arrow unpickles (CVE-2023-47248)."""
    names = {b"ARROW:extension:name": b"arrow.py_extension_type"}
    field = pa.field("a.x", pa.float64(), metadata=names | {b"ARROW:extension:metadata": pickle.dumps(Payload(folder))})
    parquet.write_table(pa.table([pa.array([1.0, 2.0])], schema=pa.schema([field])), folder / "a.parquet")
    return folder / "a.parquet"


@case
def a_pickled_arrow_type_as_imu(folder):
    IMUReader(sensors=1).read({"path": str(extension(folder))}, 0.0, 1.0)


@case
def a_pickled_arrow_type_as_manifest(folder):
    Manifest.open(extension(folder))


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
    checkpoint.load_model(folder)


@case
def a_pickle_as_recipe_of_a_checkpoint(folder):
    run(folder)
    put(folder, checkpoint.RECIPE)
    checkpoint.load_model(folder)


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
    checkpoint.load_model(folder)


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
    checkpoint.load_model(folder)


# Checkpoints that lead elsewhere


def elsewhere(folder: Path, name: str, listed: bool = True) -> None:
    """A checkpoint whose recipe names a vocabulary."""
    Vocabulary.learn(["a secret"]).save(folder / "secret.json")
    tree = Recipe.load("default", ["size=tiny"], ["text"]).tree
    tree["modalities"]["text"]["vocabulary"] = name
    inner = folder / "run"
    inner.mkdir(exist_ok=True)
    run(inner, recipe=tree, files={"text": ["vocabulary"]} if listed else {})
    checkpoint.load_recipe(inner).readers()


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


# Media that open other files or the network


def secret(folder: Path, ending: str = ".ts") -> Path:
    """A film that opens, if anything leads there."""
    return write_film(folder / f"secret{ending}", [coded(7)] * 30, sound=tone(1.2))


HLS = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXTINF:1.2,\n{}\n#EXT-X-ENDLIST\n"
MPD = """<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT1S"
 profiles="urn:mpeg:dash:profile:full:2011"><Period><AdaptationSet mimeType="video/mp4"><Representation id="1"
 bandwidth="1"><BaseURL>{}</BaseURL></Representation></AdaptationSet></Period></MPD>"""
LISTS = {
    "hls": HLS.format("secret.ts"), "hls_absolute": HLS.format("{0}"), "hls_network": HLS.format("http://127.0.0.1:9/a.ts"),
    "concat": "ffconcat version 1.0\nfile secret.ts\n", "concat_absolute": "ffconcat version 1.0\nfile {0}\n",
    "dash": MPD.format("secret.mp4"), "sdp": "v=0\nc=IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    "subtitles": "# VobSub index file, v7 (do not modify this line!)\nid: en, index: 0\n",
}  # fmt: skip
for kind, text in LISTS.items():
    for ending in (".mp4", ".m3u8") if kind == "hls" else (".mp4",):

        def as_film(folder: Path, text: str = text, ending: str = ending) -> None:
            secret(folder, ".mp4")
            video(put(folder, "a" + ending, text.replace("{0}", str(secret(folder)))))

        def as_sound(folder: Path, text: str = text, ending: str = ending) -> None:
            secret(folder, ".mp4")
            audio(put(folder, "a" + ending, text.replace("{0}", str(secret(folder)))))

        CASES |= {f"{kind}_as_film{ending}": as_film, f"{kind}_as_sound{ending}": as_sound}


@case
def a_protocol_for_a_path(folder):
    secret(folder)
    video(Path(f"concat:{folder / 'secret.ts'}"))


@case
def the_network_for_a_path(folder):
    video(Path("http://127.0.0.1:9/a.mp4"))


# The test


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", CASES)
def test_a_hostile_input_is_refused_and_runs_nothing(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("builtins.input", lambda *_: "y")  # who is asked whether to trust it says yes
    before = set(sys.modules)
    OmegaConf.register_new_resolver("canary", lambda path: Path(path).mkdir(), replace=True)
    try:
        with pytest.raises(InputError):
            CASES[name](tmp_path)
    finally:
        OmegaConf.clear_resolver("canary")
    assert not (tmp_path / CANARY).exists()
    assert not {"antigravity", "idlelib.idle", "this"} & (set(sys.modules) - before)


def test_there_are_at_least_forty():
    assert len(CASES) >= 40


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", ["pickle", "yaml", "resolver"])
def test_the_canary_sings(name, tmp_path):
    """What is refused above does run where nobody refuses it."""
    if name == "pickle":
        pickle.loads(pickle.dumps(Payload(tmp_path)))
    elif name == "yaml":
        import yaml

        yaml.unsafe_load(TAGS[0].format(path=tmp_path / CANARY))
    else:
        OmegaConf.register_new_resolver("canary", lambda path: Path(path).mkdir(), replace=True)
        assert OmegaConf.create({"a": f"${{canary:{tmp_path / CANARY}}}"}).a is None
        OmegaConf.clear_resolver("canary")
    assert (tmp_path / CANARY).exists()


def test_a_percent_sign_in_a_name_is_a_percent_sign(tmp_path):
    """FFmpeg takes `%d.png` for a row of pictures."""
    import av

    for name, shows in {"%d.png": 3, "0.png": 5, "1.png": 6}.items():
        with av.open(str(tmp_path / "new.png"), "w", format="image2", options={"update": "1"}) as out:
            stream = out.add_stream("png", rate=1)
            stream.height = stream.width = 64
            stream.pix_fmt = "rgb24"
            out.mux(stream.encode(av.VideoFrame.from_ndarray(coded(shows))))
        (tmp_path / "new.png").rename(tmp_path / name)
    assert number(video(tmp_path / "%d.png").values[0].numpy()) == 3


def refer(path: Path, target: Path) -> None:
    """Make a film of one stream look for its pictures in another file: a QuickTime alias as its data reference."""
    data = bytearray(path.read_bytes())
    name = str(target).encode()
    words = struct.pack(">HH", 2, len(name)) + name + bytes(len(name) % 2) + struct.pack(">Hh", 0xFFFF, -1)
    alias = (
        bytes(10) + bytes(28) + bytes(12) + b"\x03abc" + bytes(60) + bytes(16) + struct.pack(">HH", 1, 1) + bytes(16)
    )
    alias += words + bytes(40)
    entry = struct.pack(">I4sI", 12 + len(alias), b"alis", 0) + alias
    place = data.index(b"url ", data.index(b"moov")) - 4
    data[place : place + 12] = entry
    start = 0
    for box in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):
        start = data.index(box, start) - 4
        data[start : start + 4] = struct.pack(">I", int.from_bytes(data[start : start + 4], "big") + len(entry) - 12)
        start += 8
    path.write_bytes(data)


def test_a_film_that_refers_to_another_file_is_not_followed(tmp_path):
    import av

    from modalities.media import OPTIONS

    path, other = (write_film(tmp_path / f"{n}.mp4", [coded(n)] * 30) for n in (7, 9))
    refer(path, other)
    followed = {"enable_drefs": "1", "use_absolute_path": "1"}
    with av.open(str(path), options=followed) as container, pytest.raises(av.FFmpegError):
        list(container.decode(video=0))  # it does lead there: its places in the other file hold something else
    assert not OPTIONS.keys() & followed.keys()
    with pytest.raises(InputError):
        video(path)


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".webm", ".avi", ".ts"])
def test_honest_media_still_open(tmp_path, ending):
    assert number(video(write_film(tmp_path / f"a{ending}", [coded(5)] * 30)).values[0].numpy()) == 5
    assert audio(write_sound(tmp_path / "a.wav", tone(1))).length == 16000
