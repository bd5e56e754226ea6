"""The corpus drums: the sounds that a kit plays, by what is struck."""

from __future__ import annotations

import numpy as np
import pytest
from media import tone, write_sound
from packages import kit, needs_shipped, rows

from mmmae import corpora
from mmmae.corpora import drums
from modalities.audio import AudioReader
from modalities.errors import InputError


@pytest.mark.parametrize(
    ("called", "struck"),
    [
        ("Kick (Tama Superstar 22')", {"kick"}),
        ("c3 - bass drum 1", {"kick"}),
        ("BassDrum", {"kick"}),
        ("Snare2 Rimshot", {"snare"}),
        ("Kick Stomp", {"kick"}),
        ("tomhi2", {"tom"}),
        ("Ride (Custom, Zagrebin 22')", {"ride"}),
        ("Sabian Hat Semi-Open", {"hihat"}),
        ("Hi-Hat Pedal", {"hihat"}),
        ("Side OHH", {"hihat"}),
        ("ride-crash20inch", {"ride", "crash"}),
        ("Hand Clap", {"clap"}),
        ("Side Stick", set()),
        ("Whatever", set()),
    ],
)
def test_drums_say_what_is_struck(called, struck):
    assert drums.name_struck(called) == struck


@pytest.mark.parametrize("space", ["", ' xmlns="http://www.hydrogen-music.org/drumkit"'])
def test_drums_are_the_sounds_that_a_kit_plays(space, tmp_path, monkeypatch):
    monkeypatch.setattr(drums, "KITS", tmp_path / "kits")
    (folder := tmp_path / "kits/A kit 1.0").mkdir(parents=True)
    write_sound(folder / "short.wav", tone(0.1))
    write_sound(folder / "long.flac", tone(3, rate=44100), rate=44100, codec="flac")
    write_sound(folder / "both.wav", tone(1))
    write_sound(folder / "empty.wav", np.zeros((1, 800)))
    write_sound(folder / "unused.wav", tone(1))
    played = {"Snare": ["short.wav", "gone.wav"], "Tom": ["both.wav", "long.flac"], "Tom 2": ["long.flac"]}
    kit(folder, played | {"Ride": ["both.wav"], "17": ["empty.wav"]}, space)
    table = rows(corpora.prepare("drums", tmp_path / "out").parent)
    assert table == [
        {"id": "A kit 1.0/both", "audio": "A kit 1.0/both.wav", "group": "A kit 1.0"},
        {"id": "A kit 1.0/long", "audio": "A kit 1.0/long.flac", "end": 1.0, "label": "tom", "group": "A kit 1.0"},
        {"id": "A kit 1.0/short", "audio": "A kit 1.0/short.wav", "label": "snare", "group": "A kit 1.0"},
    ]
    (folder / "drumkit.xml").write_text("<drumkit_info>")
    with pytest.raises(InputError, match=r"drumkit\.xml: cannot be read"):
        corpora.prepare("drums", tmp_path / "bad")


@needs_shipped(drums.KITS, drums.INSTALL)
def test_drums_for_real(tmp_path):
    folder = corpora.prepare("drums", tmp_path / "out").parent
    table = rows(folder)
    labels = [row["label"] for row in table if "label" in row]
    assert len(table) == 703 and len({row["group"] for row in table}) == 14
    assert len(labels) == 448 and set(labels) == set(drums.STRUCK) and labels.count("hihat") == 125
    assert all(AudioReader().read(str(folder / row["audio"]), 0.0, 1.0) for row in table[::9])
    credits = (folder / "CREDITS.md").read_text()
    assert all(row["group"] in credits for row in table)
