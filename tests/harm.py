"""Recordings damaged in every way that we have met, among good ones: what tests and benchmarks of bad samples read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import av
import numpy as np
from media import click, coded, tone, write_film, write_sound

from mmmae.corpora.writing import write_imu

Verdict = Literal["bad", "fine", "either"]
SECONDS, RATE = 1.0, 8000


@dataclass(frozen=True)
class Kind:
    """One way to damage a recording: what it does to a file of it, and whether a reader must notice.

    "either": bytes that still decode are fine, nobody can know better; but they may never crash.
    """

    file: str
    verdict: Verdict
    do: Callable[[Path, np.random.Generator], None]
    home: Literal["manifest", "folder"] = "manifest"


def cut(low: float, high: float):
    def do(path: Path, random: np.random.Generator) -> None:
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * random.uniform(low, high))])

    return do


def contents(make: Callable[[np.random.Generator, int], bytes]):
    def do(path: Path, random: np.random.Generator) -> None:
        path.write_bytes(make(random, path.stat().st_size))

    return do


def mutate(path: Path, random: np.random.Generator) -> None:
    """Overwrite, drop or insert bytes at random places."""
    data = bytearray(path.read_bytes())
    for _ in range(random.integers(1, 40)):
        place = random.integers(len(data))
        match random.integers(4):
            case 0 | 1:
                data[place] = random.integers(256)
            case 2:
                del data[place : place + random.integers(1, 8)]
            case 3:
                data[place:place] = random.bytes(random.integers(1, 8))
    path.write_bytes(bytes(data))


def gone(path: Path, random: np.random.Generator) -> None:
    path.unlink()


def folder(path: Path, random: np.random.Generator) -> None:
    path.unlink()
    path.mkdir()


def sound_only(path: Path, random: np.random.Generator) -> None:
    path.unlink()
    write_sound(path, tone(SECONDS, rate=RATE), rate=RATE, codec="aac")


def picture(path: Path, random: np.random.Generator) -> None:
    path.unlink()
    image = av.VideoFrame.from_ndarray(coded(3)).to_image()
    image.save(path, format="PNG")


def wild_sound(value: float):
    def do(path: Path, random: np.random.Generator) -> None:
        path.unlink()
        write_sound(path, tone(SECONDS, rate=RATE), rate=RATE, codec="pcm_f32le")
        data = bytearray(path.read_bytes())
        place = len(data) - 4 * int(random.integers(1, RATE // 2))
        data[place : place + 4] = np.float32(value).tobytes()
        path.write_bytes(bytes(data))

    return do


def table(change: Callable[[list[str], np.random.Generator], list[str]]):
    def do(path: Path, random: np.random.Generator) -> None:
        path.write_text("\n".join(change(path.read_text().splitlines(), random)) + "\n")

    return do


def cell(value: str):
    def change(lines: list[str], random: np.random.Generator) -> list[str]:
        row = int(random.integers(1, len(lines)))
        return [*lines[:row], ",".join([*lines[row].split(",")[:-1], value]), *lines[row + 1 :]]

    return table(change)


def every(value: str):
    return table(lambda lines, _: [lines[0], *(",".join([line.split(",")[0], *[value] * 6]) for line in lines[1:])])


def twice(lines: list[str], random: np.random.Generator) -> list[str]:
    row = int(random.integers(2, len(lines)))
    return [*lines[:row], lines[row - 1], *lines[row:]]


def ragged(lines: list[str], random: np.random.Generator) -> list[str]:
    row = int(random.integers(2, len(lines)))
    return [*lines[:row], lines[row] + ",1,2", *lines[row + 1 :]]


KINDS: dict[str, Kind] = {
    "video empty": Kind("mp4", "bad", contents(lambda random, size: b"")),
    "video zeros": Kind("mp4", "bad", contents(lambda random, size: bytes(size))),
    "video noise": Kind("mp4", "bad", contents(lambda random, size: random.bytes(size))),
    "video text": Kind("mp4", "bad", contents(lambda random, size: b"<html><body>404 Not Found</body></html>\n" * 9)),
    "video picture": Kind("mp4", "bad", picture),
    "video sound": Kind("mp4", "bad", sound_only),
    "video cut mp4": Kind("mp4", "bad", cut(0.05, 0.6)),  # later only the index of the sound is cut off
    "video cut mkv": Kind("mkv", "bad", cut(0.05, 0.7)),
    "video cut ts": Kind("ts", "bad", cut(0.05, 0.6)),
    "video gone": Kind("mp4", "bad", gone),
    "video folder": Kind("mp4", "bad", folder),
    "video mutated mp4": Kind("mp4", "either", mutate),
    "video mutated mkv": Kind("mkv", "either", mutate),
    "video mutated ts": Kind("ts", "either", mutate),
    "audio empty": Kind("wav", "bad", contents(lambda random, size: b"")),
    "audio noise": Kind("wav", "either", contents(lambda random, size: random.bytes(size))),  # may look like MP3
    "audio header": Kind("wav", "bad", contents(lambda random, size: b"RIFF\x24\x3e\x00\x00WAVE")),
    "audio nan": Kind("wav", "bad", wild_sound(np.nan)),
    "audio inf": Kind("wav", "bad", wild_sound(np.inf)),
    "audio gone": Kind("wav", "bad", gone),
    "audio mutated": Kind("wav", "either", mutate),
    "imu empty": Kind("csv", "bad", contents(lambda random, size: b"")),
    "imu header": Kind("csv", "bad", table(lambda lines, random: lines[:1])),
    "imu noise": Kind("csv", "bad", contents(lambda random, size: random.bytes(size))),
    "imu ragged": Kind("csv", "bad", table(ragged)),
    "imu words": Kind("csv", "bad", cell("broken")),
    "imu twice": Kind("csv", "bad", table(twice)),
    "imu huge": Kind("csv", "bad", every("1e300")),
    "imu nan": Kind("csv", "fine", every("nan")),  # readings that do not exist: the modality is absent
    "imu constant": Kind("csv", "fine", every("1.5")),  # a sensor at rest
    "imu mutated": Kind("csv", "either", mutate),
    "text nul": Kind("txt", "bad", contents(lambda random, size: b"a ball\0falls"), "folder"),
    "text latin": Kind("txt", "bad", contents(lambda random, size: "ein Mann läuft".encode("latin1")), "folder"),
    "text noise": Kind("txt", "bad", contents(lambda random, size: b"\xff\xfe" + random.bytes(60)), "folder"),
    "text huge": Kind("txt", "bad", contents(lambda random, size: b"word " * 300_000), "folder"),
    "text empty": Kind("txt", "fine", contents(lambda random, size: b""), "folder"),  # nothing is said: absent
}


@dataclass(frozen=True)
class Harmed:
    """A folder of recordings, by a manifest or by name. `kinds` is what was done to each, "" for nothing."""

    data: Path
    kinds: dict[str, str]

    def named(self, *verdicts: Verdict) -> set[str]:
        """Ids of recordings whose damage has one of these verdicts."""
        return {name for name, kind in self.kinds.items() if kind and KINDS[kind].verdict in verdicts}


def originals(home: Path) -> Path:
    """One good recording in every kind of file."""
    home.mkdir(parents=True, exist_ok=True)
    pictures = [coded(number, 32, 32) for number in range(25)]
    write_film(home / "good.mp4", pictures, sound=click(SECONDS, 0.5, RATE) + 0.1, sound_rate=RATE)
    for ending in (".mkv", ".ts"):  # without sound they last as long as the film to the last frame
        write_film(home / f"good{ending}", pictures)
    write_sound(home / "good.wav", tone(SECONDS, rate=RATE), rate=RATE)
    time = np.arange(50) / 50
    write_imu(home / "good.csv", time, {"wrist": np.stack([np.sin(5 * time + axis) for axis in range(6)], axis=1)})
    (home / "good.txt").write_text("a number counts up")
    return home


def harmed(out: Path, home: Literal["manifest", "folder"], *, each: int, good: int, seed: int = 0) -> Harmed:
    """`each` recordings of every kind of damage at home there, and `good` ones, all of one second."""
    source, random = originals(out.with_name(out.name + "-originals")), np.random.default_rng(seed)
    out.mkdir(parents=True)
    kinds = {
        f"{name.replace(' ', '-')}-{i}": name for name, kind in KINDS.items() if kind.home == home for i in range(each)
    }
    kinds |= {f"good-{i}": "" for i in range(good)}
    rows = []
    for name, which in kinds.items():
        kind = KINDS.get(which)
        film = kind.file if kind is not None and kind.file in ("mkv", "ts") else "mp4"
        for ending in (film, "wav", "csv", "txt"):
            shutil.copyfile(source / f"good.{ending}", out / f"{name}.{ending}")
        if kind is not None:
            kind.do(out / f"{name}.{kind.file}", random)
        rows.append(
            {"id": name, "video": f"{name}.{film}", "audio": f"{name}.wav", "imu": f"{name}.csv", "text": "a number"}
        )
    if home == "manifest":
        (out / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Harmed(out, kinds)


def named(path: Path) -> list[str]:
    """The ids in a file of bad samples, line by line."""
    return [json.loads(line)["id"] for line in path.read_text().splitlines()]
