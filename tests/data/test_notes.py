"""What readers assumed reaches a person: each sentence once in a run, whatever the workers, processes and resumes."""

from __future__ import annotations

import json
import multiprocessing
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
from clocks import Clock, Letters, recordings, write

from mmmae.__main__ import main
from mmmae.data.clips import Clips
from mmmae.data.eval_windows import views
from mmmae.data.loader import Loader, evaluation
from mmmae.data.manifest import Manifest
from mmmae.data.notes import FILE, Notes, ReaderNote, RunNotes
from modalities.imu.reader import IMUReader
from modalities.text.reader import TextReader

STAMPS = "time is in milliseconds: converted to seconds"


class Converted(Clock):
    """A clock that converts the recordings whose names are even, and something else in all of them."""

    def read(self, source, start, duration):
        reading = super().read(source, start, duration)
        even = int(Path(source).stem) % 2 == 0
        return (
            None
            if reading is None
            else replace(reading, notes=("counts from 1", STAMPS) if even else ("counts from 1",))
        )


def clips(folder: Path, count: int = 12) -> Clips:
    manifest = Manifest.open(recordings(folder, count))
    return Clips(manifest, {"video": Converted(pads=False), "text": Letters()}, window=2.0, centre=True)


def noted(reader: type, sentence: str, monkeypatch) -> None:
    """Let a reader note something on all that it reads."""
    whole = reader.read_windows

    def read_windows(self, source, starts, duration):
        found = whole(self, source, starts, duration)
        return [None if reading is None else replace(reading, notes=(sentence,)) for reading in found]

    monkeypatch.setattr(reader, "read_windows", read_windows)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_batch_hands_over_each_sentence_once(tmp_path, workers):
    heard: list[ReaderNote] = []
    dataset = clips(tmp_path)
    batches = list(evaluation(dataset, 12, workers=workers, remark=heard.extend))
    assert len(batches) == 1 and [note.note for note in heard] == ["counts from 1", STAMPS]
    assert heard[1] == ReaderNote("r0", str(tmp_path / "0.mp4"), "video", STAMPS)
    assert not dataset.notes.kept


def test_without_a_callback_the_clips_keep_the_notes(tmp_path):
    dataset = clips(tmp_path)
    list(islice(Loader(dataset, 4), 6))
    assert [note.note for note in dataset.notes.kept] == ["counts from 1", STAMPS]
    again = clips(tmp_path)
    list(views(again, range(12), 5, 0))
    assert dataset.notes.lines([dataset.notes, again.notes]) == again.notes.lines([again.notes])


def test_readers_that_note_nothing_leave_no_file(tmp_path):
    notes = RunNotes(tmp_path / FILE)
    quiet = Clips(Manifest.open(recordings(tmp_path)), {"video": Clock(pads=False)}, window=2.0)
    list(islice(Loader(quiet, 4, remark=notes.note), 4))
    assert not (tmp_path / FILE).exists() and not quiet.notes.kept


def test_the_example_is_the_same_whoever_read_first():
    one, other = (ReaderNote(f"r{n}", f"{n}.csv", "imu", STAMPS) for n in (1, 2))
    for order in ([one, other], [other, one]):
        kept = Notes()
        for note in order:
            kept.note([note])
        assert kept.kept == [one]


def write_notes(path: Path, first: int) -> None:
    notes = RunNotes(path)
    for number in range(100):
        notes.note([ReaderNote(f"r{first}", "a.csv", "imu", f"sentence {(first + number) % 100}")])


def test_processes_that_write_at_once_write_each_sentence_once(tmp_path):
    path = tmp_path / FILE
    processes = [multiprocessing.Process(target=write_notes, args=(path, first)) for first in (0, 30, 60)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    sentences = [json.loads(line)["note"] for line in path.read_text().splitlines()]
    assert sorted(sentences) == sorted(f"sentence {number}" for number in range(100))


def test_a_resumed_run_repeats_no_sentence_and_shows_those_of_others(tmp_path):
    said: list[str] = []
    note = ReaderNote("r1", "1.csv", "imu", STAMPS)
    RunNotes(tmp_path / FILE, say=said.append, fresh=True).note([note, note])
    assert said == [f"note: imu: {STAMPS} (for example row 'r1': 1.csv)"]
    again = RunNotes(tmp_path / FILE, say=said.append)
    again.note([replace(note, id="r2")])
    assert len(said) == 1
    RunNotes(tmp_path / FILE).note([replace(note, note="another sentence")])  # another process, which is silent
    again.note([])
    assert len(said) == 2 and "another sentence" in said[1]
    RunNotes(tmp_path / FILE, fresh=True)
    assert not (tmp_path / FILE).exists()


def test_a_run_says_once_what_its_readers_and_its_manifest_noted(tmp_path, monkeypatch, capsys):
    rows = [{"id": str(n), "text": f"{n} dogs run"} for n in range(20)]
    data = write(tmp_path, rows)
    noted(TextReader, "captions are in capitals", monkeypatch)
    opened = Manifest.open.__func__
    with_note = lambda cls, *given, **named: replace(opened(cls, *given, **named), notes=("3 files ignored",))  # noqa: E731
    monkeypatch.setattr(Manifest, "open", classmethod(with_note))
    words = ["train", "--data", str(data), "--output", str(tmp_path / "run"), "--modalities", "text", "size=tiny",
             "--batch-size", "4", "--workers", "0", "--track", "none", "data.holdout=0", "trunk.depth=1"]  # fmt: skip
    assert main([*words, "--steps", "1"]) == 0
    said = capsys.readouterr().err
    assert said.count("captions are in capitals") == 1 and said.count("note: 3 files ignored") == 1
    [line] = (tmp_path / "run" / FILE).read_text().splitlines()
    assert json.loads(line)["modality"] == "text" and json.loads(line)["note"] == "captions are in capitals"
    assert main([*words, "--steps", "2"]) == 0  # resumes
    said = capsys.readouterr().err
    assert "resuming" in said and "captions are in capitals" not in said
    assert main(["check", str(data), "--workers", "0"]) == 0
    shown = capsys.readouterr().out
    assert "note: 3 files ignored" in shown
    assert "note: text: captions are in capitals (20 recordings, for example '0')" in shown


@pytest.mark.parametrize("name", ["probe", "retrieve", "embed"])
def test_evaluations_say_what_readers_noted(people, tmp_path, monkeypatch, capsys, name):
    noted(IMUReader, STAMPS, monkeypatch)
    out = ["--out"] if name == "embed" else ["--output"]
    more = ["--seeds", "1", "--modalities", "imu"] if name == "probe" else []
    data = ["--data", str(people), "--workers", "0", *out, str(tmp_path / "out")]
    main([name, str(people / "run"), *data, *more])
    shown = capsys.readouterr().out
    assert shown.count(f"note: imu: {STAMPS} (for example row ") == 1
    if name == "retrieve":
        assert len(json.loads((tmp_path / "out" / "results.json").read_text())["notes"]) == 1
