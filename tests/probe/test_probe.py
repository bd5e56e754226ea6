"""Probes and retrieval from files to pictures: what is tried, what is told, and which wishes make no sense."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from people import MOTIONS, write
from rich.console import Console

from mmmae.__main__ import main
from mmmae.data.manifest import Manifest
from mmmae.probe.features import VisibleStreams, reading
from mmmae.probe.fitting import Ablation, ablations
from mmmae.probe.metrics import NAMES
from mmmae.probe.results import Result
from mmmae.probe.results import table as told


def test_a_narrow_table_says_which_features_lack_what():
    rows = [Result("video+imu+text", "pretrained", withheld="imu", sensors=(n, 13)) for n in (1, 12)]
    for row in rows:
        row.seeds = [dict.fromkeys(NAMES, 0.5)] * 3
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(told(rows, "withheld", wide=False))
    lines = [line for line in console.export_text().splitlines() if "pretrained" in line]
    assert len(lines) == 2
    for n, line in zip((1, 12), lines, strict=True):
        assert "video+imu+text" in line and f"imu: {n} of 13" in line and "0.500 ±0.000" in line


def test_everything_that_may_be_missing_is_tried_once(people, model):
    clips = reading(model, Manifest.open(people, bad=1.0))
    found = ablations(clips, ["imu", "text", "imu+text"], draws=2)
    sensors = {(c.features, c.sensors, c.draw) for c in found if c.sensors}
    assert sensors == {(f, (n, 3), d) for f in ("imu", "imu+text") for n in (1, 2) for d in range(2)}
    rest = {case: given for case, given in found.items() if case.sensors is None}
    assert rest == {
        Ablation("imu+text", "imu"): VisibleStreams(("text",)),
        Ablation("imu+text", "text"): VisibleStreams(("imu",)),
    }


# The commands


def command(people: Path, out: Path, name: str, *more: str) -> int:
    return main([name, str(people / "run"), "--data", str(people), "--output", str(out), "--workers", "0", *more])


def test_a_probe_from_files_to_pictures(people, tmp_path, capsys):
    options = ["--shots", "1,2", "--seeds", "2", "--baseline", "random", "--drop", "--views", "2"]
    assert command(people, tmp_path, "probe", *options) == 1  # of the bad recording
    said = " ".join(capsys.readouterr().out.split())
    assert "bad: row 'bad'" in said and "note: 1 of 38 rows have no label" in said
    found = json.loads((tmp_path / "results.json").read_text())
    results = found["results"]
    kinds = {(r["features"], r["model"], r["shots"]) for r in results if r["withheld"] is None}
    assert kinds == {("none", "majority", None)} | {
        (f, m, k)
        for f in ("imu", "text", "imu+text", "imu|text")
        for m in ("pretrained", "random")
        for k in (None, 1, 2)
    }
    assert found["classes"] == sorted(MOTIONS) and found["bad"] == ["bad"]
    withheld = {(r["features"], r["withheld"], tuple(r["sensors"] or ())) for r in results if r["withheld"]}
    assert withheld == {(f, name, ()) for f in ("imu+text", "imu|text") for name in ("imu", "text")} | {
        (f, "imu", (n, 3)) for f in ("imu", "imu+text", "imu|text") for n in (1, 2)
    }
    imu = next(r for r in results if (r["features"], r["model"], r["shots"]) == ("imu", "pretrained", None))
    assert len(imu["scores"]["accuracy"]["values"]) == 2 and sum(map(sum, imu["confusion"])) == 2 * imu["test"]
    assert imu["scores"]["accuracy"]["mean"] > 0.8
    for name in ("confusion", "shots", "drop"):
        assert (tmp_path / f"{name}.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("kind", ["knn", "attentive"])
def test_other_probes_from_files(people, tmp_path, kind):
    assert command(people, tmp_path, "probe", "--kind", kind, "--seeds", "1", "--drop") == 1
    found = json.loads((tmp_path / "results.json").read_text())
    imu = next(r for r in found["results"] if (r["features"], r["withheld"]) == ("imu", None))
    assert found["kind"] == kind and imu["scores"]["accuracy"]["mean"] > 0.5  # of 6 rows; chance is 1/3
    assert len(found["results"]) == 1 + 4 + 4 + 6


def test_retrieval_from_files_to_pictures(people, tmp_path, capsys):
    assert command(people, tmp_path, "retrieve") in (0, 1)
    found = json.loads((tmp_path / "results.json").read_text())
    assert set(found["results"]) == {"imu -> text", "text -> imu"} and found["held out"]
    figures = found["results"]["imu -> text"]
    assert figures["through"] == "projections" and figures["N"] == 4 and figures["distinct targets"] == 3
    assert figures["chance R@1"] == (1 + 1 + 2 + 2) / 4 / 4 and figures["ceiling R@1"] == (1 + 1 + 1 / 2 + 1 / 2) / 4
    shown = capsys.readouterr().out
    assert "chance" in shown and "own pair, at best" in shown and "text: 3 different ones among 4 recordings" in shown
    assert (tmp_path / "retrieval.png").is_file()


def test_wishes_that_make_no_sense_are_refused(people, tmp_path, capsys):
    wishes = {
        ("--shots", "1,many"): "--shots", ("--seeds", "0"): "--seeds 0", ("--modalities", "video"): "the run has imu",
    }  # fmt: skip
    for wish, says in wishes.items():
        assert command(people, tmp_path, "probe", *wish) == 2 and says in capsys.readouterr().err
    assert command(people, tmp_path, "retrieve", "--modalities", "imu") == 2
    assert "between streams" in capsys.readouterr().err
    rows = [{"id": str(n), "text": "a", "label": "x"} for n in range(4)]
    main(["probe", str(people / "run"), "--data", str(write(tmp_path, rows)), "--output", str(tmp_path / "out")])
    said = capsys.readouterr().err
    assert "manifest.jsonl" in said and "one class" in said and "Traceback" not in said
