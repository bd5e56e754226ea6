"""Laws of bad recordings: each is named once, another stands in for it; and only what is the data's is read."""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import subprocess
import sys
from itertools import islice
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from clocks import Clock, assert_same, clips, recordings, write
from harm import SECONDS, Harmed, harmed
from media import tone, write_sound

from mmmae import Recipe
from mmmae.__main__ import main as mmmae
from mmmae.data import ahead, passes
from mmmae.data.dataset import Clips
from mmmae.data.faults import FILE, SAID, BadSamples, Fault
from mmmae.data.fit import fit
from mmmae.data.inspection import inspect_all
from mmmae.data.loader import Loader, evaluation
from mmmae.data.manifest import Manifest
from mmmae.data.sample import collate
from mmmae.train import main as train
from modalities.audio.reader import AudioReader
from modalities.errors import InputError, SampleError
from modalities.imu.reader import IMUReader
from modalities.noise import sample_key
from modalities.reader import Reading

SMALL = [f"window={SECONDS}", "modalities.video.frames=2", "modalities.video.size=32", "modalities.audio.rate=8000"]


@pytest.fixture(scope="session")
def hurt(tmp_path_factory) -> Harmed:
    """A recording of every kind of damage, listed in a manifest among good ones."""
    return harmed(tmp_path_factory.mktemp("hurt") / "listed", "manifest", each=1, good=57)


@pytest.fixture(scope="session")
def hurt_folder(tmp_path_factory) -> Harmed:
    return harmed(tmp_path_factory.mktemp("hurt") / "folder", "folder", each=1, good=3)


def read(data: Path, folder: Path, **settings) -> Clips:
    """Whole recordings, as the default recipe reads them."""
    recipe = Recipe.load("default", SMALL)
    manifest = Manifest.open(data, modalities=recipe.columns, bad=1.0)
    return fit(recipe, manifest, folder).clips(manifest, **settings)


def named(path: Path) -> list[str]:
    """The ids in a file of bad samples, line by line."""
    return [json.loads(line)["id"] for line in path.read_text().splitlines()]


def broken(folder: Path, *numbers: int, count: int = 12) -> Path:
    """The manifest of recordings, of which some cannot be read."""
    path = recordings(folder, count)
    for number in numbers:
        (folder / f"{number}.mp4").write_text("broken")
    return path


# ---------------------------------------------------------------------------------------------------- found


@pytest.mark.parametrize("workers", [0, 1])
def test_every_kind_of_damage_is_found_and_nothing_else(hurt, hurt_folder, tmp_path, workers):
    for data in (hurt, hurt_folder):
        faults = [v.fault for v in inspect_all(read(data.data, tmp_path), workers) if v.fault is not None]
        ids = [fault.id for fault in faults]
        assert len(ids) == len(set(ids)) and data.named("bad") <= set(ids) <= data.named("bad", "either")
        for fault in faults:
            assert fault.modality == data.kinds[fault.id].split()[0] and fault.reason and fault.remedy
            assert "reader fails" not in fault.reason  # the readers foresee all of it
            assert Path(fault.path).parent == data.data and fault.id in fault.path


def test_damage_at_the_end_is_found_whatever_window_training_draws(tmp_path, monkeypatch):
    class Worn(Clock):
        """Damaged in its last half second."""

        def read_windows(self, source, starts, duration):
            asked.append(max(starts) + duration - min(starts))
            return super().read_windows(source, starts, duration)

        def read(self, source, start, duration):
            if start + duration > self.seconds(source) - 0.5:
                raise SampleError(source, "is damaged at its end", "Mend it.")
            return super().read(source, start, duration)

    asked = []
    monkeypatch.setattr(passes, "PASS", 4.0)
    (tmp_path / "long.mp4").write_text("60.7")
    manifest = Manifest.open(write(tmp_path, [{"id": "long", "video": "long.mp4"}]), modalities=["video"])
    whole = Clips(manifest, {"video": Worn(pads=False)}, window=1.5)
    assert not any(isinstance(whole[epoch, 0], SampleError) for epoch in range(5))
    asked.clear()
    [verdict] = inspect_all(whole, 0)
    assert verdict.fault is not None and verdict.fault.reason == "is damaged at its end"
    assert len(asked) > 15 and max(asked) <= 4.0 + 1.5  # a long recording is never held whole


def test_sound_and_readings_that_are_no_numbers_are_named_with_their_second(tmp_path):
    wild = write_sound(tmp_path / "a.wav", tone(2.0), codec="pcm_f32le")
    data = bytearray(wild.read_bytes())
    data[-4 * 16000 : -4 * 16000 + 4] = np.float32(np.nan).tobytes()  # one sample at 1 s
    wild.write_bytes(bytes(data))
    with pytest.raises(SampleError, match=r"a\.wav: its samples are no finite numbers at (0\.9|1\.0)\d* s\n"):
        AudioReader().read(str(wild), 0.0, 2.0)
    assert AudioReader().read(str(wild), 0.0, 0.25) is not None  # what lies elsewhere is as good as ever
    table = tmp_path / "a.csv"
    table.write_text("time,x\n" + "".join(f"{i / 50},{'1e300' if i == 50 else 1.0}\n" for i in range(100)))
    with pytest.raises(SampleError, match=r"a\.csv: has a reading beyond what float32 holds at 1\.00 s"):
        IMUReader(sensors=1, channels=1).read(str(table), 0.0, 2.0)
    table.write_text("time,x\n" + "".join(f"{i / 50},{'nan' if i < 50 else 1.0}\n" for i in range(100)))
    reading = IMUReader(sensors=1, channels=1).read(str(table), 0.0, 2.0)
    assert 49 <= int(reading.observed.sum()) <= 51  # NaN is a reading that does not exist; a constant one does


def test_what_a_reader_does_not_foresee_costs_one_recording(tmp_path):
    class Careless(Clock):
        def read(self, source, start, duration):
            return 1 / 0 if source.endswith("3.mp4") else super().read(source, start, duration)

    manifest = Manifest.open(recordings(tmp_path), modalities=["video"])
    sample = Clips(manifest, {"video": Careless()}, window=2.0)[0, 3][0]
    assert sample.id != "r3" and sample.faults[0].id == "r3"
    assert sample.faults[0].reason == "the reader fails (ZeroDivisionError: division by zero)"


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


def test_training_meets_what_check_finds_whatever_the_workers_and_ranks(hurt, tmp_path):
    dataset = read(hurt.data, tmp_path, seed=3)
    found = {v.fault.id for v in inspect_all(dataset, 0) if v.fault is not None}
    runs: dict[str, list] = {}
    for workers in (0, 1, 2):
        note = BadSamples(tmp_path / f"{workers}.jsonl", recordings=len(dataset), share=1.0).note
        loader = Loader(dataset, 8, workers=workers, note=note)
        runs[f"{workers}.jsonl"] = list(islice(loader, loader.steps_per_epoch))
    for rank in (0, 1):  # both write to one file
        note = BadSamples(tmp_path / "ranks.jsonl", recordings=len(dataset), share=1.0).note
        runs[f"rank {rank}"] = list(islice(Loader(dataset, 4, rank=rank, world=2, note=note), len(runs["0.jsonl"])))
    for i, batch in enumerate(runs["0.jsonl"]):
        assert_same(batch, runs["1.jsonl"][i])
        assert_same(batch, runs["2.jsonl"][i])
        assert batch.ids == runs["rank 0"][i].ids + runs["rank 1"][i].ids
        assert not set(batch.ids) & found and all(signal.values.isfinite().all() for signal in batch.signals.values())
    left_out = len(dataset) - 8 * len(runs["0.jsonl"])
    for name in ("0.jsonl", "1.jsonl", "2.jsonl", "ranks.jsonl"):
        ids = named(tmp_path / name)
        assert len(ids) == len(set(ids)) and set(ids) <= found and len(ids) >= len(found) - left_out
        assert set(ids) == set(named(tmp_path / "0.jsonl"))


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
    assert fault == next(fault for sample in samples for fault in sample.faults)
    assert (fault.id, fault.modality, fault.reason) == ("silent", "audio", "has no audio at any time")


# ---------------------------------------------------------------------------------------------------- named once

WRITER = """
import sys
from pathlib import Path
from mmmae.data.faults import BadSamples, Fault
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
    processes = [subprocess.Popen(command, cwd=Path(__file__).parents[1]) for command in commands]
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


def test_a_run_goes_on_until_there_are_too_many(hurt, tmp_path, capsys):
    rows = [json.loads(line) for line in (hurt.data / "manifest.jsonl").read_text().splitlines()]
    good = [row for row in rows if row["id"].startswith("good")]
    bad = [row for row in rows if row["id"] in ("video-gone-0", "video-noise-0", "audio-nan-0")]
    arguments = ["--batch-size", "6", "--workers", "0", "--track", "none", "--log-every", "1", "trunk.depth=1", *SMALL,
                 "--modalities", "video,audio", "training.evaluate_every=1000"]  # fmt: skip

    def run(name: str, *more: str) -> int:
        return train(["--data", str(write(hurt.data, [*good, *bad], "some.jsonl")), "--output", str(tmp_path / name),
                      *arguments, *more])  # fmt: skip

    assert run("on", "--steps", "12", "--save-every", "6") == 0  # more than an epoch, and an evaluation
    assert set(named(tmp_path / "on" / FILE)) == {row["id"] for row in bad} and len(named(tmp_path / "on" / FILE)) == 3
    said = capsys.readouterr().err
    assert all(said.count(f"bad: row '{row['id']}'") == 1 for row in bad) and "3 of 60 recordings" in said
    assert run("on", "--steps", "14") == 0 and len(named(tmp_path / "on" / FILE)) == 3
    assert "bad: row" not in capsys.readouterr().err
    assert run("stops", "--steps", "12", "data.bad=0.02") == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said and "of 60 recordings cannot be read, which is more than data.bad=0.02" in said
    with pytest.raises(InputError, match=r"no such file: .*video-gone-0"):  # one missing file is 1.7 % of the rows
        Manifest.open(hurt.data / "some.jsonl", bad=0.01)
    assert len(Manifest.open(hurt.data / "some.jsonl", bad=0.02)) == 60


def test_check_writes_what_training_would(hurt, tmp_path, capsys):
    report = tmp_path / "report.jsonl"
    options = ["--modalities", "video,audio,imu,text", *SMALL]
    assert mmmae(["check", str(hurt.data), *options, "--report", str(report)]) == 1
    shown = capsys.readouterr().out
    dataset = read(hurt.data, tmp_path)
    bad = BadSamples(tmp_path / FILE, recordings=len(dataset), share=1.0)
    loader = Loader(dataset, 1, note=bad.note)
    list(islice(loader, len(dataset)))
    lines = {json.loads(line)["id"]: json.loads(line) for line in (tmp_path / FILE).read_text().splitlines()}
    either = hurt.named("either")  # a mutated recording may say that it is longer than a window, and training draws one
    checked = {line["id"]: line for line in map(json.loads, report.read_text().splitlines())}
    assert {k: v for k, v in checked.items() if k not in either} == {k: v for k, v in lines.items() if k not in either}
    assert f"{len(hurt.kinds)} samples, {len(checked)} bad" in shown and "no such file" in shown


# ---------------------------------------------------------------------------------------------------- workers that die


class Deadly(Clock):
    """Kills the process that reads recording 3."""

    def __init__(self, how: signal.Signals | None):
        super().__init__(pads=False)
        self.how = how

    def read(self, source, start, duration):
        if source.endswith("/3.mp4"):
            while self.how == signal.SIGPROF:
                pass
            if self.how is None:
                raise SampleError(source, "cannot be read", "Mend it.")
            faulthandler.disable()
            os.kill(os.getpid(), self.how)
        return super().read(source, start, duration)


def deadly(folder: Path, how: signal.Signals | None) -> Clips:
    return Clips(Manifest.open(recordings(folder), modalities=["video"]), {"video": Deadly(how)}, window=2.0)


@pytest.fixture
def impatient(monkeypatch):
    waiting = torch.utils.data.dataloader._MultiProcessingDataLoaderIter._try_get_data
    monkeypatch.setattr(waiting, "__defaults__", (0.2,))  # seconds after which it looks whether workers live
    monkeypatch.setattr(ahead, "LONGEST", 0.3)


@pytest.mark.parametrize("how", [signal.SIGSEGV, signal.SIGABRT, signal.SIGPROF])
def test_a_decoder_that_crashes_or_never_returns_costs_one_recording(tmp_path, impatient, how):
    notes: list[Fault] = []
    seen = list(islice(Loader(deadly(tmp_path, how), 2, workers=2, note=notes.extend), 14))
    expected = list(islice(Loader(deadly(tmp_path, None), 2, note=lambda faults: None), 14))
    for batch, same in zip(seen, expected, strict=True):
        assert_same(batch, same)
    assert {fault.id for fault in notes} == {"r3"} and how.name in notes[0].reason
    assert notes[0].path == str(tmp_path / "3.mp4")
    verdicts = list(inspect_all(deadly(tmp_path, how), 2))
    assert [v.fault.id for v in verdicts if v.fault is not None] == ["r3"] and len(verdicts) == 12


def test_a_worker_that_is_killed_ends_the_run_with_a_message(tmp_path, impatient):
    with pytest.raises(InputError, match=r"(?s)loader worker died.*row 'r3'.*SIGKILL.*memory"):
        list(islice(Loader(deadly(tmp_path, signal.SIGKILL), 2, workers=1, note=lambda faults: None), 14))


# ---------------------------------------------------------------------------------------------------- outside


@pytest.fixture
def house(tmp_path) -> Path:
    """A folder of data beside one of secrets."""
    for name in ("data", "secret"):
        (tmp_path / name).mkdir()
        for file in ("a.mp4", "a.wav", "a.csv", "a.txt"):
            (tmp_path / name / file).write_text("9")
    (tmp_path / "data" / "link.mp4").symlink_to(tmp_path / "secret" / "a.mp4")
    (tmp_path / "data" / "away").symlink_to(tmp_path / "secret")
    (tmp_path / "data" / "near.mp4").symlink_to("a.mp4")
    return tmp_path


@pytest.mark.parametrize("path", ["../secret/a.mp4", "{}/secret/a.mp4", "link.mp4", "away/a.mp4", "away/../a.mp4",
                                  "{}/data/../secret/a.mp4", "/etc/hostname", "../secret/none.mp4", ".."])  # fmt: skip
def test_a_path_that_leads_out_is_refused(house, path):
    path = path.format(house)
    for row in ({"id": "a", "video": path}, {"video": "a.mp4", "regions": path}, {"audio": path}, {"imu": path}):
        manifest = write(house / "data", [{"text": "first"}, row])
        with pytest.raises(InputError) as caught:
            Manifest.open(manifest, bad=1.0)
        message, column = str(caught.value), next(key for key in row if row[key] == path)
        assert f"{manifest}, line 2: column {column!r}: {path}" in message and "data.outside=true" in message
        Manifest.open(manifest, bad=1.0, outside=True)


@pytest.mark.parametrize(
    "path", ["a.mp4", "./a.mp4", "../data/a.mp4", "{}/data/a.mp4", "near.mp4", "away/../data/a.mp4"]
)
def test_a_path_that_stays_inside_is_read(house, path):
    (house / "data" / "deep").mkdir()
    (house / "door").symlink_to("data")
    write(house / "data", [{"video": path.format(house)}])
    for way in ("data", "door"):
        assert len(Manifest.open(house / way)) == 1, way


def test_a_folder_is_not_left_by_links(house):
    data = house / "data"
    with pytest.raises(InputError, match=r"link\.mp4.*lies outside"):
        Manifest.open(data)
    assert len(Manifest.open(data, outside=True)) == 3
    (data / "link.mp4").unlink()
    assert len(Manifest.open(data)) == 2
    (data / "near.txt").symlink_to(house / "secret" / "a.txt")
    with pytest.raises(InputError, match=r"near\.txt.*secret/a\.txt.*lies outside"):
        Manifest.open(data)
    (data / "near.txt").unlink()
    write(house / "secret", [{"text": "private"}], "rows.jsonl")
    (data / "manifest.jsonl").symlink_to(house / "secret" / "rows.jsonl")
    with pytest.raises(InputError, match=r"manifest\.jsonl.*lies outside"):
        Manifest.open(data)
    assert len(Manifest.open(data / "manifest.jsonl")) == 1  # named by the user


@pytest.mark.parametrize("how", ["named", "linked", "split", "linked split"])
def test_a_saved_dataset_is_not_left_either(tmp_path, how):
    part = datasets.Dataset.from_list([{"text": "hello"}])
    part.save_to_disk(tmp_path / "secret")
    datasets.DatasetDict(train=part).save_to_disk(tmp_path / "data")
    Manifest.open(tmp_path / "data")
    state, arrow = tmp_path / "data/train/state.json", next((tmp_path / "data/train").glob("*.arrow"))
    if how == "named":
        state.write_text(state.read_text().replace(arrow.name, f"../../secret/{arrow.name}"))
    elif how == "linked":
        arrow.unlink()
        arrow.symlink_to(next((tmp_path / "secret").glob("*.arrow")))
    elif how == "split":
        (tmp_path / "data/dataset_dict.json").write_text('{"splits": ["../secret"]}')
    else:
        (tmp_path / "data/train").rename(tmp_path / "old")
        (tmp_path / "data/train").symlink_to(tmp_path / "secret")
    with pytest.raises(InputError, match=r"(?s)lies outside.*data\.outside=true"):
        Manifest.open(tmp_path / "data")
    if how != "split":  # there, its name would stand in the column `split`
        assert len(Manifest.open(tmp_path / "data", outside=True)) == 1


def test_a_caption_that_cannot_be_read_matters_to_who_reads_captions(hurt_folder):
    assert Manifest.open(hurt_folder.data, modalities=["video"]).modalities == ("audio", "imu", "text", "video")
    manifest = Manifest.open(hurt_folder.data)
    sources = {row.id: row.sources.get("text") for row in manifest}
    errors = {name for name, source in sources.items() if isinstance(source, SampleError)}
    assert errors == hurt_folder.named("bad") and sources["text-empty-0"] is None
    silent = Clips(manifest, {"video": Still()}, window=1.0)
    assert not any(silent[0, index][0].faults for index in range(len(manifest)))


class Still(Clock):
    """Reads nothing but that a file is there."""

    def seconds(self, source):
        return 1.0

    def read(self, source, start, duration):
        return Reading(torch.ones(8), 8)


def test_evaluation_and_sharing_need_no_note(tmp_path):
    """Who asks for batches without taking notes is told of the first bad recording."""
    dataset = clips(broken(tmp_path, 3))
    with pytest.raises(InputError, match="row 'r3'"):
        list(evaluation(dataset, 4))
    assert collate([dataset[0, 3]]).ids != ["r3"]
