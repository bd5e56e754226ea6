"""Readers: what they give is what the file holds over just those seconds, and bad input is always a SampleError."""

from __future__ import annotations

import pickle
import subprocess
import sys
from math import floor

import av
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from media import click, coded, cut_off, number, tone, write_film, write_sound

from modalities.audio import AudioReader
from modalities.errors import SampleError
from modalities.video import VideoReader

FRAMES, RATE = 100, 25


@pytest.fixture(scope="session")
def films(tmp_path_factory):
    """The same 4 s in every container: frame n shows n."""
    folder = tmp_path_factory.mktemp("films")
    pictures = [coded(n) for n in range(FRAMES)]
    sound = click(4, at=2.5) + 0.1 * tone(4)
    return {
        ending: write_film(folder / f"film{ending}", pictures, sound=None if ending == ".avi" else sound)
        for ending in (".mp4", ".mkv", ".ts", ".webm", ".avi")
    }


@pytest.fixture(scope="session")
def wav(tmp_path_factory):
    """Three seconds of noise, so that every sample is recognised."""
    samples = np.random.default_rng(0).integers(-30000, 30000, (1, 48000)) / 32768
    return write_sound(tmp_path_factory.mktemp("wav") / "noise.wav", samples), samples[0].astype(np.float32)


# Video


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".ts", ".webm", ".avi"])
@settings(max_examples=10)
@given(start=st.floats(0, 3.4), duration=st.floats(0.2, 2), count=st.integers(1, 20))
def test_the_frame_of_a_moment_is_the_one_on_display(films, ending, start, duration, count):
    duration = min(duration, 4 - start)
    reading = VideoReader(frames=count, size=64).read(str(films[ending]), start, duration)
    assert reading.values.dtype == torch.uint8 and reading.values.shape == (count, 3, 64, 64)
    assert reading.length == count
    for i, picture in enumerate(reading.values.numpy()):
        moment = start + duration * (i + 0.5) / count
        assert number(picture) in {floor((moment + slack) * RATE) for slack in (-0.002, 0.002)}


def test_frames_of_a_variable_rate_stand_until_the_next(tmp_path):
    stamps = [0, 40, 80, 500, 520, 560, 1300, 1340, 1900, 1960]
    path = write_film(tmp_path / "a.mp4", [coded(n) for n in range(len(stamps))], milliseconds=stamps)
    values = VideoReader(frames=19, size=64).read(str(path), 0.0, 1.9).values.numpy()
    shown = [sum(stamp <= 1000 * (0.05 + 0.1 * i) + 1 for stamp in stamps) - 1 for i in range(19)]
    assert [number(picture) for picture in values] == shown


@pytest.mark.parametrize("ending", [".mp4", ".webm", ".mkv", ".ts"])
def test_a_film_is_as_long_as_its_frames_also_beside_longer_sound(tmp_path, ending):
    path = write_film(tmp_path / f"a{ending}", [coded(n) for n in range(50)], sound=tone(5))
    assert VideoReader().seconds(str(path)) == pytest.approx(2.0, abs=0.05)
    assert AudioReader().seconds(str(path)) == pytest.approx(5.0, abs=0.1)


@pytest.mark.skipif(
    not hasattr(av.video.stream.VideoStream, "set_display_rotation"), reason="this PyAV cannot write it"
)
@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_a_film_is_read_upright(tmp_path, rotation):
    picture = np.zeros((32, 64, 3), np.uint8)
    picture[:16, :32] = 255
    path = write_film(tmp_path / "a.mp4", [picture] * 5, rotation=rotation)
    upright = np.rot90(picture, rotation // 90)
    read = VideoReader(frames=1, size=upright.shape[:2]).read(str(path), 0.0, 0.2).values[0].numpy()
    assert np.abs(read.transpose(1, 2, 0).astype(int) - upright).mean() < 8


def test_crop_keeps_proportions_and_the_middle_while_stretch_keeps_everything(tmp_path):
    ramp = np.broadcast_to(np.arange(0, 256, 2, dtype=np.uint8)[None, :, None], (64, 128, 3))
    path = str(write_film(tmp_path / "a.mp4", [ramp] * 5))
    for fit, edges in {"crop": (64, 192), "stretch": (0, 255)}.items():
        row = VideoReader(frames=1, size=32, fit=fit).read(path, 0.0, 0.2).values[0, 0, 16]
        assert (int(row[0]), int(row[-1])) == pytest.approx(edges, abs=8)


def test_wide_pixels_are_as_wide_as_they_are_shown():
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[:, 12:20] = 255
    frame = av.VideoFrame.from_ndarray(picture)
    square, wide = (VideoReader(size=32).shots.framing(frame, aspect).picture(frame, "rgb24") for aspect in (1, 2))
    assert (square[16, :, 0] > 127).sum() == 8 and (wide[16, :, 0] > 127).sum() == 16


@pytest.mark.parametrize("size", [16, (17, 33), (48, 31)])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_size_and_colour_or_grey(tmp_path, size, channels):
    path = str(write_film(tmp_path / "a.webm", [np.full((37, 51, 3), (250, 30, 30), np.uint8)] * 5))
    values = VideoReader(frames=2, size=size, channels=channels).read(path, 0.0, 0.2).values
    height, width = (size, size) if isinstance(size, int) else size
    assert values.shape == (2, channels, height, width)
    colour = torch.tensor([250.0, 30, 30]) if channels == 3 else torch.tensor([96.0])  # luma of that red
    assert (values.float().mean((0, 2, 3)) - colour).abs().max() < 12


def test_an_image_is_a_recording_of_one_frame(tmp_path):
    path = tmp_path / "a.png"
    with av.open(str(path), "w", format="image2") as container:
        stream = container.add_stream("png", rate=1)
        stream.height = stream.width = 64
        stream.pix_fmt = "rgb24"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(coded(170))))
    assert VideoReader(frames=1).seconds(str(path)) is None
    assert number(VideoReader(frames=1, size=64).read(str(path), 0.0, 2.0).values[0].numpy()) == 170
    with pytest.raises(SampleError, match="frames=1") as error:
        VideoReader(frames=2).read(str(path), 0.0, 2.0)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("ending", [".mp4", ".webm", ".ts"])
def test_a_window_beyond_the_film_is_refused_with_its_length(films, ending):
    path = str(films[ending])
    assert VideoReader(size=16).read(path, 2.03, 2.0).length == 16  # less than a frame over the end
    for start, duration in [(2.1, 2.0), (0.0, 5.0), (3.99, 2.0), (50.0, 1.0), (-1.0, 2.0)]:
        with pytest.raises(SampleError, match="window") as error:
            VideoReader(frames=2, size=16).read(path, start, duration)
        assert path in str(error.value)
    with pytest.raises(SampleError, match=r"lasts (4|3.9)"):
        VideoReader(frames=2, size=16).read(path, 2.1, 2.0)


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".webm"])
def test_a_film_cut_off_is_refused_where_it_lacks_frames_only(tmp_path, ending):
    options = {"movflags": "faststart"} if ending == ".mp4" else {}
    path = cut_off(write_film(tmp_path / f"a{ending}", [coded(n) for n in range(FRAMES)], options=options), 0.6)
    assert number(VideoReader(frames=1, size=64).read(str(path), 0.0, 0.5).values[0].numpy()) == 6
    with pytest.raises(SampleError, match=r"decoded|lasts") as error:
        VideoReader(frames=4, size=64).read(str(path), 2.0, 2.0)
    assert str(path) in str(error.value)


@settings(max_examples=25)
@given(data=st.data())
def test_a_damaged_film_gives_pictures_or_a_sample_error(films, tmp_path_factory, data):
    ending = data.draw(st.sampled_from([".mp4", ".webm", ".ts"]))
    content = bytearray(films[ending].read_bytes())
    for place, byte in data.draw(st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)))):
        content[place] = byte
    path = tmp_path_factory.mktemp("damaged") / f"a{ending}"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    for reader in (VideoReader(frames=4, size=16), AudioReader(rate=8000)):
        try:
            reader.seconds(str(path))
            reading = reader.read(str(path), 1.0, 1.0)
        except SampleError as error:
            assert str(path) in str(error)
        else:
            assert reading is None or reading.values.shape == reader.blank(1.0).values.shape


@pytest.mark.parametrize("reader", [VideoReader(size=16), AudioReader()])
def test_what_is_no_recording_is_refused_by_name(tmp_path, reader):
    bad = {"missing.mp4": None, "empty.mp4": b"", "words.mp4": b"not a film " * 99, "words.txt": b"a caption\n" * 99}
    for name, content in bad.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        for use in (reader.seconds, lambda path: reader.read(path, 0.0, 1.0)):
            with pytest.raises(SampleError) as error:
                use(str(tmp_path / name))
            assert name in str(error.value) and "\n" in str(error.value)
            assert content is not None or "no such file" in str(error.value)
    for source in (str(tmp_path), None, 3, ["a.mp4"], "a\0.mp4"):
        with pytest.raises(SampleError):
            reader.read(source, 0.0, 1.0)


def test_sound_alone_is_no_video(wav):
    with pytest.raises(SampleError, match="no video stream"):
        VideoReader().read(str(wav[0]), 0.0, 1.0)


# Audio


@settings(max_examples=15)
@given(start=st.integers(0, 40000), count=st.integers(1, 8000))
def test_sound_starts_at_the_exact_sample(wav, start, count):
    path, samples = wav
    reading = AudioReader(rate=16000).read(str(path), start / 16000, count / 16000)
    assert reading.length == count
    assert np.array_equal(reading.values.numpy(), samples[start : start + count])


@settings(max_examples=10)
@given(cuts=st.lists(st.integers(0, 48000), min_size=3, max_size=3, unique=True).map(sorted))
def test_sound_of_two_neighbouring_windows_is_that_of_both(wav, cuts):
    a, b, c = (cut / 16000 for cut in cuts)
    reader, path = AudioReader(rate=16000), str(wav[0])
    parts = [reader.read(path, a, b - a).values, reader.read(path, b, c - b).values]
    assert torch.equal(torch.cat(parts), reader.read(path, a, c - a).values)


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".ts", ".webm"])
@pytest.mark.parametrize("start", [0.0, 1.3, 2.2])
def test_the_sound_track_keeps_time_with_the_film(films, ending, start):
    values = AudioReader(rate=16000).read(str(films[ending]), start, 1.5 if start else 3.0).values
    assert values.abs().argmax().item() / 16000 + start == pytest.approx(2.5, abs=0.002)


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".ts"])
def test_sound_that_begins_later_than_the_film_stays_there(tmp_path, ending):
    path = write_film(tmp_path / f"a{ending}", [coded(n) for n in range(50)], sound=click(1.5, at=0.5), sound_start=0.5)
    for start in (0.0, 0.8):
        values = AudioReader(rate=16000).read(str(path), start, 1.2).values
        assert values.abs().argmax().item() / 16000 + start == pytest.approx(1.0, abs=0.003)
    assert AudioReader().read(str(path), 0.0, 0.4) is None


@pytest.mark.parametrize(("old", "new"), [(44100, 16000), (22050, 16000), (8000, 16000), (48000, 44100)])
@pytest.mark.parametrize("start", [0.0, 0.7])
def test_resampling_keeps_place_and_shape(tmp_path, old, new, start):
    path = str(write_sound(tmp_path / "a.wav", tone(2, rate=old), rate=old))
    reading = AudioReader(rate=new).read(path, start, 1.0)
    assert reading.values.shape == (new,) and reading.length == new
    expected = tone(2, rate=new)[0, round(start * new) :][:new]
    inside = slice(new // 50, None)  # a sine that starts abruptly rings
    assert np.abs(reading.values.numpy() - expected)[inside].max() < 2e-3


def test_a_gap_between_stamps_is_zeros(tmp_path):
    path = write_sound(tmp_path / "a.mkv", np.full((1, 32768), 0.5), pieces=[0.0, 1.5])
    reading = AudioReader(rate=16000).read(str(path), 0.5, 1.5)
    values, first = reading.values, round((1.024 - 0.5) * 16000)
    assert torch.allclose(values[:first], torch.tensor(0.5), atol=1e-3)
    assert values[first + 20 : 16000 - 20].abs().max() == 0
    assert torch.allclose(values[16000 + 20 :], torch.tensor(0.5), atol=1e-3)


@pytest.mark.parametrize("codec", ["pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le"])
def test_channels_are_averaged_at_full_scale_one(tmp_path, codec):
    stereo = np.concatenate([tone(0.5), -0.5 * tone(0.5)])
    values = AudioReader().read(str(write_sound(tmp_path / "a.wav", stereo, codec=codec)), 0.0, 0.5).values
    assert np.abs(values.numpy() - stereo.mean(0)).max() < (0.01 if codec == "pcm_u8" else 1e-4)


def test_short_sound_is_padded_and_counted(tmp_path):
    path = str(write_sound(tmp_path / "a.wav", tone(1)))
    reading = AudioReader().read(path, 0.25, 2.0)
    assert reading.length == 12000 and reading.values.shape == (32000,)
    assert reading.values[12000:].abs().max() == 0 and reading.values[:12000].abs().max() > 0.4
    assert AudioReader().seconds(path) == pytest.approx(1.0)


def test_a_sound_of_one_packet_is_read(tmp_path):
    """A FLAC of a single frame has nothing that its demuxer could go back to."""
    path = str(write_sound(tmp_path / "a.flac", tone(0.05, rate=44100), rate=44100, codec="flac"))
    assert AudioReader(rate=44100).read(path, 0.0, 1.0).length == 2205


def test_silence_and_no_track_are_absence(tmp_path):
    silent = str(write_sound(tmp_path / "a.wav", np.zeros((1, 16000))))
    mute = str(write_film(tmp_path / "a.mp4", [coded(0)] * 5))
    beyond = str(write_sound(tmp_path / "b.wav", tone(1)))
    assert AudioReader().read(silent, 0.0, 1.0) is None
    assert AudioReader().read(mute, 0.0, 0.2) is None and AudioReader().seconds(mute) is None
    assert AudioReader().read(beyond, 3.0, 1.0) is None


# All


def test_settings_are_checked_and_readers_travel_to_workers(films):
    for bad in ({"frames": 0}, {"size": 0}, {"channels": 2}):
        with pytest.raises(ValueError, match=str(next(iter(bad.values())))):
            VideoReader(**bad)
    with pytest.raises(ValueError, match="rate=0"):
        AudioReader(rate=0)
    reader = pickle.loads(pickle.dumps(VideoReader(frames=2, size=16)))
    assert reader.read(str(films[".mp4"]), 0.0, 1.0).values.shape == reader.blank(1.0).values.shape


def test_tokenizers_need_no_decoder():
    names = ", ".join(f"modalities.{m.lower()}:{m}Tokenizer" for m in ("Video", "Audio", "IMU", "Text", "Embedding"))
    code = (
        "import sys; from pkgutil import resolve_name; sys.modules['av'] = sys.modules['pyarrow'] = None;"
        f"[resolve_name(name) for name in '{names}'.split(', ')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100)
