"""Feed mutated files to a reader until something other than an InputError escapes (atheris, coverage-guided).

    pip install 'mmmae[fuzz]'
    python stress/fuzz.py TARGET [--seconds 180] [--corpus DIR]

TARGET is one of those below. libFuzzer prints the executions at the end; an input that breaks a reader is kept in the
folder of the corpus.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["modalities", "mmmae"]):
    from mmmae import Recipe
    from mmmae.data.manifest import Manifest
    from mmmae.storage import checkpoint
    from mmmae.storage import tensors as weights
    from modalities.audio import AudioReader
    from modalities.embedding import EmbeddingReader
    from modalities.errors import InputError
    from modalities.imu import IMUReader
    from modalities.text import TextReader, Vocabulary
    from modalities.video import VideoReader

Target = Callable[[Path, bytes], Any]
STARTS: dict[str, list[bytes]] = {
    "imu.csv": [b"time,a.x,a.y\n0,1,2\n0.1,,3\n", b"x\n1\n", b"t,a.x\n1e9,1\n1e9,nan\n"],
    "manifest.jsonl": [b'{"video": "a.mp4", "text": ["a"], "start": 1, "end": 2}', b'{"text": "a", "edges": [[0, 1]]}'],
    "manifest.json": [b'[{"id": 1, "text": [{"text": "a", "start": 0, "end": 1}], "label": 3}]'],
    "manifest.csv": [b"id,text,label\n1,a,x\n2,b,y\n"],
    "recipe": [
        b"base: default\nsize: tiny\n",
        b"window: 1\nmodalities: {video: {size: 32}}\nmasking: {video: {use: tube}}",
    ],
    "override": [b"masking.video.ratio=0.5", b"modalities.imu={sensors: 3}", b"trunk.use=joint"],
    "captions": [b'["a", {"text": "b", "start": 0, "end": 1}]', b'"a red ball"'],
    "recipe.json": [
        b'{"name": "a", "narrowed": true, "recipe": {"window": 1, "modalities": {"text": {}}}, "files": {}}'
    ],
    "weights": [b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "],
}


def use(path: Path, reader: Any, source: Any = None) -> None:
    reader.seconds(source or str(path))
    reader.read(source or str(path), 0.0, 0.5)


def file(ending: str, read: Callable[[Path], Any]) -> Target:
    """A target whose input is the contents of a file."""

    def target(folder: Path, data: bytes) -> None:
        path = folder / f"fuzz{ending}"
        path.write_bytes(data)
        read(path)

    return target


def imu(path: Path) -> None:
    use(path, IMUReader(sensors=1, channels=1), {"path": str(path), "rate": 50.0})


def embedding(path: Path) -> None:
    use(path, EmbeddingReader(width=2, rate=4.0))


def overrides(folder: Path, data: bytes) -> None:
    Recipe.load("default", data.decode(errors="surrogateescape").split("\n"))


def captions(folder: Path, data: bytes) -> None:
    try:
        source = json.loads(data)
    except (ValueError, RecursionError):
        source = data.decode(errors="surrogateescape")
    READER.read(source, 0.0, 1.0)


def saved_recipe(folder: Path, data: bytes) -> None:
    (folder / checkpoint.RECIPE).write_bytes(data)
    checkpoint.load_recipe(folder)


READER = TextReader(vocabulary=str(Vocabulary.learn(["a red ball"]).save(tempfile.mkdtemp())))
TARGETS: dict[str, Target] = {
    **{f"imu{ending}": file(ending, imu) for ending in (".csv", ".npy", ".parquet")},
    **{f"embedding{ending}": file(ending, embedding) for ending in (".npy", ".safetensors", ".parquet")},
    **{f"manifest{ending}": file(ending, Manifest.open) for ending in (".jsonl", ".json", ".csv", ".parquet")},
    **{f"video{end}": file(end, lambda path: use(path, VideoReader(frames=2, size=16))) for end in (".mp4", ".mkv")},
    **{f"audio{end}": file(end, lambda path: use(path, AudioReader(rate=8000))) for end in (".wav", ".flac")},
    "recipe": file(".yaml", Recipe.load),
    "override": overrides,
    "recipe.json": saved_recipe,
    "vocabulary": file(".json", Vocabulary.load),
    "captions": captions,
    "weights": file(".safetensors", weights.load),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=list(TARGETS), metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=180)
    parser.add_argument("--corpus", type=Path, help="folder of inputs to begin with; new ones are added")
    arguments = parser.parse_args()
    target, folder = TARGETS[arguments.target], Path(tempfile.mkdtemp())
    corpus = arguments.corpus or folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, start in enumerate(STARTS.get(arguments.target, [])):
        (corpus / f"start-{number}").write_bytes(start)

    def once(data: bytes) -> None:
        try:
            target(folder, data)
        except InputError as error:
            assert str(error)

    limits = [f"-max_total_time={arguments.seconds}", "-timeout=20", "-rss_limit_mb=4096", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], str(corpus), f"-artifact_prefix={corpus}/", "-verbosity=0", *limits], once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
