"""Laws of a sample: which seconds of a recording it holds, and what stands where there is nothing."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch
from clocks import RATE, Clock, clips, recordings, write

from mmmae.corpora.writing import write_imu, write_video
from mmmae.data.clips import Clips
from mmmae.data.loader import Loader
from mmmae.data.manifest import Manifest
from mmmae.data.sample import collate
from modalities.audio.reader import AudioReader
from modalities.errors import InputError, SampleError
from modalities.imu.reader import IMUReader
from modalities.noise import sample_key
from modalities.text.reader import TextReader
from modalities.text.vocabulary import Vocabulary
from modalities.video.reader import VideoReader

# ---------------------------------------------------------------------------------------------------- windows


def test_windows_lie_anywhere_inside_and_differ_by_epoch(tmp_path):
    dataset = clips(recordings(tmp_path))
    starts = torch.tensor([[dataset[epoch, index][0].start for index in range(12)] for epoch in range(40)])
    room = torch.arange(12) + 2.0
    assert all(len(set(column.tolist())) > 35 for column in starts.T)
    assert (starts >= 0).all() and (starts <= room).all()
    assert ((starts / room).mean() - 0.5).abs() < 0.05 and ((starts / room).std() - 12**-0.5).abs() < 0.05


def test_all_modalities_are_read_over_the_same_window(tmp_path):
    recordings(tmp_path)
    (tmp_path / "a.wav").write_text("9")
    path = write(tmp_path, [{"video": "5.mp4", "audio": "a.wav"}])
    readers = {"video": Clock(pads=False), "audio": Clock()}
    batch = collate([Clips(Manifest.open(path), readers, window=2.0)[0, 0]])
    assert torch.equal(batch["video"].values, batch["audio"].values)
    assert batch["video"].values[0, 0] == batch["video"].start == batch["audio"].start
    assert batch["video"].duration == 2


def test_what_cannot_be_padded_decides_how_long_a_recording_is(tmp_path):
    recordings(tmp_path)
    path = write(tmp_path, [{"video": "9.mp4", "imu": "0.mp4"}, {"audio": "9.mp4", "imu": "0.mp4"}])
    readers = {"video": Clock(pads=False), "audio": Clock(), "imu": Clock()}
    dataset = Clips(Manifest.open(path), readers, window=2.0)
    assert max(dataset[epoch, 0][0].start for epoch in range(40)) > 9  # the video's 13 s
    assert max(dataset[epoch, 1][0].start for epoch in range(40)) <= 2  # 4 s, the shorter of both


def test_the_middle_window_is_in_the_middle(tmp_path):
    assert [clips(recordings(tmp_path), centre=True)[0, i][0].start for i in range(3)] == [1.0, 1.5, 2.0]


def test_a_row_is_not_read_beyond_its_end(tmp_path):
    recordings(tmp_path)
    path = write(tmp_path, [{"imu": "9.mp4", "start": 3, "end": 4.5}, {"video": "9.mp4", "start": 3, "end": 5.5}])
    batch = collate([Clips(Manifest.open(path), {"imu": Clock(observed=True)}, window=2.0)[0, 0]])
    assert batch["imu"].length.tolist() == [1.5 * RATE] and batch["imu"].values[0, 12:].eq(0).all()
    assert batch["imu"].observed.sum() == 1.5 * RATE
    for epoch in range(20):
        assert 3 <= clips(path)[epoch, 1][0].start <= 3.5


def test_repeated_windows_follow_each_other(tmp_path):
    path = recordings(tmp_path)
    dataset = clips(path, repeats=2, repeat="windows")
    batch = collate([dataset[0, index] for index in range(12)])
    starts = batch["video"].start.reshape(12, 2)
    assert torch.allclose(starts.diff(dim=1), torch.tensor(2.0)) and batch.ids[:4] == ["r0", "r0", "r1", "r1"]
    assert len(set(batch.key.tolist())) == 24 and batch.key[0] == sample_key(0, 0, 0)
    crowded = [sample.start for sample in clips(path, repeats=5, repeat="windows")[0, 0]]
    assert crowded == [0.0, 0.5, 1.0, 1.5, 2.0]  # 4 s hold two windows of 2 s; five overlap


def test_a_reader_may_decode_several_windows_at_once(tmp_path):
    class Together(Clock):
        def read_windows(self, source, starts, duration):
            calls.append(starts)
            return [self.read(source, start, duration) for start in starts]

    calls = []
    manifest = Manifest.open(recordings(tmp_path))
    samples = Clips(manifest, {"video": Together()}, window=1.0, repeats=3, repeat="windows")[0, 0]
    assert calls == [[sample.start for sample in samples]] and len(samples) == 3


def test_real_recordings_come_through_the_real_readers(tmp_path):
    seconds = np.arange(4 * 8000) / 8000
    frames = np.full((40, 32, 32, 3), 6 * np.arange(40, dtype=np.uint8)[:, None, None, None])  # brightness is a clock
    for name in "ab":
        write_video(tmp_path / f"{name}.mp4", frames, 10, np.sin(3000 * seconds).astype(np.float32), 8000)
    write_imu(tmp_path / "a.csv", np.arange(200) / 50, {"wrist": np.arange(200)[:, None] / 50 + np.zeros(6)})
    (tmp_path / "a.txt").write_text("a clock ticks")
    manifest = Manifest.open(tmp_path)
    Vocabulary.learn(manifest.captions()).save(tmp_path / "words")
    readers = {
        "video": VideoReader(frames=10, size=16),
        "audio": AudioReader(rate=8000),
        "imu": IMUReader(rate=50.0, sensors=1),
        "text": TextReader(length=8, vocabulary=str(tmp_path / "words")),
    }
    for batch in islice(Loader(Clips(manifest, readers, window=1.0), 2, workers=1), 3):
        a, b = batch.ids.index("a"), batch.ids.index("b")
        assert batch["video"].length is batch["audio"].length is None
        assert (
            batch["imu"].length[[a, b]].tolist() == [50, 0] and batch["text"].length[b] == 0 < batch["text"].length[a]
        )
        shown = batch["video"].values[a, :, 0, 8, 8].float() / 60  # the seconds that the frames tell
        felt = batch["imu"].values[a, :, 0, 0]
        assert (felt[0] - batch["imu"].start[a]).abs() < 0.02
        assert (shown - (batch["video"].start[a] + torch.arange(10) / 10)).abs().max() < 0.11


# ---------------------------------------------------------------------------------------------------- absence


def test_absent_modalities_have_length_zero(tmp_path):
    recordings(tmp_path)
    path = write(tmp_path, [{"video": "1.mp4"}, {"text": "abc"}, {"text": "ab", "video": "2.mp4", "label": "run"}])
    dataset = clips(path)
    batch = collate([dataset[0, index] for index in range(3)])
    assert batch["video"].length.tolist() == [16, 0, 16] and batch["text"].length.tolist() == [0, 3, 2]
    assert batch["video"].values[1].eq(0).all() and batch.label.tolist() == [-1, -1, 0]
    assert collate([dataset[0, 0]])["video"].length is None and collate([dataset[0, 0]]).label is None


def test_what_says_nothing_is_none_and_the_rest_is_stacked(tmp_path):
    recordings(tmp_path)
    path = write(tmp_path, [{"imu": "1.mp4", "edges": [[0, 1]]}, {"imu": "2.mp4"}, {"imu": "2.mp4", "start": 5}])
    dataset = Clips(Manifest.open(path), {"imu": Clock(observed=True)}, window=2.0)
    whole = collate([dataset[0, 1]])["imu"]
    assert whole.length is whole.observed is whole.edges is None
    mixed = collate([dataset[0, index] for index in range(3)])["imu"]
    assert mixed.edges.flatten().tolist() == [1, 0, 0] and mixed.length.tolist() == [16, 16, 8]
    assert mixed.observed.sum((1, 2, 3)).tolist() == [16, 16, 8]


def test_a_sample_without_anything_is_an_error(tmp_path):
    class Silent(Clock):
        def read(self, source, start, duration):
            return None

    recordings(tmp_path)
    path = write(tmp_path, [{"audio": "1.mp4", "start": 3}])
    error = Clips(Manifest.open(path), {"audio": Silent()}, window=2.0)[0, 0]
    assert isinstance(error, SampleError) and "row '0'" in str(error) and "--modalities" in str(error)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_recording_is_named_without_a_workers_traceback(tmp_path, workers):
    path = recordings(tmp_path)
    (tmp_path / "3.mp4").write_text("broken")
    with pytest.raises(InputError) as caught:  # nobody takes note of it
        list(islice(Loader(clips(path), 12, workers=workers), 1))
    assert str(caught.value) == f"row 'r3': {tmp_path / '3.mp4'}: cannot be decoded\n  Mend it."


@pytest.mark.parametrize("end", [{}, {"end": 1.2}])
def test_a_recording_shorter_than_the_window_is_refused(tmp_path, end):
    (tmp_path / "a.mp4").write_text("1.2" if not end else "9")
    error = clips(write(tmp_path, [{"id": "a", "video": "a.mp4", **end}]))[0, 0]
    assert isinstance(error, SampleError)
    assert all(part in str(error) for part in ("row 'a'", str(tmp_path / "a.mp4"), "1.2 s", "horten the window"))


@pytest.mark.parametrize("setting", [{"window": 0.0}, {"repeats": 0}, {"repeat": "twice"}])
def test_settings_are_checked(tmp_path, setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        clips(recordings(tmp_path), **setting)
