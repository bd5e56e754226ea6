"""A newcomer who follows a guide gets to its end: every command and every line of Python of it is run, in order.

Each page is followed in an empty folder with the recordings that its first section lays out, made of a few small clips
of the synthetic world. Commands run in this process, as they stand but for three things, so that a page takes seconds:
`accelerate launch` becomes one process (its own flags are parsed by accelerate), recordings are read without workers,
probes are drawn once, and `mmmae train` gets SMALL appended, which wins over what the page asks for.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import media
import numpy as np
import pandas
import pytest
from pages import FENCED, ROOT

from mmmae import Recipe
from mmmae.__main__ import COMMANDS, main
from mmmae.corpora import prepare
from mmmae.launch import training_parser
from mmmae.recipes.files import names
from modalities.imu.table import load

GUIDES = sorted((ROOT / "docs").glob("guide-*.md"))
SMALL = [
    "--steps=2", "--batch-size=4", "--workers=0", "--save-every=2", "training.evaluate_every=2", "data.holdout=0.25",
    "training.compile=false", "size=tiny", "trunk.depth=2", "modalities.video.size=32", "modalities.video.patch=8",
]  # fmt: skip
ALONE = ["--workers=0"]
APPENDED = {"train": SMALL, "check": ALONE, "embed": ALONE, "retrieve": ALONE, "probe": [*ALONE, "--seeds=1"]}
WRITTEN = ("--output", "--out", "--report")  # options that name what a command writes
SHOWN = ("", "text")  # languages of blocks that are looked at, not run
CLIPS, LONG, LATE = 16, 21.0, 2.0  # clips; seconds of the long video; second at which the first logs begin
MS, CLOCK = 1000, 1_700_000_000_000  # the clock of the sensors, in milliseconds


def prose(page: Path) -> str:
    return FENCED.sub("", page.read_text(encoding="utf-8"))


def inline(page: Path) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`\n]+)`", prose(page))


def recipe_of(page: Path) -> str:
    """The recipe that a page is about: the one it names first in a command."""
    found = re.search(r"--recipe (\w+)", page.read_text(encoding="utf-8"))
    assert found
    return found[1]


# The recordings that the pages speak of


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("world")
    prepare("world", home / "short", clips=CLIPS, seconds=4.0, size=32, fps=8)
    prepare("world", home / "long", clips=1, seconds=LONG, size=32, fps=8)
    return home


def clips(world: Path) -> Iterator[dict]:
    for line in (world / "short" / "manifest.jsonl").read_text().splitlines():
        row = json.loads(line)
        yield row | {column: world / "short" / row[column] for column in ("video", "imu")}


def videos(world: Path) -> None:
    for row in clips(world):
        home = Path("videos", row["label"])
        home.mkdir(parents=True, exist_ok=True)
        shutil.copy(row["video"], home / f"{row['id']}.mp4")


def audiovisual(world: Path) -> None:
    Path("concerts").mkdir()
    for row in clips(world):
        shutil.copy(row["video"], f"concerts/{row['label']}-{row['id']}.mp4")
    media.write_sound(Path("concerts/slide-00001.wav"), media.tone(4.0))
    shutil.copy(world / "long" / "video" / "00000.mp4", "concerts/bounce-long.mp4")


def egocentric(world: Path) -> None:
    """Logs as sensors write them: a file each, in milliseconds of their own clock, in g and degrees."""
    Path("sessions").mkdir()
    Path("raw").mkdir()
    people, activities = ("anna", "ben", "chen", "dora"), ("cook", "wash", "walk", "rest")
    sessions = [(person, activity) for person in people for activity in activities]
    table = pandas.DataFrame([(f"{p}-{a}", p, CLOCK + i) for i, (p, a) in enumerate(sessions)])
    table.to_csv("raw/sessions.csv", index=False, header=["session", "person", "video_start_ms"])
    labels = pandas.DataFrame([(f"{p}-{a}", 0.5, 4.0, a) for p, a in sessions])
    labels.to_csv("raw/labels.csv", index=False, header=["session", "start", "end", "label"])
    for number, ((person, activity), row) in enumerate(zip(sessions, clips(world), strict=True)):
        shutil.copy(row["video"], f"sessions/{person}-{activity}.mp4")
        body = (
            pandas.read_csv(row["imu"])
            .filter(regex="^(time|body0)")
            .rename(columns=lambda c: c.split(".")[-1].split(" ")[0])
        )
        for sensor, shift in (("head", 0.0), ("wrist", 0.007)):
            log = body if number else body[body.time >= LATE]
            log = log.assign(timestamp_ms=np.rint((log.time + shift) * MS) + CLOCK + number).drop(columns="time")
            log[["ax", "ay", "az"]] /= 9.80665
            log[["gx", "gy", "gz"]] = np.rad2deg(log[["gx", "gy", "gz"]])
            log.to_csv(f"raw/{person}-{activity}-{sensor}.csv", index=False)


def manifest(folder: str) -> list[dict]:
    return [json.loads(line) for line in Path(folder, "manifest.jsonl").read_text().splitlines()]


def labelled() -> None:
    """The manifest tells the folder of each video."""
    rows = manifest("videos")
    assert len(rows) == CLIPS and all(row["video"].startswith(row["label"]) for row in rows)


def parted() -> None:
    """The long video has become parts of one group, and a sound beside a video stands in for its own."""
    rows = {row["id"]: row for row in manifest("concerts")}
    assert len(rows) == CLIPS + int(LONG // 10)
    assert [rows[f"bounce-long-{i}"]["start"] for i in (0, 1)] == [0.0, 10.0]
    assert {row["group"] for row in rows.values() if row.get("start") is not None} == {"bounce-long"}
    assert rows["slide-00001-0"]["audio"] == "slide-00001.wav"


def on_one_clock() -> None:
    """Logs that begin late still do; units are those of the clips."""
    table = load("sessions/anna-cook.csv")
    head, wrist = ([group for group in table.groups if (sensor, "ax") in group.places] for sensor in (0, 1))
    assert head[0].times[0] == pytest.approx(LATE) and wrist[0].times[0] == pytest.approx(LATE + 0.007)
    _, felt = head[0].around(table.values, 0.0, 4.0, margin=0.0)
    assert np.abs(felt[:, :3]).max() > 5 and len({row["group"] for row in manifest("sessions")}) == 4


REACHED = {"guide-videos": labelled, "guide-audiovisual": parted, "guide-egocentric": on_one_clock}
LAID_OUT: dict[str, Callable[[Path], None]] = {
    "guide-videos": videos, "guide-audiovisual": audiovisual, "guide-egocentric": egocentric,
}  # fmt: skip


# Following a page


@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_a_guide_leads_where_it_says(page, world, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    LAID_OUT[page.stem](world)
    scope = {"__name__": page.stem}
    for language, text in FENCED.findall(page.read_text(encoding="utf-8")):
        if language == "python":
            exec(compile(text, page.name, "exec"), scope)
        elif language == "sh":
            for line in text.replace("\\\n", " ").splitlines():
                follow(line, capsys)
        elif language == "jsonl":
            written = [line for path in Path().rglob("manifest.jsonl") for line in path.read_text().splitlines()]
            assert set(text.splitlines()) <= set(written)
        elif language == "csv":
            heads = {path.read_text().partition("\n")[0] for path in Path().rglob("*.csv")}
            assert text.splitlines()[0] in heads
        else:
            assert language in SHOWN and not re.search(r"^\W*(mmmae|accelerate|python|pip) ", text, re.MULTILINE), text
    logs = [json.loads(line) for path in Path("runs").glob("*/log.jsonl") for line in path.read_text().splitlines()]
    losses = {name for line in logs for name in line}
    for name in inline(page):
        if re.fullmatch(r"[\w.-]+(/[\w.-]+)*/[\w.-]*", name):  # a path, or a loss
            assert name in losses or any((home / name).exists() for home in (Path(), ROOT)), f"{page.name}: no {name}"
    REACHED[page.stem]()


def follow(line: str, capsys) -> None:
    """Run a command of a page; it must succeed and write what it names."""
    from accelerate.commands.launch import launch_command_parser

    words = shlex.split(line, comments=True)
    try:
        if words[:2] == ["accelerate", "launch"]:
            launch = launch_command_parser().parse_args(words[2:])
            assert launch.training_script == "mmmae/train.py" and (ROOT / launch.training_script).is_file(), line
            words = ["mmmae", "train", *launch.training_script_args]
        assert words[0] == "mmmae", f"this test does not know how to run: {line}"
        code = main([*words[1:], *APPENDED.get(words[1], [])])
    except SystemExit as refusal:  # argparse's
        code = refusal.code
    said = capsys.readouterr()
    assert code == 0, f"{line}\n{said.out}\n{said.err}"
    for option, value in pairwise(words):
        if option in WRITTEN:
            assert Path(value).is_file() or any(Path(value).iterdir()), f"{line}: wrote nothing to {value}"


# What pages mention besides


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_a_guide_mentions_only_what_there_is(page):
    """Overrides fit the recipe of the page; flags, commands and recipes exist."""
    parsers = {"train": training_parser()}
    for name, (module, _) in COMMANDS.items():
        parsers[name] = argparse.ArgumentParser()
        import_module(module).add_arguments(parsers[name])
    flags = {name: set(parser._option_string_actions) for name, parser in parsers.items()}
    for text in inline(page):
        words = shlex.split(text)
        known = set.union(*flags.values())
        if words[0] == "mmmae":
            assert words[1] in parsers, text
            known = flags[words[1]]
        assert {word for word in words if word.startswith("--")} <= known, text
        for flag, value in pairwise(words):
            assert flag != "--recipe" or value in names(), text
        if re.match(r"[a-z_.]+=", text):
            Recipe.load(recipe_of(page), [text])
    for rows in re.findall(r"^\| recipe \|.*\n\|[-|]+\n((?:\|.*\n)+)", prose(page), re.MULTILINE):
        listed = re.findall(r"^\| `(\w+)`", rows, re.MULTILINE)
        assert len(listed) == rows.count("\n") and set(listed) <= set(names()), rows
