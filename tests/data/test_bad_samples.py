"""Laws of bad recordings that are met: another stands in for each, each is named once, and too many stop a run."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from clocks import clips, recordings, write
from harm import named
from media import tone, write_sound
from places import ROOT

from mmmae.data.bad_samples import FILE, SAID, BadSamples, Fault
from mmmae.data.clips import Clips
from mmmae.data.inspection import inspect_all
from mmmae.data.loader import Loader, evaluation
from mmmae.data.manifest import Manifest
from mmmae.data.sample import collate
from modalities.audio.reader import AudioReader
from modalities.errors import InputError, SampleError
from modalities.noise import sample_key


def broken(folder: Path, *numbers: int, count: int = 12) -> Path:
    """The manifest of recordings, of which some cannot be read."""
    path = recordings(folder, count)
    for number in numbers:
        (folder / f"{number}.mp4").write_text("broken")
    return path


# ---------------------------------------------------------------------------------------------------- substitutes


def test_a_substitute_is_drawn_by_the_sample_and_has_its_key(tmp_path):
    dataset = clips(broken(tmp_path, 3, 4, count=40), seed=5)
    assert dataset[0, 7][0].id == "r7" and not dataset[0, 7][0].faults
    drawn = [dataset[epoch, 3][0] for epoch in range(30)]
    for epoch, sample in enumerate(drawn):
        assert sample.key == sample_key(5, epoch, 3) and sample.id not in ("r3", "r4")
        assert {fault.id for fault in sample.faults} in ({"r3"}, {"r3", "r4"})
        again = clips(tmp_path / "manifest.jsonl", seed=5)[epoch, 3][0]
        assert (again.id, again.start, again.faults) == (sample.id, sample.start, sample.faults)
    assert len({sample.id for sample in drawn}) > 15


def test_where_nothing_can_stand_in_the_error_names_the_recording(tmp_path):
    error = clips(broken(tmp_path, 0, 1, 2, count=3))[0, 1]
    assert isinstance(error, SampleError) and "row 'r1'" in str(error) and "nor could 2 others" in str(error)
    with pytest.raises(InputError, match="row 'r"):
        list(islice(Loader(clips(tmp_path / "manifest.jsonl"), 1, note=lambda faults: None), 3))


def test_held_out_recordings_have_substitutes_too(tmp_path):
    dataset, notes = clips(broken(tmp_path, 3, 8, count=11), centre=True), []
    ranks = [list(evaluation(dataset, 2, rank=rank, world=2, even=True, note=notes.extend)) for rank in (0, 1)]
    assert [len(batch.ids) for batch in ranks[0]] == [len(batch.ids) for batch in ranks[1]]
    assert {fault.id for fault in notes} == {"r3", "r8"} and sum(len(b.ids) for r in ranks for b in r) == 10


def test_a_window_without_anything_is_replaced_and_only_a_recording_without_anything_is_bad(tmp_path):
    rate, quiet = 8000, np.zeros((1, 8000 * 6))
    loud_end = quiet.copy()
    loud_end[:, -rate:] = tone(1.0, rate=rate)
    for name, sound in {"silent": quiet, "late": loud_end, "loud": tone(6.0, rate=rate)}.items():
        write_sound(tmp_path / f"{name}.wav", sound, rate=rate)
    rows = [{"id": name, "audio": f"{name}.wav"} for name in ("silent", "late", "loud")]
    dataset = Clips(Manifest.open(write(tmp_path, rows)), {"audio": AudioReader(rate=rate)}, window=1.0)
    samples = [dataset[epoch, index][0] for epoch in range(20) for index in range(3)]
    assert {fault.id for sample in samples for fault in sample.faults} == {"silent"}
    assert {sample.id for sample in samples[1::3]} == {"late", "loud"}  # most windows of "late" have nothing
    [fault] = [v.fault for v in inspect_all(dataset, 0) if v.fault is not None]
    drawn = next(fault for sample in samples for fault in sample.faults)
    assert (fault.id, fault.modality, fault.reason) == ("silent", "audio", "has no audio at any time")
    assert drawn == replace(fault, reason="has no audio in 6 windows spread over it")


def test_evaluation_and_sharing_need_no_note(tmp_path):
    """Who asks for batches without taking notes is told of the first bad recording."""
    dataset = clips(broken(tmp_path, 3))
    with pytest.raises(InputError, match="row 'r3'"):
        list(evaluation(dataset, 4))
    assert collate([dataset[0, 3]]).ids != ["r3"]


# ---------------------------------------------------------------------------------------------------- named once

WRITER = """
import sys
from pathlib import Path
from mmmae.data.bad_samples import BadSamples, Fault
first = int(sys.argv[2])
bad = BadSamples(Path(sys.argv[1]), recordings=1000, share=1.0)
for i in range(200):
    bad.note([Fault(f"r{(first + i) % 200}", "a.mp4", "video", "is damaged", "Mend it.")])
"""


def fault(number: int) -> Fault:
    return Fault(f"r{number}", f"{number}.mp4", "video", "is damaged", "Mend it.")


def test_processes_that_write_at_once_name_each_once(tmp_path):
    path = tmp_path / FILE
    path.write_text(fault(7).line() + fault(300).line() + fault(8).line()[:30])  # a process was killed while it wrote
    commands = [[sys.executable, "-c", WRITER, str(path), str(start)] for start in (0, 50, 100, 150)]
    processes = [subprocess.Popen(command, cwd=ROOT) for command in commands]
    assert [process.wait(60) for process in processes] == [0] * 4
    assert sorted(named(path)) == sorted([*(f"r{i}" for i in range(200)), "r300"])


def test_a_resumed_run_knows_what_is_named_and_a_fresh_one_begins_anew(tmp_path):
    said: list[str] = []
    BadSamples(tmp_path / FILE, recordings=10, share=1.0).note([fault(1), fault(2), fault(1)])
    again = BadSamples(tmp_path / FILE, recordings=100, share=1.0, say=said.append)
    again.note([fault(2), fault(3)])
    assert named(tmp_path / FILE) == ["r1", "r2", "r3"] and len(said) == 1 and "'r3'" in said[0]
    BadSamples(tmp_path / FILE, recordings=10, share=1.0).note([fault(4)])  # another process
    again.note([])
    assert len(said) == 2 and "'r4'" in said[1]
    for number in range(5, 40):
        again.note([fault(number)])
    assert len(said) == SAID + 1 - 2 and FILE in said[-1]  # two were known before anybody could be told
    fresh = BadSamples(tmp_path / FILE, recordings=10, share=1.0, fresh=True)
    assert not (tmp_path / FILE).exists() and not fresh.known


def test_too_many_bad_recordings_stop_a_run(tmp_path):
    bad = BadSamples(tmp_path / FILE, recordings=40, share=0.05)
    bad.note([fault(1), fault(2)])
    bad.note([fault(2)])
    with pytest.raises(InputError) as caught:
        bad.note([fault(2), fault(3)])
    message = str(caught.value)
    assert "3 of 40" in message and "data.bad=0.05" in message and str(tmp_path / FILE) in message
    assert "row 'r3': 3.mp4: is damaged" in message and "mmmae check" in message and "data.bad=0.2" in message
    with pytest.raises(InputError, match="1 of 40"):
        BadSamples(tmp_path / "none.jsonl", recordings=40, share=0.0).note([fault(1)])
