"""What the decoder is spared, and what is remembered of a file, changes nothing that is read; memory stays flat."""

from __future__ import annotations

import json
import os
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
import psutil
import pytest
import torch
from media import coded, number, write_film

from mmmae.data.clips import Clips
from mmmae.data.loader import Loader
from mmmae.data.manifest import Manifest
from mmmae.data.scan import scan
from modalities.errors import SampleError
from modalities.files import decoding
from modalities.files.skip_packets import Sparing
from modalities.video import VideoReader

LAST = 75
KINDS = {
    "pyramid": {"x264-params": "bframes=3:b-adapt=0"},
    "flat": {"x264-params": "bframes=2:b-adapt=0:b-pyramid=none"},
    "open": {"x264-params": "bframes=3:b-adapt=0:open-gop=1:keyint=15"},
    "slices": {"x264-params": "bframes=3:b-adapt=0:slices=3"},
    "deep": {"x264-params": "bframes=7:b-adapt=0:ref=5"},
    "fields": {"flags": "+ildct+ilme", "x264-params": "bframes=3:b-adapt=0"},
    "plain": {"bf": "0"},
}


def moving(path: Path, options: dict[str, str], count: int = LAST) -> Path:
    """A texture that drifts, 25 pictures per second."""
    ground = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"preset": "ultrafast", "g": "250", **options})
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for n in range(count):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(ground[n % 90 :][:64, n // 2 % 90 :][:, :64]))
            frame.pts, frame.time_base = n, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


@pytest.fixture
def spared(monkeypatch):
    """Which packets were left out."""
    asked, answers = Sparing.spares, []

    def spares(self, packet, time):
        answers.append(asked(self, packet, time))
        return answers[-1]

    monkeypatch.setattr(Sparing, "spares", spares)
    return answers


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".flv"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_spared_decoder_gives_the_same_pictures(kind, ending, tmp_path, spared):
    path, draw = str(moving(tmp_path / f"a{ending}", KINDS[kind])), np.random.default_rng(0)
    for frames in (1, 2, 5, 16):
        reader = VideoReader(frames=frames, size=48)
        for _ in range(4):
            duration = draw.uniform(0.05, 2.5)
            window = (path, draw.uniform(0, 3 - duration), duration)
            assert torch.equal(reader.read(*window).values, reader.thorough().read(*window).values)
    if kind in ("fields", "plain"):
        assert not any(spared)
    else:
        assert sum(spared) > 0.2 * len(spared)


def test_what_nobody_shows_is_not_decoded(tmp_path, monkeypatch):
    path, shown = str(moving(tmp_path / "a.mp4", KINDS["flat"])), []
    stamped = decoding.stamped
    monkeypatch.setattr(decoding, "stamped", lambda *given: (shown.append(x) or x for x in stamped(*given)))
    reader = VideoReader(frames=2, size=48)
    reader.thorough().read(path, 2.0, 0.9)
    whole = len(shown)
    shown.clear()
    reader.read(path, 2.0, 0.9)
    assert len(shown) < 0.6 * whole


def test_a_recording_is_looked_through_with_all_that_it_holds(tmp_path):
    """Damage in a frame that no window here shows is nothing to the window, and something to `mmmae check`."""
    path = moving(tmp_path / "a.mp4", KINDS["flat"])
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as film:
        packets = [
            (p.pos or 0, p.size, float((p.pts or 0) * p.time_base), bytes(p)) for p in film.demux(video=0) if p.size
        ]
    sound = VideoReader(frames=2, size=48).read(str(path), 0.0, 2.4).values  # shows 0.6 s and 1.8 s
    for place, size, time, packet in packets:
        if not packet[4] & 0x60 and 0.2 < time < 1 and abs(time - 0.6) > 0.09:
            data[place + 5 : place + size] = bytes(size - 5)
    path.write_bytes(data)
    reader = VideoReader(frames=2, size=48)
    assert torch.equal(reader.read(str(path), 0.0, 2.4).values, sound)
    with pytest.raises(SampleError):
        reader.thorough().read(str(path), 0.0, 2.4)
    (tmp_path / "manifest.jsonl").write_text(json.dumps({"id": "a", "video": "a.mp4"}))
    clips = Clips(Manifest.open(str(tmp_path)), {"video": reader}, window=2.4)
    with pytest.raises(SampleError):
        list(scan(clips, clips.manifest[0]))


def test_a_film_without_an_index_is_read_behind_its_last_key_frame(tmp_path):
    path = str(moving(tmp_path / "a.ts", {"x264-params": "scenecut=0"}, count=150))
    whole = VideoReader(frames=150, size=48).read(path, 0.0, 6.0).values
    assert torch.equal(VideoReader(frames=5, size=48).read(path, 5.4, 0.2).values, whole[135:140])


def test_a_file_that_changes_is_measured_anew(tmp_path):
    path, reader = tmp_path / "a.mp4", VideoReader(frames=1, size=64)
    write_film(path, [coded(3)] * 50)
    assert reader.seconds(str(path)) == pytest.approx(2.0)
    write_film(path, [coded(5)] * 75)
    assert reader.seconds(str(path)) == pytest.approx(3.0)
    assert number(reader.read(str(path), 2.5, 0.4).values[0].numpy()) == 5


def test_memory_stays_flat(tmp_path):
    write_film(tmp_path / "a.mp4", [coded(n) for n in range(25)])
    with open(tmp_path / "manifest.jsonl", "w") as file:
        for n in range(64):
            os.link(tmp_path / "a.mp4", tmp_path / f"{n}.mp4")
            print(json.dumps({"id": str(n), "video": f"{n}.mp4"}), file=file)
    clips = Clips(Manifest.open(str(tmp_path)), {"video": VideoReader(frames=16, size=64)}, window=0.2)
    process, held = psutil.Process(), []
    for step, _ in enumerate(islice(Loader(clips, 8, workers=1), 30), 1):
        if step in (10, 30):  # 160 clips of 0.2 MB lie between
            held.append(sum(part.memory_info().rss for part in (process, *process.children())) / 2**20)
    assert held[1] < held[0] + 10
