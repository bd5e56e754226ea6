"""Several recordings joined in one file are one timeline, on which film and sound are of the same part, or refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from places import CASES
from recorded import blocks, clicks, join, pitch, record, shows

from mmmae.data.clips import Clips
from mmmae.data.manifest import Manifest
from modalities.audio import AudioReader
from modalities.errors import SampleError
from modalities.files.extent import JOINED
from modalities.files.media import layout
from modalities.video import VideoReader

FILMS = {
    "h264.ts": ("libx264", "aac", None), "mpeg2.ts": ("mpeg2video", "mp2", None), "a.mpg": ("mpeg2video", "mp2", "vob"),
    "a.flv": ("libx264", "aac", None), "a.mkv": ("libx264", "aac", None), "a.mp4": ("libx264", "aac", None),
    "a.avi": ("mpeg4", "mp2", None), "a.wmv": ("mpeg4", "mp2", "asf"),
}  # fmt: skip
SOUNDS = {
    "a.mp3": ("libmp3lame", None), "a.opus": ("libopus", "ogg"), "a.oga": ("flac", "ogg"), "a.aac": ("aac", "adts"),
    "a.ac3": ("ac3", None), "a.flac": ("flac", None), "a.wav": ("pcm_s16le", None),
}  # fmt: skip


def test_no_window_of_the_case_mixes_its_parts(tmp_path):
    (tmp_path / "joined.ts").write_bytes((CASES / "joined-ts" / "joined.ts").read_bytes())
    (tmp_path / "manifest.jsonl").write_text(json.dumps({"id": "a", "video": "joined.ts"}))
    readers = {"video": VideoReader(frames=4, size=16), "audio": AudioReader(rate=16000)}
    clips = Clips(Manifest.open(str(tmp_path), modalities=["video", "audio"]), readers, window=1.28)
    assert readers["video"].seconds(str(tmp_path / "joined.ts")) == pytest.approx(8.0, abs=0.05)
    met = set()
    for epoch in range(60):
        [sample] = clips[epoch, 0]
        if 4 - 1.28 < sample.start < 4:
            continue
        light = sample.readings["video"].values.float().mean((1, 2, 3))
        sound = np.abs(np.fft.rfft(sample.readings["audio"].values.numpy()))
        rises, low = bool(light[-1] > light[0]), bool(sound.argmax() / 1.28 < 1000)
        assert rises == low == (sample.start < 4)
        met.add(rises)
        assert JOINED in sample.readings["video"].notes and JOINED in sample.readings["audio"].notes
    assert met == {True, False}


@pytest.mark.parametrize("name", FILMS)
def test_joined_films_are_one_timeline(name, tmp_path):
    codec, sound, form = FILMS[name]
    rate = 44100 if name == "a.flv" else 48000
    parts = [
        record(
            tmp_path / f"{n}-{name}", codec, sound, first=100 * n, hertz=(500, 2000)[n], format=form, sound_rate=rate
        )
        for n in range(2)
    ]
    path = join(tmp_path / name, *parts)
    reader = VideoReader(frames=4, size=16)
    seconds = reader.seconds(str(path))
    assert seconds == pytest.approx(8.0, abs=0.03 if name in ("a.wmv", "a.flv", "a.mpg") else 0.002)
    assert AudioReader().seconds(str(path)) == pytest.approx(8.0, abs=0.1)
    for start in (0.0, 1.3, 3.5, 4.0, 4.1, 7.0):
        assert shows(path, start, 0.99, slack=0.012)
    assert shows(path, 0.5, 7.4, slack=0.012)
    assert [pitch(path, start, 0.5) for start in (0.2, 3.3, 4.2, 7.3)] == pytest.approx(
        [500, 500, 2000, 2000], rel=0.05
    )
    late = clicks(parts[0], 2.0, 1.0) - 2.5  # what the container itself does to its sound
    assert [clicks(path, start, 1.0) for start in (2.0, 6.0)] == pytest.approx([2.5 + late, 6.5 + late], abs=0.03)
    assert reader.read(str(path), 0.0, 1.0).notes == (JOINED,)


@pytest.mark.parametrize("name", SOUNDS)
def test_joined_sounds_are_one_timeline(name, tmp_path):
    codec, form = SOUNDS[name]
    parts = [
        record(tmp_path / f"{n}-{name}", None, codec, hertz=(500, 2000)[n], format=form, seconds=3.0) for n in range(2)
    ]
    path, reader = join(tmp_path / name, *parts), AudioReader()
    assert reader.seconds(str(path)) == pytest.approx(6.0, abs=0.1)
    assert reader.read(str(path), 0.0, 6.0).length == 96000
    assert [pitch(path, start, 0.5) for start in (0.2, 2.4, 3.2, 5.4)] == pytest.approx(
        [500, 500, 2000, 2000], rel=0.05
    )
    assert [clicks(path, start, 0.6) for start in (2.2, 5.2)] == pytest.approx([2.5, 5.5], abs=0.09)


def test_mp3_with_tags_or_without_joins(tmp_path):
    plain = {"write_xing": "0", "id3v2_version": "0"}
    parts = [
        record(tmp_path / f"{n}.mp3", None, "libmp3lame", hertz=500 * (n + 1), seconds=3.0, options=options)
        for n, options in enumerate(({}, plain, plain, {"id3v2_version": "3", "write_id3v1": "1"}))
    ]
    for order in ((0, 1), (1, 2), (1, 3), (3, 0), (3, 3, 2)):
        path = join(tmp_path / "joined.mp3", *(parts[n] for n in order))
        assert AudioReader().seconds(str(path)) == pytest.approx(3 * len(order), abs=0.15)
        assert AudioReader().read(str(path), 0.0, 3.0 * len(order)).length == 48000 * len(order)
        for place, n in enumerate(order):
            assert pitch(path, 3 * place + 1, 1.0) == pytest.approx(500 * (n + 1), rel=0.05)


@pytest.fixture(scope="module")
def streams(tmp_path_factory):
    """Three transport streams of 1 s, the second much later on the clock than the first."""
    folder, wide = tmp_path_factory.mktemp("streams"), {"output_ts_offset": "5000"}
    options = ({}, wide, {})
    return [
        record(folder / f"{n}.ts", "libx264", "aac", first=25 * n, seconds=1.0, hertz=500 * (n + 1), options=options[n])
        for n in range(3)
    ]


def test_a_clock_that_jumps_forward_begins_a_part(streams, tmp_path):
    path = join(tmp_path / "a.ts", *streams)
    assert VideoReader().seconds(str(path)) == pytest.approx(3.0, abs=0.02)
    assert shows(path, 0.0, 2.96)
    assert [pitch(path, n + 0.2, 0.5) for n in range(3)] == pytest.approx([500, 1000, 1500], rel=0.05)


def test_packets_of_other_sizes_and_cut_ones_are_found(streams, tmp_path):
    wide = tmp_path / "wide.m2ts"
    wide.write_bytes(b"".join(bytes(4) + block for part in streams for block in blocks(part, 188)))
    assert len(layout(str(wide)).names) == 3 and shows(wide, 0.0, 2.96)
    broken = tmp_path / "broken.ts"
    broken.write_bytes(streams[0].read_bytes()[:-100] + streams[2].read_bytes())
    begin = layout(str(broken)).names[1].split(",")[3]
    assert int(begin) == streams[0].stat().st_size - 100


def test_a_single_wrong_clock_is_no_join(streams, tmp_path):
    path = tmp_path / "a.ts"
    packets = [bytearray(block) for block in blocks(streams[0], 188)]
    clocks = [p for p in packets if p[3] & 0x20 and p[4] >= 7 and p[5] & 0x10]
    clocks[len(clocks) // 2][6] ^= 0x40
    path.write_bytes(b"".join(packets))
    assert len(layout(str(path)).names) == 1 and shows(path, 0.0, 0.96)


def test_stamps_that_wrap_are_no_join(tmp_path):
    for seconds in (2.0, 60.0, 1.4):
        options = {"output_ts_offset": str(2**33 / 90000 - seconds)}
        path = record(tmp_path / f"{seconds}.ts", "libx264", "aac", options=options)
        assert len(layout(str(path)).names) == 1
        assert VideoReader().seconds(str(path)) == pytest.approx(4.0, abs=0.01)
        for start, duration in [(0.0, 1.0), (0.0, 3.99), (1.2, 1.5), (3.0, 0.99)]:
            assert shows(path, start, duration)
        assert clicks(path, 2.0, 1.0) == pytest.approx(2.5, abs=0.03)


def test_a_hole_in_a_stream_is_no_join(tmp_path):
    path = record(tmp_path / "a.ts", "libx264", seconds=30.0, rate=5)
    packets = blocks(path, 188)
    path.write_bytes(b"".join(packets[: len(packets) // 4] + packets[3 * len(packets) // 4 :]))
    assert len(layout(str(path)).names) == 1
    with pytest.raises(SampleError, match=r"lacks"):
        VideoReader(frames=4, size=16).read(str(path), 0.0, 29.0)


def test_parts_that_differ_in_kind_are_refused(streams, tmp_path):
    silent = record(tmp_path / "silent.ts", "libx264", seconds=1.0)
    blind = record(tmp_path / "blind.ts", None, "aac", seconds=1.0)
    for other, word in ((silent, "sound"), (blind, "pictures")):
        path = str(join(tmp_path / f"{word}.ts", streams[0], other))
        for use in (VideoReader(size=16).seconds, lambda path: VideoReader(size=16).read(path, 0.0, 0.5)):
            with pytest.raises(SampleError, match=rf"one at 1\.\d\d s has no {word}\n"):
                use(path)


def test_stamps_that_start_again_unannounced_are_refused(tmp_path):
    parts = [record(tmp_path / f"{n}.webm", "libvpx", first=50 * n, seconds=2.0, options={"live": "1"}) for n in (0, 1)]
    path = str(join(tmp_path / "a.webm", *parts))
    with pytest.raises(SampleError, match=r"time stamps start again at [12]\.\d\d s: .*\n.*ffmpeg -f concat"):
        VideoReader().seconds(path)
