"""A length is that of the data, where a container states none, and windows lie where a full decode has them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tiny
from places import CASES
from recorded import clicks, join, record, shows

from mmmae.__main__ import main as mmmae
from mmmae.data.clips import Clips
from mmmae.data.inspection import inspect_all
from mmmae.data.manifest import Manifest
from modalities.audio import AudioReader
from modalities.embedding.reader import load
from modalities.files import packet_count as counting
from modalities.files.extent import TIMELESS
from modalities.video import VideoReader

PLAIN = {"write_xing": "0", "id3v2_version": "0"}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """The files of the case."""
    folder = tmp_path_factory.mktemp("vbr")
    rows = []
    for path in sorted((CASES / "vbr-length").glob("*.mp3")):
        (folder / path.name).write_bytes(path.read_bytes())
        rows.append({"id": path.stem, "audio": path.name})
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def same_as_whole(path: Path, windows: list[tuple[float, float]]) -> None:
    """Each window sounds like that part of the whole recording, decoded from its beginning."""
    reader = AudioReader(rate=16000)
    whole = reader.read(str(path), 0.0, reader.seconds(str(path))).values.numpy()
    for start, duration in windows:
        window = reader.read(str(path), start, duration).values.numpy()
        there = whole[round(start * 16000) :][: len(window)]
        assert np.corrcoef(window[: len(there)], there)[0, 1] > 0.995, (path.name, start)


@pytest.mark.parametrize("name", ["quiet-then-loud", "loud-then-quiet"])
def test_a_variable_bit_rate_changes_no_length(data, name):
    path, reader = data / f"{name}.mp3", AudioReader(rate=16000)
    seconds = reader.seconds(str(path))
    assert seconds == pytest.approx(20.0, abs=0.2)
    same_as_whole(path, [(10.0, 2.0), (3.3, 1.0), (18.0, 2.0), (0.5, 1.5)])
    clips = Clips(Manifest.open(str(data), modalities=["audio"]), {"audio": reader}, window=2.0)
    starts = [sample.start for epoch in range(40) for sample in clips[epoch, 0]]
    assert min(starts) < 2 and 16 < max(starts) <= seconds - 2
    assert all(sample.readings["audio"].length == 32000 for epoch in range(5) for sample in clips[epoch, 0])


def test_what_check_passes_is_read_and_embedded_to_its_end(data, tmp_path, capsys):
    readers = {"audio": AudioReader(rate=8000)}
    manifest = Manifest.open(str(data), modalities=["audio"])
    assert [verdict.fault for verdict in inspect_all(Clips(manifest, readers, window=2.0), 0)] == [None, None]
    clips = Clips(manifest, readers, window=2.0, seed=1)
    assert not any(sample.faults for epoch in range(30) for index in range(2) for sample in clips[epoch, index])
    tiny.tiny("default", ["window=2.0"], modalities=["audio"]).build().save_pretrained(tmp_path / "run")
    command = ["embed", str(tmp_path / "run"), "--data", str(data), "--out", str(tmp_path / "out"), "--segment", "2"]
    assert mmmae([*command, "--workers", "0"]) == 0 and "2 embedded" in capsys.readouterr().out
    for name in ("quiet-then-loud", "loud-then-quiet"):
        found = load(tmp_path / "out" / f"{name}.safetensors")
        assert len(found.features) == 10 and found.end[-1] == pytest.approx(20.0, abs=0.1)


@pytest.mark.parametrize(
    ("name", "codec", "form", "options"),
    [
        ("a.aac", "aac", "adts", {}), ("plain.mp3", "libmp3lame", None, PLAIN), ("counted.mp3", "libmp3lame", None, {}),
        ("a.ac3", "ac3", None, {}), ("a.ts", "aac", "mpegts", {}), ("mp2.ts", "mp2", "mpegts", {}),
        ("a.mpg", "mp2", "vob", {}), ("a.mkv", "aac", None, {"live": "1"}), ("a.webm", "libopus", None, {"live": "1"}),
        ("a.flv", "aac", None, {"flvflags": "no_duration_filesize"}),
    ],
)  # fmt: skip
def test_sound_is_as_long_as_its_packets(name, codec, form, options, tmp_path):
    rate = 44100 if name == "a.flv" else 48000
    path = record(tmp_path / name, None, codec, seconds=8.0, format=form, sound_rate=rate, options=options, quiet=4.0)
    assert AudioReader().seconds(str(path)) == pytest.approx(8.0, abs=0.1)
    same_as_whole(path, [(5.0, 1.5), (4.2, 0.6), (7.0, 0.9)])
    assert AudioReader(rate=16000).read(str(path), 7.0, 0.9).length == 14400


def test_a_header_that_counts_one_part_only_is_not_believed(tmp_path):
    constant = record(tmp_path / "0.mp3", None, "libmp3lame", seconds=3.0)
    path = join(tmp_path / "a.mp3", constant, CASES / "vbr-length" / "quiet-then-loud.mp3")
    assert AudioReader().seconds(str(path)) == pytest.approx(23.0, abs=0.2)


@pytest.mark.parametrize(
    ("name", "codec", "form", "rate"),
    [
        ("a.h264", "libx264", None, 25), ("fast.h264", "libx264", None, 50), ("a.hevc", "libx265", None, 30),
        ("a.m2v", "mpeg2video", "mpeg2video", 25), ("a.m4v", "mpeg4", "m4v", 30), ("a.mjpeg", "mjpeg", "mjpeg", 25),
        ("a.mpg", "mpeg2video", "vob", 25), ("a.ivf", "libvpx", None, 25), ("a.ts", "mpeg2video", None, 25),
        ("a.flv", "libx264", None, 25),
    ],
)  # fmt: skip
def test_film_is_as_long_as_its_frames(name, codec, form, rate, tmp_path):
    path = record(tmp_path / name, codec, format=form, rate=rate, seconds=3.0)
    assert VideoReader().seconds(str(path)) == pytest.approx(3.0, abs=0.01)
    for start, duration in [(0.0, 3.0), (1.7, 1.0), (2.2, 0.8)]:
        assert shows(path, start, duration - 0.01, rate=rate)
    notes = VideoReader(frames=1, size=16).read(str(path), 0.0, 1.0).notes
    assert notes == ((TIMELESS,) if form in ("mpeg2video", "m4v", "mjpeg") or path.suffix in (".h264", ".hevc") else ())


def test_packets_of_a_file_are_counted_once(data, tmp_path, monkeypatch):
    counts, count = [], counting.count
    monkeypatch.setattr(counting, "count", lambda container: counts.append(container.name) or count(container))
    path = tmp_path / "a.mp3"
    path.write_bytes((data / "quiet-then-loud.mp3").read_bytes())
    for _ in range(3):
        AudioReader().seconds(str(path))
        AudioReader().read(str(path), 1.0, 1.0)
    assert len(counts) == 1
    film = record(tmp_path / "a.mp4", "libx264", "aac", seconds=1.0)
    assert VideoReader().seconds(str(film)) and AudioReader().seconds(str(film)) and len(counts) == 1


def test_the_end_of_a_large_stream_is_looked_for_at_its_end(tmp_path, monkeypatch):
    path = record(tmp_path / "a.ts", "libx264", "mp2", seconds=8.0)
    reader, known = VideoReader(), counting.measured.__wrapped__
    whole = known(str(path), 0)
    monkeypatch.setattr(counting, "TAIL", path.stat().st_size // 4)
    tail = known(str(path), 0)
    assert tail.ends == whole.ends and min(tail.begins.values()) > min(whole.begins.values()) + 3
    assert reader.seconds(str(path)) == pytest.approx(8.0, abs=0.01)
    assert clicks(path, 2.0, 1.0) == pytest.approx(2.5, abs=0.03)


def test_headers_describe_film_and_sound(tmp_path):
    path = str(record(tmp_path / "a.mp4", "libx264", "aac", seconds=2.0))
    assert VideoReader().describe(path) == {
        "seconds": pytest.approx(2.0, abs=0.01), "rate": 25.0, "size": "64x64", "codec": "h264", "container": "mov",
    }  # fmt: skip
    assert AudioReader().describe(path) == {
        "seconds": pytest.approx(2.0, abs=0.1), "rate": 48000, "channels": 1, "codec": "aac", "container": "mov",
    }  # fmt: skip
    assert AudioReader().describe(str(record(tmp_path / "mute.mp4", "libx264", seconds=1.0))) == {}
