"""A file that holds less than it states is refused, and a whole one never is."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from media import coded, cut_off, tone, write_film, write_sound
from places import ROOT

sys.path.insert(0, str(ROOT / "stress"))
import damaged

from modalities.audio import AudioReader
from modalities.errors import SampleError
from modalities.files.gaps import intact
from modalities.video import VideoReader


@pytest.mark.parametrize(("ending", "codec"), damaged.KINDS)
def test_no_damaged_film_is_read_short_without_a_word(ending, codec, tmp_path):
    data, verdicts = damaged.film(tmp_path / f"whole{ending}", codec).read_bytes(), []
    assert damaged.judged(tmp_path / f"whole{ending}", ending not in damaged.STATELESS) == "whole, read"
    for how in ("cut off", "part removed", "zeros"):
        for share in (0.1, 0.45, 0.9):
            path = tmp_path / f"{how}-{share}{ending}"
            path.write_bytes(damaged.damage(data, how, share))
            verdicts.append(damaged.judged(path, ending not in damaged.STATELESS))
    assert "short, silent" not in verdicts and verdicts.count("short, flagged") >= 3


@pytest.mark.parametrize(
    ("ending", "codec"),
    [
        (".wav", "pcm_s16le"), (".flac", "flac"), (".aiff", "pcm_s16be"), (".au", "pcm_s16be"), (".mka", "aac"),
        (".mkv", "libopus"), (".mp3", "libmp3lame"), (".m4a", "aac"),
    ],
)  # fmt: skip
def test_sound_that_ends_before_it_says_is_refused_where_it_lacks(ending, codec, tmp_path):
    rate = 48000 if codec == "libopus" else 16000
    whole = write_sound(tmp_path / f"a{ending}", tone(4, rate=rate), rate=rate, codec=codec)
    reader = AudioReader()
    for start, duration in [(0.0, 4.0), (0.0, 5.0), (3.0, 2.0), (0.0, reader.seconds(str(whole)))]:
        assert reader.read(str(whole), start, duration).length > 0.9 * 16000
    cut = str(cut_off(whole, 0.6))
    with pytest.raises(SampleError):
        reader.seconds(cut)
        reader.read(cut, 0.0, 4.0)
    if ending != ".m4a":  # whose index is lost with its end
        assert reader.read(cut, 0.0, 1.0).length == 16000


@pytest.mark.parametrize("claim", [0, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_stream_that_never_knew_its_size_is_whole(claim, tmp_path):
    path = write_sound(tmp_path / "a.wav", tone(2))
    data = bytearray(path.read_bytes())
    place = data.index(b"data") + 4
    data[4:8] = data[place : place + 4] = claim.to_bytes(4, "little")
    path.write_bytes(data)
    assert AudioReader().seconds(str(path)) == pytest.approx(2.0)
    assert AudioReader().read(str(path), 0.0, 3.0).length == 32000


def test_sound_in_a_film_may_end_before_it(tmp_path):
    for ending in (".mp4", ".mkv", ".ts", ".webm"):
        path = str(write_film(tmp_path / f"a{ending}", [coded(n) for n in range(75)], sound=tone(1)))
        assert AudioReader().read(path, 0.0, 3.0).length == pytest.approx(16000, abs=1600)
        assert VideoReader(frames=3, size=16).read(path, 0.0, 2.9).length == 3


@pytest.mark.parametrize("ending", [".mkv", ".mp4"])
def test_a_pause_of_the_camera_is_no_loss(ending, tmp_path):
    stamps = [0, 40, 80, 120, 1200, 1240, 1280, 2400, 2440, 2480]
    path = write_film(tmp_path / f"a{ending}", [coded(n) for n in range(len(stamps))], milliseconds=stamps)
    assert VideoReader(frames=5, size=16).read(str(path), 0.0, 2.4).length == 5


def test_the_chain_of_a_container_is_walked(tmp_path):
    pictures = [np.full((64, 64, 3), n, np.uint8) for n in range(60)]
    for ending, kind in {".mkv": "matroska,webm", ".ts": "mpegts", ".webm": "matroska,webm"}.items():
        path = write_film(tmp_path / f"a{ending}", pictures, sound=tone(2))
        assert intact(path, kind)
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2] + data[len(data) // 2 + 300 :])
        assert not intact(path, kind)
