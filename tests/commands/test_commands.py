"""The commands as a person meets them: quick help, clear words about bad input, exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from places import ROOT

from mmmae.__main__ import main as mmmae
from mmmae.corpora import prepare
from mmmae.launch import check_processes, requested_processes
from mmmae.train import main as train


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """Six real clips with a manifest."""
    return prepare("world", tmp_path_factory.mktemp("corpus") / "world", clips=6, seconds=1.0, size=32).parent


def manifest(folder: Path, *rows: dict) -> Path:
    path = folder / "manifest.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def refused(capsys, data: Path | str, *more: str) -> str:
    """What training says when it refuses; it must be short, without a traceback, and exit with 2."""
    output = str(Path(os.environ["TMPDIR"]) / "never-written")
    code = train(["--data", str(data), "--output", output, "--workers", "0", "--batch-size", "2", "--steps", "1",
                  "--track", "none", "window=0.5", "data.outside=true", *more])  # fmt: skip
    said = capsys.readouterr().err
    said = said[said.find("mmmae: ") :] if "mmmae: default" not in said else said[said.rfind("mmmae: ") :]
    assert code == 2, said
    assert "Traceback" not in said and len(said.strip().splitlines()) <= 5, said
    return said


@pytest.fixture(autouse=True)
def outside(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def test_bad_data_is_named_with_its_remedy(capsys, clips, tmp_path):
    video = sorted((clips / "video").iterdir())[0]
    missing = refused(capsys, manifest(tmp_path, {"video": str(video)}, {"video": "gone.mp4"}), "--modalities", "video")
    assert "gone.mp4" in missing and "manifest.jsonl" in missing and "line 2" in missing

    (tmp_path / "broken.mp4").write_bytes(os.urandom(4000))
    rows = [{"id": f"r{i}", "video": "broken.mp4"} for i in range(4)]
    broken = refused(capsys, manifest(tmp_path, *rows), "--modalities", "video")
    assert "broken.mp4" in broken and "row 'r" in broken and "drop the row" in broken
    assert "of 4 recordings cannot be read" in broken and "data.bad=" in broken and "bad_samples.jsonl" in broken

    column = refused(capsys, manifest(tmp_path, {"vidoe": str(video)}), "--modalities", "video")
    assert "vidoe" in column and "'video'" in column

    short = refused(capsys, manifest(tmp_path, *[{"video": str(video)}] * 4), "--modalities", "video", "window=30.0")
    assert str(video) in short and "window=" in short

    absent = refused(capsys, manifest(tmp_path, {"video": str(video)}), "--modalities", "video,imu")
    assert "imu" in absent and "--modalities" in absent

    (tmp_path / "empty.jsonl").write_text("")
    assert "empty" in refused(capsys, tmp_path / "empty.jsonl", "--modalities", "video")
    (tmp_path / "nothing").mkdir()
    assert "nothing" in refused(capsys, tmp_path / "nothing", "--modalities", "video")
    assert "no-such-place" in refused(capsys, tmp_path / "no-such-place", "--modalities", "video")


def test_bad_recipes_are_named_with_what_was_meant(capsys, clips):
    assert "did you mean 'videomae'" in refused(capsys, clips, "--recipe", "videomea")
    key = refused(capsys, clips, "--modalities", "video", "masking.vidoe.ratio=0.5")
    assert "masking.vidoe" in key and "'video'" in key
    assert "did you mean 'ratio'" in refused(capsys, clips, "--modalities", "video", "masking.video.ratoi=0.5")
    assert "did you mean 'video'" in refused(capsys, clips, "--modalities", "vidio")
    assert "'a lot'" in refused(capsys, clips, "--modalities", "video", "masking.video.ratio=a lot")
    assert "key=value" in refused(capsys, clips, "--modalities", "video", "tiny")
    uneven = refused(capsys, clips, "--modalities", "video", "training.accumulate=3")
    assert "--batch-size" in uneven and "multiple of 3" in uneven
    large = refused(capsys, clips, "--modalities", "video", "--batch-size", "64")
    assert "--batch-size" in large


def command(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, cwd=cwd, timeout=60)


def test_help_answers_at_once():
    for words in (["mmmae/train.py", "--help"], ["-m", "mmmae", "--help"], ["-m", "mmmae", "inspect", "--help"]):
        begin = time.perf_counter()
        shown = command(*words)
        assert shown.returncode == 0 and "usage" in shown.stdout
        assert time.perf_counter() - begin < 1.0, words


def test_recipes_are_listed(capsys):
    assert mmmae(["recipes"]) == 0
    shown = capsys.readouterr().out
    for name in ("default", "videomae", "audio_mae", "imu_mae", "everything"):
        assert name in shown


def test_check_reports_every_bad_sample_and_no_other(capsys, clips, tmp_path):
    videos = sorted((clips / "video").iterdir())
    (tmp_path / "broken.mp4").write_bytes(videos[0].read_bytes()[:3000])
    rows = [{"id": "good", "video": str(videos[1])}, {"id": "bad", "video": "broken.mp4"}]
    report = tmp_path / "bad.jsonl"
    options = ["--modalities", "video", "--workers", "0", "window=0.5", "data.outside=true"]
    assert mmmae(["check", str(manifest(tmp_path, *rows)), *options, "--report", str(report)]) == 1
    shown = capsys.readouterr().out
    assert "broken.mp4" in shown and "2 samples, 1 bad" in shown
    rows_of_report = [json.loads(line) for line in report.read_text().splitlines()]
    assert len(rows_of_report) == 1 and rows_of_report[0]["id"] == "bad"
    assert rows_of_report[0]["path"] == str(tmp_path / "broken.mp4") and rows_of_report[0]["modality"] == "video"
    assert mmmae(["check", str(manifest(tmp_path, rows[0])), *options]) == 0


def test_doctor_uses_every_dependency(capsys):
    from mmmae.commands.doctor import CHECKS

    code = mmmae(["doctor"])
    shown = capsys.readouterr().out
    assert code == 0, shown
    assert "everything works" in shown
    for package in CHECKS:
        assert package in shown


def test_doctor_names_what_is_broken(capsys, monkeypatch):
    from mmmae.commands import doctor

    def broken() -> str:
        raise OSError("libcudart.so.13: cannot open shared object file")

    monkeypatch.setitem(doctor.CHECKS, "torchaudio", (broken, doctor.TORCH_PAIR))
    monkeypatch.setattr(doctor, "CHECKS", {name: doctor.CHECKS[name] for name in ("torchaudio", "scikit-learn")})
    assert mmmae(["doctor"]) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "libcudart" in shown and "1 broken" in shown and "torch>=2.11" in shown


def test_fewer_processes_than_asked_for_are_told(tmp_path):
    script = tmp_path / "child.py"
    script.write_text("from mmmae.launch import requested_processes; print(requested_processes())")
    parent = f"import subprocess, sys; subprocess.run([sys.executable, {str(script)!r}])"
    said = command("-c", parent, "--num_processes", "2")
    assert said.stdout.strip() == "2", said.stderr
    assert requested_processes() is None
    assert check_processes(1, "mmmae/train.py") is None


def test_a_shadowing_package_is_named(tmp_path):
    (tmp_path / "fusion").mkdir()
    foreign = tmp_path / "fusion" / "__init__.py"
    foreign.write_text("")
    code = f"from mmmae.__main__ import main; import sys; sys.path.insert(0, {str(tmp_path)!r})"
    code += "; sys.exit(main(['recipes']))"
    said = command("-c", code)
    assert said.returncode == 2
    assert str(foreign) in said.stderr and "shadowed" in said.stderr and "Traceback" not in said.stderr
