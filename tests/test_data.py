"""Laws of the data: what a step reads depends on the seed alone, and bad input is named with its remedy."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import islice

import datasets
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmmae.corpora.writing import write_imu, write_video
from mmmae.data.augment import Augment, repeat, repeat_key
from mmmae.data.dataset import Clips
from mmmae.data.loader import Loader, Schedule, evaluation
from mmmae.data.manifest import Manifest
from mmmae.data.sample import collate
from modalities.audio.reader import AudioReader
from modalities.errors import InputError, SampleError
from modalities.imu.reader import IMUReader
from modalities.noise import sample_key
from modalities.reader import Reader, Reading
from modalities.records import Batch, Signal
from modalities.text.reader import TextReader
from modalities.text.vocabulary import Vocabulary
from modalities.video.augmentation import VideoAugmentation
from modalities.video.reader import VideoReader

RATE = 8


class Clock(Reader):
    """Reads a file that says how many seconds it lasts; step i of what is read holds its own time in the recording."""

    def __init__(self, *, pads: bool = True, observed: bool = False):
        self.pads, self.observed = pads, observed

    def seconds(self, source):
        path = source["path"] if isinstance(source, dict) else source
        with open(path) as file:
            text = file.read()
        if text == "broken":
            raise SampleError(path, "cannot be decoded", "Mend it.")
        return float(text)

    def read(self, source, start, duration):
        seconds = self.seconds(source)
        if seconds <= start:
            return None
        if not self.pads and seconds < start + duration:
            raise SampleError(source, f"lasts {seconds:g} s, too short for the window", "Shorten the window.")
        time = start + torch.arange(round(duration * RATE)) / RATE
        inside = time < seconds
        observed = inside[:, None] if self.observed else None
        edges = torch.eye(1) if isinstance(source, dict) and source["edges"] else None
        return Reading(time * inside, int(inside.sum()), observed, edges)

    def blank(self, duration):
        steps = round(duration * RATE)
        return Reading(torch.zeros(steps), 0, torch.zeros(steps, 1, dtype=torch.bool) if self.observed else None)


class Letters(Reader):
    """Reads the first three characters of a caption, which has no time."""

    def seconds(self, source):
        return None

    def read(self, source, start, duration):
        codes = [ord(letter) for letter in source[:3]]
        return Reading(torch.tensor(codes + [0] * (3 - len(codes))), len(codes))

    def blank(self, duration):
        return Reading(torch.zeros(3, dtype=torch.int64), 0)


def recordings(folder, count=12, **columns):
    """Recordings of 4 s and more, and a manifest of them."""
    for i in range(count):
        (folder / f"{i}.mp4").write_text(str(4 + i))
    rows = [{"id": f"r{i}", "video": f"{i}.mp4", "text": f"t{i}"} for i in range(count)]
    return write(folder, [row | {name: values[i] for name, values in columns.items()} for i, row in enumerate(rows)])


def write(folder, rows, name="manifest.jsonl"):
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / name


def clips(path, window=2.0, **settings):
    return Clips(Manifest.open(path), {"video": Clock(pads=False), "text": Letters()}, window=window, **settings)


def assert_same(one: Batch, other: Batch):
    assert list(one) == list(other) and one.ids == other.ids and torch.equal(one.key, other.key)
    for m in one:
        for name, values in vars(one[m]).items():
            twin = getattr(other[m], name)
            assert (values is None) == (twin is None) and (values is None or torch.equal(values, twin)), (m, name)


def joined(batches):
    """Ids and windows of the batches of all ranks, in order of rank."""
    return [(name, start) for batch in batches for name, start in zip(batch.ids, batch["video"].start, strict=True)]


# ---------------------------------------------------------------------------------------------------- order


@given(st.integers(1, 40), st.integers(1, 5), st.integers(1, 4), st.integers(0, 9))
def test_every_recording_comes_once_per_epoch_and_ranks_share_a_batch(samples, batch_size, world, seed):
    if samples < batch_size * world:
        with pytest.raises(InputError, match="--batch-size"):
            Schedule(samples, batch_size, world=world, seed=seed)
        return
    ranks = Schedule(samples, batch_size, world=world, seed=seed)
    single = Schedule(samples, batch_size * world, seed=seed)
    assert ranks.steps_per_epoch == single.steps_per_epoch == samples // (batch_size * world)
    for epoch in (0, 1):
        steps = range(epoch * ranks.steps_per_epoch, (epoch + 1) * ranks.steps_per_epoch)
        together = [[place for rank in range(world) for place in ranks.places(step, rank)] for step in steps]
        assert together == [single.places(step, 0) for step in steps]
        seen = [place for places in together for place in places]
        assert len(set(seen)) == len(seen) == len(steps) * batch_size * world
        assert all(e == epoch and 0 <= index < samples for e, index in seen)


def test_epochs_and_seeds_have_orders_of_their_own():
    first = Schedule(100, 100, seed=0)
    orders = [first.places(0, 0), first.places(1, 0), Schedule(100, 100, seed=1).places(0, 0)]
    assert len({tuple(index for _, index in order) for order in orders}) == 3


def test_workers_change_nothing(tmp_path):
    path = recordings(tmp_path)
    runs = [list(islice(Loader(clips(path, seed=3), 5, workers=workers), 4)) for workers in (0, 1, 2)]
    for batches in zip(*runs, strict=True):
        assert_same(batches[0], batches[1])
        assert_same(batches[0], batches[2])


def test_two_ranks_read_the_batch_of_one(tmp_path):
    dataset = clips(recordings(tmp_path))
    one = islice(Loader(dataset, 6), 4)
    two = islice(zip(Loader(dataset, 3, rank=0, world=2), Loader(dataset, 3, rank=1, world=2), strict=True), 4)
    for whole, parts in zip(one, two, strict=True):
        assert joined([whole]) == joined(parts)


def test_a_run_resumes_from_its_step(tmp_path):
    dataset = clips(recordings(tmp_path))
    run = list(islice(Loader(dataset, 5), 7))
    for batch, resumed in zip(run[3:], Loader(dataset, 5, start_step=3), strict=False):
        assert_same(batch, resumed)


def test_reading_ahead_leaves_the_model_its_random_numbers(tmp_path):
    dataset = clips(recordings(tmp_path))
    before = torch.get_rng_state()
    next(iter(Loader(dataset, 2)))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("world", [1, 2, 5])
def test_evaluation_reads_every_recording_once_in_order(tmp_path, world):
    dataset = clips(recordings(tmp_path, 11), centre=True)
    ranks = [list(evaluation(dataset, 2, rank=rank, world=world)) for rank in range(world)]
    rounds = [[batches[i] for batches in ranks if i < len(batches)] for i in range(max(map(len, ranks)))]
    assert [name for batches in rounds for name, _ in joined(batches)] == [f"r{i}" for i in range(11)]
    even = [list(evaluation(dataset, 2, rank=rank, world=world, even=True)) for rank in range(world)]
    assert len({tuple(len(batch.ids) for batch in batches) for batches in even}) == 1
    assert sum(len(batch.ids) for batches in even for batch in batches) == 11 - 11 % world


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
    assert mixed.observed.sum((1, 2)).tolist() == [16, 16, 8]


def test_a_sample_without_anything_is_an_error(tmp_path):
    recordings(tmp_path)
    path = write(tmp_path, [{"audio": "1.mp4", "start": 50}])
    error = Clips(Manifest.open(path), {"audio": Clock()}, window=2.0)[0, 0]
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


# ---------------------------------------------------------------------------------------------------- processes

SCRIPT = """
import signal, sys, time
sys.path[:0] = {paths!r}
from test_data import Loader, clips
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell takes from what it starts with &
    batches = iter(Loader(clips({manifest!r}), 2, workers=2))
    try:
        while next(batches):
            print("reading", flush=True)
            {then}
    except KeyboardInterrupt:
        for _ in range(20):  # long enough to use up what was read ahead
            next(batches)
"""


@pytest.mark.parametrize("then", ["break", "sys.exit(0)", "time.sleep(60)"])
def test_workers_leave_quietly_and_survive_an_interrupt(tmp_path, then):
    script = SCRIPT.format(paths=sys.path, manifest=str(recordings(tmp_path)), then=then)
    (tmp_path / "main.py").write_text(script)
    process = subprocess.Popen(
        [sys.executable, tmp_path / "main.py"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, cwd=tmp_path,
    )  # fmt: skip
    assert process.stdout.readline() == "reading\n", process.stderr.read()
    if "sleep" in then:
        os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does: every process of the group
    assert process.wait(20) == 0 and process.stderr.read() == ""


# ---------------------------------------------------------------------------------------------------- manifests

ROWS = [
    {"id": "clip", "video": "clip.mp4", "audio": "clip.wav", "imu": "clip.csv", "text": ["a dog, running", "a cat"]},
    {"id": "deep/walk", "video": "deep/walk.webm", "audio": None, "imu": None, "text": ["ein Mann läuft"]},
]


@pytest.fixture
def media(tmp_path):
    folder = tmp_path / "media"
    (folder / "deep").mkdir(parents=True)
    (folder / ".trash").mkdir()
    for name in (
        ".trash/old.mp4",
        "clip.mp4",
        "clip.wav",
        "clip.csv",
        "deep/walk.webm",
        "deep/.hidden.mp4",
        "thumb.png",
    ):
        (folder / name).write_text("9")
    (folder / "clip.txt").write_text("a dog, running\n\na cat\n", encoding="utf-8")
    (folder / "deep/walk.txt").write_text("ein Mann läuft", encoding="utf-8")
    return folder


def write_csv(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(dict.fromkeys(column for row in rows for column in row)))
        table.writeheader()
        table.writerows(rows)
    return path


def test_every_format_gives_the_same_rows(media):
    expected = list(Manifest.open(media))
    assert [row.id for row in expected] == ["clip", "deep/walk"]
    assert expected[0].sources == {
        "video": str(media / "clip.mp4"),
        "audio": str(media / "clip.wav"),
        "imu": {"path": str(media / "clip.csv"), "rate": None, "edges": None},
        "text": ["a dog, running", "a cat"],
    }
    assert expected[1].sources["audio"] == expected[1].sources["video"]  # its sound track
    assert expected[1].sources["text"] == "ein Mann läuft" and "imu" not in expected[1].sources
    table = datasets.Dataset.from_list(ROWS)
    table.to_parquet(media / "rows.parquet")
    (media / "rows.json").write_text(json.dumps(ROWS, indent=1))
    write(media, ROWS, "rows.jsonl")
    for name in ("rows.parquet", "rows.json", "rows.jsonl"):
        assert list(Manifest.open(media / name)) == expected, name
    single = [row | {"text": row["text"][0]} for row in ROWS]  # a cell of a CSV holds one caption
    expected[0] = replace(expected[0], sources=expected[0].sources | {"text": "a dog, running"})
    assert list(Manifest.open(write_csv(media / "rows.csv", single))) == expected
    table.save_to_disk(media / "saved")
    absolute = Manifest.open(media / "saved", modalities=["text"])
    assert list(absolute.captions()) == ["a dog, running", "a cat", "ein Mann läuft"]


def test_a_saved_dataset_brings_its_splits_and_classes(tmp_path):
    (tmp_path / "saved").mkdir()
    recordings(tmp_path / "saved", 2).unlink()
    features = datasets.Features(video=datasets.Value("string"), label=datasets.ClassLabel(names=["walk", "run"]))
    part = [datasets.Dataset.from_list([{"video": f"{i}.mp4", "label": i}], features=features) for i in (0, 1)]
    datasets.DatasetDict(train=part[0], validation=part[1]).save_to_disk(tmp_path / "saved")
    train, test = Manifest.open(tmp_path / "saved").split(0.5)
    assert train.classes == test.classes == ("run", "walk") and [train[0].label, test[0].label] == [1, 0]
    assert test[0].sources["video"] == str(tmp_path / "saved/1.mp4")


def test_a_manifest_in_a_folder_is_found(tmp_path):
    path = recordings(tmp_path)
    assert list(Manifest.open(tmp_path)) == list(Manifest.open(path))


def test_videos_of_one_name_are_told_apart(tmp_path):
    for name in ("a.mp4", "a.webm", "b.mp4"):
        (tmp_path / name).touch()
    assert [row.id for row in Manifest.open(tmp_path)] == ["a.mp4", "a.webm", "b"]


@pytest.mark.parametrize("names", [["a.png", "a.wav"], ["a.wav", "a.csv", "b.csv"], ["a.txt"]])
def test_folders_without_videos(tmp_path, names):
    for name in names:
        (tmp_path / name).write_text("x")
    manifest = Manifest.open(tmp_path)
    assert len(manifest) == len({name[0] for name in names})
    kinds = {"png": "video", "wav": "audio", "csv": "imu", "txt": "text"}
    assert set(manifest.modalities) == {kinds[name[2:]] for name in names}


def test_a_picture_has_no_sound_track(tmp_path):
    (tmp_path / "a.png").touch()
    assert not Manifest.open(tmp_path).has("audio")


def test_columns_reach_the_readers(tmp_path):
    recordings(tmp_path)
    timed = [{"text": "jump", "start": 0, "end": 1.5}, {"text": "fall", "start": 1.5, "end": 2}]
    row = {"imu": "1.mp4", "imu_rate": 50, "edges": [[0, 1]], "text": timed, "start": 1, "end": 4, "label": 7}
    manifest = Manifest.open(write(tmp_path, [row]))
    assert manifest[0].id == "0" and manifest[0].label == 7 and manifest.classes == ()
    assert (manifest[0].start, manifest[0].end) == (1, 4)
    assert manifest.source(0, "imu") == {"path": str(tmp_path / "1.mp4"), "rate": 50, "edges": [[0, 1]]}
    assert manifest.source(0, "text") == timed
    assert list(manifest.sources("video")) == []


def test_rows_without_any_asked_modality_are_left_out(tmp_path):
    recordings(tmp_path)
    path = write(tmp_path, [{"text": "a"}, {"video": "1.mp4"}, {"imu": "gone.csv"}])
    assert [row.id for row in Manifest.open(path, modalities=["video"])] == ["1"]


def test_labels_are_sorted_classes(tmp_path):
    manifest = Manifest.open(recordings(tmp_path, 6, label=["walk", None, "run", "sit", "lie", "walk"]))
    assert manifest.classes == ("lie", "run", "sit", "walk")
    assert [row.label for row in manifest] == [3, None, 1, 2, 0, 3]


def test_the_split_column_decides(tmp_path):
    train, test = Manifest.open(recordings(tmp_path, 4, split=["train", "test", None, "test"])).split(0.9)
    assert [row.id for row in train] == ["r0", "r2"] and [row.id for row in test] == ["r1", "r3"]


def test_a_split_by_hash_is_stable_and_keeps_groups_together(tmp_path):
    def held(count):
        path = write(tmp_path, [{"id": f"r{i}", "text": "x", "group": f"g{i // 3}"} for i in range(count)])
        train, test = Manifest.open(path).split(0.2)
        ids = [{int(row.id[1:]) for row in side} for side in (train, test)]
        assert ids[0] | ids[1] == set(range(count)) and not {i // 3 for i in ids[0]} & {i // 3 for i in ids[1]}
        return ids[1]

    few, many = held(300), held(900)
    assert few == {i for i in many if i < 300} and 0.1 < len(many) / 900 < 0.3


@pytest.mark.parametrize(("count", "share", "least"), [(1, 0.5, 0), (2, 0.01, 1), (2, 0.99, 1), (5, 0.0, 0)])
def test_neither_side_of_a_small_split_is_empty(tmp_path, count, share, least):
    train, test = Manifest.open(recordings(tmp_path, count)).split(share)
    assert len(train) + len(test) == count and len(train) >= 1 and len(test) >= least
    assert share or not len(test)


BAD = {
    "unknown column": ('{"vidoe": "1.mp4"}', ["line 1", "'vidoe'", "did you mean 'video'", "group"]),
    "bad JSON": ('{"text": "a"}\n{"text": ', ["line 2, character 10", "not JSON"]),
    "not an object": ('{"text": "a"}\n["a"]', ["line 2", "expected an object"]),
    "missing file": ('{"text": "a"}\n{"video": "x.mp4"}\n{"video": "y.mp4"}', ["line 2", "x.mp4", "2 of 2"]),
    "wrong path": ('{"video": 3}', ["line 1", "'video'", "a path", "got 3"]),
    "wrong text": ('{"text": {"words": 1}}', ["'text'", "a caption"]),
    "half timed": ('{"text": {"text": "a", "start": 1}}', ["'text'", "a caption"]),
    "partly timed": ('{"text": [{"text": "a", "start": 1, "end": 2}, "b"]}', ["'text'", "`start` and `end`, or none"]),
    "wrong number": ('{"text": "a", "start": "soon"}', ["'start'", "a number", "'soon'"]),
    "negative start": ('{"text": "a", "start": -1}', ["'start'", "from 0 up"]),
    "start after end": ('{"text": "a", "start": 3, "end": 2}', ["line 1", "start 3 s", "end 2 s"]),
    "wrong split": ('{"text": "a", "split": "tset"}', ["'split'", "'train' or 'test'"]),
    "wrong edges": ('{"text": "a", "edges": [[0, "b"]]}', ["'edges'", "pairs of sensors"]),
    "wrong rate": ('{"text": "a", "imu_rate": 0}', ["'imu_rate'", "a number"]),
    "wrong label": ('{"text": "a", "label": [1]}', ["'label'", "a name or a whole number"]),
    "empty": ("\n", ["is empty", '{"video"']),
    "nothing to read": ('{"id": "a"}', ["no row has any modality", "Fill one of"]),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_manifest_names_the_row_and_the_remedy(tmp_path, case):
    text, parts = BAD[case]
    (tmp_path / "rows.jsonl").write_text(text)
    with pytest.raises(InputError) as caught:
        Manifest.open(tmp_path / "rows.jsonl")
    message = str(caught.value)
    assert message.startswith(str(tmp_path / "rows.jsonl")) and len(message.splitlines()) <= 3
    assert [part for part in parts if part not in message] == [], message


def test_asking_for_an_absent_modality_tells_what_works(tmp_path):
    with pytest.raises(
        InputError, match=r"(?s)no row has imu; present: audio, text, video.*--modalities audio,text,video"
    ):
        Manifest.open(recordings(tmp_path), modalities=["imu", "video"])


@pytest.mark.parametrize(
    ("name", "contents", "message"),
    [
        ("rows.csv", b"id,text\na,hello, world\n", "line 2: more cells"),
        ("rows.csv", b"id,text\na,\xff\n", "not UTF-8"),
        ("rows.json", b'[{"text": "a"},\n {"text" "b"}]', "line 2, character 10: not JSON"),
        ("rows.parquet", b"nothing", "not a readable parquet"),
        ("film.mp4", b"", "not a manifest"),
        ("dataset_info.json", b"{}", "not a readable Hugging Face dataset"),
        ("notes.md", b"", "no recordings.*Looked for.*\\.mp4"),
    ],
)
def test_a_file_that_is_no_manifest(tmp_path, name, contents, message):
    (tmp_path / name).write_bytes(contents)
    with pytest.raises(InputError, match=f"(?s){message}"):
        Manifest.open(tmp_path if name in ("dataset_info.json", "notes.md") else tmp_path / name)


def test_a_missing_path(tmp_path):
    with pytest.raises(InputError, match="gone: no such file or folder\n  --data takes"):
        Manifest.open(tmp_path / "gone")


# ---------------------------------------------------------------------------------------------------- augmentation


def film(b=3, t=4, c=3, h=24, w=24, still=False):
    frames = torch.randint(0, 256, (b, 1 if still else t, c, h, w), generator=torch.Generator().manual_seed(0))
    return Signal(frames.to(torch.uint8).expand(b, t, c, h, w).contiguous())


KEY = torch.tensor([sample_key(0, 0, i) for i in range(3)])
WHOLE = {"scale": (1.0, 1.0), "ratio": (1.0, 1.0)}


def test_a_whole_crop_is_bit_identical_and_flipping_twice_is_too():
    signal = film()
    assert torch.equal(VideoAugmentation(**WHOLE, flip=0.0)(signal, KEY).values, signal.values)
    flip = VideoAugmentation(**WHOLE, flip=1.0)
    assert torch.equal(flip(signal, KEY).values, signal.values.flip(-1))
    assert torch.equal(flip(flip(signal, KEY), KEY).values, signal.values)


@pytest.mark.parametrize("size", [None, 16, 32])
def test_a_still_clip_stays_still(size):
    values = VideoAugmentation(size=size)(film(still=True), KEY).values
    assert values.dtype == torch.uint8 and values.shape == (3, 4, 3, size or 24, size or 24)
    assert torch.equal(values, values[:, :1].expand_as(values))


def test_each_sample_is_cropped_by_its_key_alone():
    signal, augment = film(), VideoAugmentation()
    together = augment(signal, KEY).values
    order = torch.tensor([2, 0, 1])
    assert torch.equal(augment(signal.map(lambda x: x[order]), KEY[order]).values, together[order])
    same = Signal(signal.values[:1].expand(3, -1, -1, -1, -1))
    crops = augment(same, KEY).values
    assert not torch.equal(crops[0], crops[1]) and not torch.equal(crops[1], crops[2])


def test_half_of_the_clips_are_flipped():
    keys = torch.tensor([sample_key(0, 0, i) for i in range(400)])
    ramp = Signal(torch.arange(8, dtype=torch.uint8).expand(400, 1, 1, 8, 8))
    flipped = VideoAugmentation(**WHOLE)(ramp, keys).values[:, 0, 0, 0, 0] == 7
    assert 160 < flipped.sum() < 240


@pytest.mark.parametrize("size", [7, 24, 40])
def test_resizing_agrees_with_torch(size):
    signal = film(b=1)
    ours = VideoAugmentation(**WHOLE, flip=0.0, size=size)(signal, KEY[:1]).values[0].float()
    torchs = torch.nn.functional.interpolate(signal.values[0].float(), (size, size), mode="bilinear", antialias=True)
    assert (ours - torchs).abs().max() <= 0.51


def test_crops_have_the_area_and_shape_asked_for_and_lie_anywhere():
    b, h, w = 200, 48, 64
    keys = torch.tensor([sample_key(1, 0, i) for i in range(b)])
    across, down = torch.arange(w).expand(h, w), torch.arange(h)[:, None].expand(h, w)
    signal = Signal(torch.stack([across, down]).to(torch.uint8).expand(b, 1, 2, h, w))
    x, y = (
        VideoAugmentation(size=12, scale=(0.25, 0.25), ratio=(4 / 3, 4 / 3), flip=0.0)(signal, keys)
        .values[:, 0]
        .unbind(1)
    )
    left, right, top, bottom = x[:, 0, 0].int(), x[:, 0, -1].int(), y[:, 0, 0].int(), y[:, -1, 0].int()
    assert ((right - left) * 12 / 11 - 32).abs().max() <= 2  # 12 pixels stand for a quarter of the area: 32 x 24
    assert ((bottom - top) * 12 / 11 - 24).abs().max() <= 2
    assert left.min() <= 3 and right.max() >= 60 and top.min() <= 3 and bottom.max() >= 44


@pytest.mark.parametrize("setting", [{"size": 0}, {"scale": (0.0, 1.0)}, {"ratio": (2.0, 1.0)}, {"flip": 1.5}])
def test_augmentation_settings_are_checked(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        VideoAugmentation(**setting)


def test_repeated_samples_have_keys_of_their_own():
    batch = Batch({"video": film()}, KEY, ["a", "b", "c"], torch.tensor([0, 1, 2]))
    twice = repeat(batch, 2)
    assert twice.ids == ["a", "a", "b", "b", "c", "c"] and twice.label.tolist() == [0, 0, 1, 1, 2, 2]
    assert torch.equal(twice["video"].values[::2], batch["video"].values)
    assert twice.key.tolist() == [repeat_key(key, i) for key in KEY.tolist() for i in range(2)]
    assert len(set(twice.key.tolist())) == 6 and torch.equal(twice.key[::2], KEY)
    assert repeat(batch, 1) is batch


def test_modalities_without_augmentation_are_left_alone():
    sound = Signal(torch.randn(3, 5))
    batch = Batch({"video": film(), "audio": sound}, KEY)
    augmented = Augment({"video": VideoAugmentation(), "depth": VideoAugmentation()})(batch)
    assert augmented["audio"] is sound and not torch.equal(augmented["video"].values, batch["video"].values)
    assert list(augmented) == ["video", "audio"]
