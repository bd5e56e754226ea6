"""A row whose `start` or `end` does not fit its recording is cut to what is there, with a note, or refused."""

from __future__ import annotations

from pathlib import Path

import media
import numpy as np
import pytest
from clocks import Clock, write
from places import CASES

from mmmae.__main__ import main
from mmmae.data.bounds import AFTER
from mmmae.data.clips import Clips
from mmmae.data.manifest import Manifest
from mmmae.data.scan import scan
from mmmae.data.segments import Segments
from modalities.audio import AudioReader
from modalities.errors import SampleError
from modalities.imu import IMUReader
from modalities.video import VideoReader

CASE = CASES / "end-past-film"


def clips(path: Path, *, window: float = 1.0, **readers) -> Clips:
    readers = readers or {"video": VideoReader(frames=2, size=16)}
    return Clips(Manifest.open(path), readers, window=window)


def notes(dataset: Clips, index: int = 0) -> set[str]:
    return {note for reading in dataset[0, index][0].readings.values() for note in reading.notes}


def test_an_annotation_that_ends_after_the_video_is_used_and_noted(capsys):
    """The case end-past-film: [1.0, 3.4) of 3.0 s."""
    assert main(["check", str(CASE / "manifest.csv"), "--modalities", "video", "--workers", "0", "window=1",
                 "modalities.video.size=32", "modalities.video.frames=2"]) == 0  # fmt: skip
    assert "2 samples, 0 bad" in capsys.readouterr().out
    dataset = clips(CASE / "manifest.csv")
    assert notes(dataset, 0) == set() and notes(dataset, 1) == {AFTER}
    starts = [dataset[epoch, 1][0].start for epoch in range(40)]
    assert min(starts) >= 1.0 and max(starts) <= 2.0 + 1e-6
    assert all(set(found) == {"video"} for _, found in scan(dataset, dataset.manifest[1]))


@pytest.fixture
def recorded(tmp_path) -> Path:
    """A sound, sensors and a video of 4 s."""
    media.write_sound(tmp_path / "a.wav", media.tone(4.0))
    rows = "".join(f"{i / 50},{i},0,0,0,0,0\n" for i in range(200))
    (tmp_path / "a.csv").write_text("time,ax,ay,az,gx,gy,gz\n" + rows)
    pictures = [np.full((16, 16, 3), i, dtype=np.uint8) for i in range(100)]
    media.write_film(tmp_path / "a.mp4", pictures, rate=25)
    return tmp_path


READERS = {
    "audio": ("a.wav", AudioReader(rate=8000)),
    "imu": ("a.csv", IMUReader(sensors=1)),
    "video": ("a.mp4", VideoReader(frames=2, size=16)),
}


@pytest.mark.parametrize("modality", READERS)
def test_no_window_lies_after_the_end_of_a_recording(recorded, modality):
    name, reader = READERS[modality]
    dataset = clips(write(recorded, [{modality: name, "start": 2.5, "end": 4.9}]), **{modality: reader})
    for epoch in range(20):
        (sample,) = dataset[epoch, 0]
        assert not sample.faults and sample.start <= 3.0 + 1e-6 and sample.readings[modality].notes == (AFTER,)
        assert sample.readings[modality].length == len(sample.readings[modality].values)


@pytest.mark.parametrize("modality", READERS)
@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"end": 9.0}, ["its row's `end` is 5.00 s after the end of the recording (4.00 s)", "set `end` to 4.00"]),
        ({"start": 500, "end": 4000}, ["its row's `start` is 496.00 s after the end", "in seconds"]),
        ({"start": 4.5}, ["its row's `start` is 0.50 s after the end"]),
        ({"start": 4.2, "end": 4.6}, ["its row's `start` is 0.20 s after the end"]),
    ],
)
def test_a_row_far_outside_its_recording_is_refused_with_what_helps(recorded, modality, row, words):
    name, reader = READERS[modality]
    error = clips(write(recorded, [{modality: name, **row}]), **{modality: reader})[0, 0]
    assert isinstance(error, SampleError) and error.modality == modality
    assert [word for word in words if word not in str(error)] == [], error
    assert "window=" not in str(error)


def test_sound_that_ends_before_a_video_is_padded_as_before(recorded):
    media.write_sound(recorded / "short.wav", media.tone(2.0))
    path = write(recorded, [{"video": "a.mp4", "audio": "short.wav", "start": 2.5, "end": 4.0}])
    (sample,) = clips(path, video=READERS["video"][1], audio=READERS["audio"][1])[0, 0]
    assert sample.readings["video"].length == 2 and not sample.readings["audio"].length
    assert not sample.readings["video"].notes


def test_a_row_as_long_as_the_window_may_end_within_a_frame(recorded):
    assert not clips(write(recorded, [{"video": "a.mp4", "end": 4.03}]), window=4.03)[0, 0][0].faults


def test_what_is_left_of_a_row_may_be_too_short(recorded):
    error = clips(write(recorded, [{"video": "a.mp4", "start": 3.5, "end": 4.8}]))[0, 0]
    assert "lasts 4.00 s, less than its row's `end`" in str(error) and "window=0.5" in str(error)


def test_segments_of_a_row_end_with_the_recording(tmp_path):
    (tmp_path / "a.mp4").write_text("4")
    dataset = Clips(Manifest.open(write(tmp_path, [{"video": "a.mp4", "end": 4.8}])), {"video": Clock()}, window=2.0)
    assert [(piece.start, piece.end) for piece in Segments(dataset, [0])] == [(0, 2), (2, 4)]
