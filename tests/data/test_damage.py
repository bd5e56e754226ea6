"""Laws of damaged recordings: every kind is found and nothing else, and training meets what the check finds."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from clocks import Clock, assert_same, recordings, write
from harm import SECONDS, Harmed, harmed, named
from media import tone, write_sound

from mmmae import Recipe
from mmmae.__main__ import main as mmmae
from mmmae.data import scan as passes
from mmmae.data.bad_samples import FILE, BadSamples
from mmmae.data.clips import Clips
from mmmae.data.inspection import inspect_all
from mmmae.data.loader import Loader
from mmmae.data.manifest import Manifest
from mmmae.data.open_settings import fit
from mmmae.train import main as train
from modalities.audio.reader import AudioReader
from modalities.errors import InputError, SampleError
from modalities.imu.reader import IMUReader
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
    manifest = Manifest.open(data, modalities=list(recipe.columns), bad=1.0)
    return fit(recipe, manifest, folder).clips(manifest, **settings)


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
    assert 49 <= int(reading.observed[..., 0].sum()) <= 51  # NaN is a reading that does not exist; a constant one does


def test_what_a_reader_does_not_foresee_costs_one_recording(tmp_path):
    class Careless(Clock):
        def read(self, source, start, duration):
            return 1 / 0 if source.endswith("3.mp4") else super().read(source, start, duration)

    manifest = Manifest.open(recordings(tmp_path), modalities=["video"])
    sample = Clips(manifest, {"video": Careless()}, window=2.0)[0, 3][0]
    assert sample.id != "r3" and sample.faults[0].id == "r3"
    assert sample.faults[0].reason == "the reader fails (ZeroDivisionError: division by zero)"


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
