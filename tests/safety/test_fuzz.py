"""Whatever a file holds, only an InputError comes out of reading it."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from safetensors.torch import save_file

from mmmae import Recipe
from mmmae.data.manifest import Manifest
from mmmae.storage import checkpoint
from mmmae.storage import tensors as weights
from modalities.embedding import EmbeddingReader
from modalities.errors import InputError
from modalities.imu import IMUReader
from modalities.text import TextReader, Vocabulary

many = settings(max_examples=25, deadline=20_000)  # milliseconds: nothing hangs
few = settings(max_examples=12, deadline=20_000)  # a recipe takes a while
WORDS = ["video", "audio", "imu", "text", "id", "start", "end", "label", "split", "edges", "imu_rate", "regions", "use"]
scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.sampled_from(["\0", *WORDS])
)
rubbish = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=3)
)
JSON = st.text('{}[]",:0123456789eE.-ntruefalsevideo\n', max_size=80).map(str.encode)
SMALL = ["size=tiny", "modalities.imu.sensors=3"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@contextlib.contextmanager
def only_our_error():
    """An InputError with a message may come out, nothing else."""
    try:
        yield
    except InputError as error:
        assert str(error)


def mutated(data: st.DataObject, content: bytes) -> bytes:
    """Some bytes of a file changed, and maybe its end cut off."""
    changed = bytearray(content)
    for place, byte in data.draw(
        st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), max_size=4)
    ):
        changed[place] = byte
    return bytes(changed[: data.draw(st.integers(0, len(content)) | st.just(len(content)))])


def use(path: Path) -> None:
    """Everything that training does with a manifest before it reads recordings."""
    manifest = Manifest.open(path)
    assert all(row.sources for row in manifest)
    list(manifest.captions())
    manifest.split(0.5)


# Manifests


@many
@given(table=st.lists(st.dictionaries(st.sampled_from(WORDS), rubbish, max_size=4) | rubbish, max_size=4))
@pytest.mark.parametrize("ending", [".jsonl", ".json"])
def test_rows_of_any_json(folder, ending, table):
    text = json.dumps(table) if ending == ".json" else "\n".join(map(json.dumps, table))
    (folder / f"a{ending}").write_text(text)
    with only_our_error():
        use(folder / f"a{ending}")


@many
@given(content=st.binary(max_size=80) | JSON)
@pytest.mark.parametrize("ending", [".jsonl", ".json", ".csv", ".parquet"])
def test_any_bytes_as_a_manifest(folder, ending, content):
    (folder / f"b{ending}").write_bytes(content)
    with only_our_error():
        use(folder / f"b{ending}")


@pytest.mark.parametrize(
    "content", ["[" * 100_000, "9" * 5000, '{"text": ' + "[" * 50_000, '{"id": 1e999}', '{"label": -5}']
)
def test_json_that_breaks_parsers_as_a_manifest(folder, content):
    for ending in (".json", ".jsonl"):
        (folder / f"b{ending}").write_text(content)
        with only_our_error():
            use(folder / f"b{ending}")


@many
@given(data=st.data(), header=st.lists(st.sampled_from(WORDS), min_size=1, max_size=4, unique=True))
def test_rows_of_any_csv(folder, data, header):
    cells = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
        ["1e999", "[[0,1]]", "-1", "["]
    )
    lines = [header, *data.draw(st.lists(st.lists(cells, max_size=5), max_size=3))]
    (folder / "c.csv").write_text("\n".join(map(",".join, lines)))
    with only_our_error():
        use(folder / "c.csv")


@many
@given(data=st.data())
def test_a_damaged_parquet_manifest(folder, data):
    whole = io.BytesIO()
    parquet.write_table(pa.table({"text": ["a", "b"], "label": [1, 2]}), whole)
    (folder / "d.parquet").write_bytes(mutated(data, whole.getvalue()))
    with only_our_error():
        use(folder / "d.parquet")


@many
@given(names=st.lists(st.text("ab.", min_size=1, max_size=4), max_size=3), content=st.binary(max_size=20))
def test_any_folder(tmp_path_factory, names, content):
    home = tmp_path_factory.mktemp("folder")
    for name in names:
        for ending in (".txt", ".csv"):
            (home / f"x{name}{ending}").write_bytes(content)
    with only_our_error():
        use(home)


# Recipes

SECTIONS = [
    "size",
    "window",
    "modalities",
    "trunk",
    "masking",
    "objectives",
    "augment",
    "training",
    "data",
    "optimizer",
]
PLACES = [
    "modalities.video", "modalities.video.size", "modalities.video.hint", "modalities.video.lag",
    "modalities.video.use",
    "modalities.video.share", "modalities.text.vocabulary", "masking.video", "masking.video.use", "trunk.use",
    "trunk.width", "objectives.contrastive", "objectives.reconstruction.decoder", "augment.video",
    "augment.video.after",
    "objectives.reconstruction.decoder.use", "masking.video.ratio", "modalities.imu.sensors", "optimizer.betas",
]  # fmt: skip


@few
@given(place=st.sampled_from(SECTIONS + PLACES), value=rubbish)
def test_any_value_in_a_recipe(folder, place, value):
    tree = json.loads(json.dumps(Recipe.load("default", SMALL).tree))
    *path, last = place.split(".")
    inner = tree
    for key in path:
        inner = inner.setdefault(key, {})
    inner[last] = value
    with only_our_error():
        Recipe(tree).readers()
    (folder / "recipe.json").write_text(json.dumps(tree))
    with only_our_error():
        Recipe.load(folder / "recipe.json", ["size=small"], ["video"])


@pytest.mark.parametrize(
    "text", ["base: #d", "base: [1]", "0", "2020-13-45", "a: 2020-99-99", "? {a: b}", "size: &a [*a]"]
)
def test_a_recipe_that_fuzzing_found(folder, text):
    (folder / "c.yaml").write_text(text)
    with pytest.raises(InputError):
        Recipe.load(folder / "c.yaml")


@few
@given(text=st.text("abuse:size,-[]{}&*!?|>'\"%#@0123456789. \n\t", max_size=60) | st.binary(max_size=30).map(repr))
def test_any_text_as_a_recipe_and_as_an_override(folder, text):
    (folder / "a.yaml").write_text(text)
    with only_our_error():
        Recipe.load(folder / "a.yaml")
    (folder / "b.yaml").write_text(f"base: default\nmodalities: {text}")
    with only_our_error():
        Recipe.load(folder / "b.yaml")
    with only_our_error():
        Recipe.load("default", text.split("\n"))
    with only_our_error():
        Recipe.load("default", [f"modalities.video.size={text}"])


# Tables


@many
@given(content=st.binary(max_size=60) | st.text('time,a.x0123456789-+einfa\n\r";', max_size=80).map(str.encode))
def test_any_csv_as_imu(folder, content):
    (folder / "e.csv").write_bytes(content)
    with only_our_error():
        IMUReader(sensors=1, channels=1).read({"path": str(folder / "e.csv"), "rate": 50.0}, 0.0, 1.0)
    with only_our_error():
        IMUReader(sensors=1).seconds(str(folder / "e.csv"))


@pytest.mark.parametrize("reading", ["1e300", "-1e39", "3e307"])
def test_a_reading_too_large_for_a_float_is_named(folder, reading):
    (folder / "k.csv").write_text(f"time,a.x\n0,1\n0.1,{reading}\n0.2,{reading}\n")
    with pytest.raises(InputError, match="beyond what float32 holds"):
        IMUReader(sensors=1, channels=1).read(str(folder / "k.csv"), 0.0, 0.3)


@many
@given(source=rubbish | st.fixed_dictionaries({"path": rubbish, "rate": rubbish, "edges": rubbish}))
def test_any_source_of_imu_and_embedding(source):
    for reader in (IMUReader(sensors=1), EmbeddingReader(width=2)):
        with only_our_error():
            reader.seconds(source)
        with only_our_error():
            reader.read(source, 0.0, 1.0)


@many
@given(
    rate=rubbish,
    edges=rubbish,
    start=st.floats(-1e6, 1e6),
    kind=st.sampled_from(["f2", "f8", "i4", "u1", "c8", "?", "O", "S", "U"]),
)
def test_any_array_as_imu_and_embedding(folder, rate, edges, start, kind):
    array = np.ones((4, 2, 1)).astype(kind)
    np.save(folder / "f.npy", array, allow_pickle=True)
    with only_our_error():
        source = {"path": str(folder / "f.npy"), "rate": rate, "edges": edges}
        IMUReader(sensors=2, channels=1).read(source, start, 1.0)
    np.save(folder / "f.npy", array[:, :, 0], allow_pickle=True)
    with only_our_error():
        EmbeddingReader(width=2, rate=3.0).read(str(folder / "f.npy"), start, 1.0)


@many
@given(data=st.data())
@pytest.mark.parametrize("ending", [".npy", ".parquet", ".safetensors"])
def test_a_damaged_table(folder, data, ending):
    whole = io.BytesIO()
    if ending == ".npy":
        np.save(whole, np.ones((4, 2)))
    elif ending == ".parquet":
        parquet.write_table(pa.table({"a.x": [1.0, 2.0], "a.y": [1, None], "time": [0.0, 0.1]}), whole)
    else:
        save_file({"embedding": torch.ones(3, 2)}, folder / "whole.safetensors")
        whole.write((folder / "whole.safetensors").read_bytes())
    path = folder / f"g{ending}"
    path.write_bytes(mutated(data, whole.getvalue()))
    with only_our_error():
        IMUReader(sensors=1, channels=1).read({"path": str(path), "rate": 50.0}, 0.0, 1.0)
    with only_our_error():
        EmbeddingReader(width=2, rate=3.0).read(str(path), 0.0, 1.0)


# Captions


@pytest.fixture(scope="module")
def reader(folder):
    return TextReader(vocabulary=str(Vocabulary.learn(["a red ball"]).save(folder)), length=4)


timed = st.fixed_dictionaries({"text": scalars, "start": scalars, "end": scalars})


@many
@given(source=rubbish | st.lists(timed | rubbish, max_size=4), start=st.floats(-1e9, 1e9))
def test_any_caption(reader, folder, source, start):
    with only_our_error():
        reader.read(source, start, 1.0)
    TextReader.survey({"words": 300}, [source, "a"], folder)


# Checkpoints


@many
@given(data=st.data())
def test_a_damaged_safetensors_file(folder, data):
    save_file({"a": torch.ones(3), "b": torch.zeros(2, 2)}, folder / "h.safetensors")
    (folder / "i.safetensors").write_bytes(mutated(data, (folder / "h.safetensors").read_bytes()))
    with only_our_error():
        weights.load(folder / "i.safetensors")


@few
@given(data=st.data(), key=st.sampled_from(["name", "narrowed", "recipe", "files"]), value=rubbish)
def test_a_damaged_recipe_of_a_checkpoint(folder, data, key, value):
    saved = {"name": "a", "narrowed": False, "recipe": Recipe.load("default", SMALL).tree, "files": {}}
    for content in (json.dumps({**saved, key: value}).encode(), mutated(data, json.dumps(saved).encode())):
        (folder / checkpoint.RECIPE).write_bytes(content)
        with only_our_error():
            checkpoint.load_recipe(folder)
