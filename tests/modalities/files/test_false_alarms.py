"""Sound recordings that the checks of damage once refused are read, and real damage in their like is still found."""

from __future__ import annotations

from fractions import Fraction
from math import floor
from pathlib import Path

import av
import numpy as np
import pytest
from media import cut_off
from places import CASES
from recorded import CODECS, RATE, blocks, clicks, join, numbers, record, shows

from modalities.audio import AudioReader
from modalities.errors import SampleError
from modalities.files.decoding import decode
from modalities.files.extent import JOINED, REGROUPED
from modalities.files.media import opened, video_stream
from modalities.video import VideoReader


def frames_of(path: Path) -> list[np.ndarray]:
    """All frames in the order of display, as FFmpeg decodes them from the beginning, small and grey."""
    with av.open(str(path)) as film:
        return [frame.reformat(16, 16, "gray").to_ndarray() for frame in film.decode(video=0)]


def test_the_default_x264_in_avi_is_read_whole():
    path = CASES / "h264-avi" / "default-x264.avi"
    reader, frames = VideoReader(frames=16, size=16, channels=1), frames_of(path)
    assert reader.seconds(str(path)) == pytest.approx(6.0)
    for start in (0.0, 1.5, 4.0):
        for i, picture in enumerate(reader.read(str(path), start, 2.0).values[:, 0].numpy()):
            moment = start + 2.0 * (i + 0.5) / 16
            near = [abs(frames[n].astype(int) - picture).mean() for n in range(len(frames))]
            assert abs(int(np.argmin(near)) - floor(moment * RATE)) <= 1
    assert reader.read(str(path), 0.0, 6.0).length == 16


@pytest.mark.parametrize("name", ["a.avi", "a.wmv"])
@pytest.mark.parametrize(
    "options",
    [
        {"x264-params": "bframes=3:b-adapt=0"},
        {"x264-params": "bframes=7:b-adapt=0:ref=5"},
        {"x264-params": "open-gop=1"},
    ],
)
def test_frames_in_another_order_than_their_stamps_are_no_loss(name, options, tmp_path, monkeypatch):
    monkeypatch.setitem(CODECS, "libx264", {"g": "25", **options})
    path = record(tmp_path / name, "libx264", "mp2", format="asf" if name == "a.wmv" else None)
    reader = VideoReader(frames=4, size=16)
    assert reader.seconds(str(path)) == pytest.approx(4.0, abs=0.001)
    for start, duration in [(0.0, 3.99), (0.0, 1.0), (1.7, 2.0), (3.2, 0.79)]:
        assert shows(path, start, duration)
    assert AudioReader().read(str(path), 0.0, 4.0).length > 63000
    if name == "a.wmv":  # an AVI does not say by how much its sound is late
        assert clicks(path, 2.0, 1.0) == pytest.approx(2.5, abs=0.04)
    for share in (0.3, 0.5, 0.9):
        cut = str(cut_off(path, share))
        with pytest.raises(SampleError):
            reader.read(cut, 0.0, reader.seconds(cut) or 1.0)


def test_packets_that_give_no_frame_are_counted_as_lost(tmp_path):
    path = record(tmp_path / "a.avi", "libx264")
    with opened(str(path)) as container:
        stream = video_stream(container)
        stream.codec_context.skip_frame = "NONREF"  # as if the decoder lost them
        with pytest.raises(SampleError, match=r"lacks \d+ frames"):
            list(decode(container, stream, 0.0))


def test_a_raw_stream_may_begin_mid_group(tmp_path):
    whole = record(tmp_path / "whole.h264", "libx264")
    with av.open(str(whole)) as source:
        packets = [bytes(packet) for packet in source.demux(video=0) if packet.size]
    path = tmp_path / "a.h264"
    path.write_bytes(b"".join(packets[5:]))
    first = numbers(path, 0.0, 0.04, 1)[0]
    assert 5 <= first <= 12 and VideoReader().seconds(str(path)) == pytest.approx((100 - first) / RATE, abs=0.01)
    assert shows(path, 0.0, (100 - first) / RATE - 0.01, first=first)
    with opened(str(path)) as container:
        assert len(list(decode(container, video_stream(container), 0.0))) == 100 - first


def test_a_recording_that_begins_mid_group_begins_at_its_first_frame():
    path = str(CASES / "ts-mid-gop" / "midgop.ts")
    reader = VideoReader(frames=16, size=16)
    assert reader.seconds(path) == pytest.approx(4.0, abs=0.05)
    for start in (0.0, 1.5, 1.99):
        reading = reader.read(path, start, 2.0)
        moments = start + 2.0 * (np.arange(16) + 0.5) / 16
        light = reading.values.float().mean((1, 2, 3)).numpy()
        assert np.abs(light - (20 + 20 * (4.04 + np.floor(moments * RATE) / RATE))).max() < 4
        assert reading.notes == (REGROUPED,)


MID = {
    "a.ts": ("libx264", "aac", None), "hevc.ts": ("libx265", "aac", None), "mpeg2.ts": ("mpeg2video", "mp2", None),
    "a.mpg": ("mpeg2video", "mp2", "vob"),
}  # fmt: skip


def begun_late(path: Path, codec: str, sound: str, form: str | None, **more) -> Path:
    """A recording without its first 14 frames, which are the first group and a little of the second."""
    whole = record(path.with_stem("whole"), codec, sound, format=form, **more)
    with av.open(str(whole)) as source, av.open(str(path), "w", format=form) as out:
        twins = {stream.index: out.add_stream_from_template(stream) for stream in source.streams}
        begin, seen = None, 0
        for packet in source.demux():
            if packet.dts is None:
                continue
            seen += packet.stream.type == "video"
            if seen > 14 and begin is None:
                begin = packet.dts * packet.time_base
            if begin is not None and packet.dts * packet.time_base >= begin:
                packet.stream = twins[packet.stream_index]
                out.mux(packet)
    return path


@pytest.mark.parametrize("name", MID)
def test_every_codec_may_begin_mid_group(name, tmp_path):
    path = begun_late(tmp_path / name, *MID[name])
    first = numbers(path, 0.0, 0.04, 1)[0]
    assert 15 < first <= 26
    seconds = VideoReader().seconds(str(path))
    assert seconds == pytest.approx((100 - first) / RATE, abs=0.05)
    for start, duration in [(0.0, seconds - 0.01), (0.3, 1.0), (seconds - 0.8, 0.79)]:
        assert shows(path, start, duration, first=first)
    assert clicks(path, 1.2, 0.8) == pytest.approx(2.5 - first / RATE, abs=0.04)
    assert VideoReader(frames=1, size=16).read(str(path), 0.0, 0.5).notes == (REGROUPED,)
    joined = join(tmp_path / f"joined-{name}", path, path)
    assert shows(joined, 0.0, seconds - 0.01, first=first)
    assert numbers(joined, seconds + 0.005, 0.03, 1) == [first]
    assert clicks(joined, seconds + 1.2, 0.8) == pytest.approx(seconds + 2.5 - first / RATE, abs=0.04)
    assert VideoReader(frames=1, size=16).read(str(joined), 0.0, 0.5).notes == (JOINED, REGROUPED)


@pytest.mark.parametrize("name", ["a.ts", "mpeg2.ts"])
def test_a_hole_in_the_middle_of_a_stream_is_found(name, tmp_path):
    path = begun_late(tmp_path / name, *MID[name])
    packets = blocks(path, 188)
    for share in (0.3, 0.5, 0.7):
        place = int(len(packets) * share)
        hole = tmp_path / f"hole-{name}"
        hole.write_bytes(b"".join(packets[:place] + packets[place + len(packets) // 6 :]))
        with pytest.raises(SampleError, match=r"lacks|damaged|decoded"):
            VideoReader(frames=8, size=16).read(str(hole), 0.0, 3.0)


def test_a_pause_of_the_camera_in_a_stream_is_no_loss(tmp_path):
    path = tmp_path / "a.ts"
    with av.open(str(path), "w") as out:
        film = out.add_stream("libx264", rate=25, options=CODECS["libx264"])
        film.width = film.height = 64
        film.pix_fmt = "yuv420p"
        for n in range(50):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 4 * n, np.uint8))
            frame.pts, frame.time_base = n + 50 * (n >= 25), Fraction(1, 25)
            out.mux(film.encode(frame))
        out.mux(film.encode())
    assert VideoReader(frames=4, size=16).read(str(path), 0.0, 3.9).length == 4
