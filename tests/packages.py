"""Packages that corpora are made of, as small as a test needs them, and what asks whether the real ones are there."""

from __future__ import annotations

import gzip
import importlib.util
import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from media import tone, write_sound

from mmmae.corpora import prompts
from mmmae.corpora.mocap import body as mocap_body

UP = [0, 0, mocap_body.GRAVITY]


def needs(package: str, install: str) -> Any:
    return pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=install)


def needs_shipped(path: Path, install: str) -> Any:
    return pytest.mark.skipif(not path.exists(), reason=install)


def rows(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]


def watched(folder: Path, monkeypatch: pytest.MonkeyPatch, channels: int = 6) -> np.ndarray:
    """A package `aeon` that cannot be imported, with one running series to train on and one standing to test on."""
    values = np.arange(channels * 20).reshape(channels, 20) / 8
    data = folder / "aeon/datasets/data/BasicMotions"
    data.mkdir(parents=True)
    (folder / "aeon/__init__.py").write_text("raise RuntimeError('never imported')")
    for half, label in (("TRAIN", "Running"), ("TEST", "Standing")):
        series = ":".join(",".join(map(str, channel)) for channel in values)
        (data / f"BasicMotions_{half}.ts").write_text(f"#a watch\n@dimensions 6\n@data\n{series}:{label}\n")
    monkeypatch.syspath_prepend(folder)
    return values


def spoken(share: Path, language: str, script: str, said: tuple[str, ...]) -> None:
    """Packages with the transcripts of a language, and with recordings of some of them."""
    (doc := share / f"doc/asterisk-core-sounds-{language}").mkdir(parents=True)
    (doc / f"core-sounds-{language}.txt.gz").write_bytes(gzip.compress(script.encode("utf-8-sig")))
    for name in said:
        path = share / "asterisk/sounds" / prompts.VOICES[language].folder / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_sound(path, tone(0.5, rate=8000), rate=8000)


ENGLISH = """; Core sounds

digits/1: one
beep: [a simple tone]
silence/1: (1 second of silence)
vm-intro: Leave a message. (simple tone sound plays)
letters/dot:  dot [.]
unrecorded: Nobody said this.
"""


def stamp(path: Path, picture: np.ndarray, caption: str | None, voice: bool = False) -> None:
    """A cut-out picture (h, w, 4) with the files beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="image2") as container:
        stream = container.add_stream("png", rate=1)
        stream.height, stream.width, stream.pix_fmt = *picture.shape[:2], "rgba"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgba")))
        container.mux(stream.encode())
    if caption is not None:
        path.with_suffix(".txt").write_text(caption, encoding="utf-8")
    if voice:
        write_sound(path.with_name(f"{path.stem}_desc_fr.ogg"), tone(0.5), codec="libopus")


def kit(folder: Path, instruments: dict[str, list[str]], space: str) -> None:
    layers = {
        name: "".join(f"<layer><filename>{file}</filename></layer>" for file in instruments[name])
        for name in instruments
    }
    inside = "".join(f"<instrument><name>{name}</name>{layer}</instrument>" for name, layer in layers.items())
    text = f"<drumkit_info{space}><instrumentList>{inside}</instrumentList></drumkit_info>"
    (folder / "drumkit.xml").write_text(text)
