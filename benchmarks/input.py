"""How fast recordings are read: ours beside a straightforward reader, what repeating saves, waiting, and memory.

    python benchmarks/input.py --json input.json [--film FILE ...] [--rounds 15] [--samples 10000] [--folder DIR]

Film is H.264 as x264 makes it by default (a key frame every 250 frames), of photographs that pan, zoom and pass over
each other under grain, in 1280x720 and 176x144; `--film` adds some. A clip is what `videomae` reads: 16 frames over
2.13 s, 224 pixels wide. Readers take turns on the same windows; a figure is the median over the rounds (and quartiles),
in processor seconds of one core, so that it says what a core can do also where others use it.

The straightforward reader goes to the key frame before the window, converts every frame of the window to RGB at full
size, picks 16, and resizes those with torch: bilinear, antialiased, float32. The lean one converts only the 16. Both
are spared what our time also contains: to ask how long the film is.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
import torch
from einops import rearrange
from rich.console import Console
from rich.table import Table
from torch.nn.functional import interpolate

from mmmae import Recipe
from mmmae.data.augment import prepared
from mmmae.data.loader import Loader
from mmmae.data.manifest import Manifest
from modalities.audio import AudioReader
from modalities.imu import IMUReader
from modalities.video import VideoReader

FILMS = {"720p25": (1280, 720, 25), "720p30": (1280, 720, 30), "144p24": (176, 144, 24)}
FRAMES, SIZE, WINDOW = 16, 224, 2.1333
SECONDS = 20
Figures = dict[str, Any]


def scaled(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture))
    return frame.reformat(width, height, "rgb24", interpolation="BICUBIC").to_ndarray()


def pictures(width: int, height: int, rate: int, seed: int) -> Iterator[np.ndarray]:
    """A view that pans and zooms over one photograph, three small ones crossing it; another every 9 s; grain."""
    from sklearn.datasets import load_sample_images

    draw, photos = np.random.default_rng(seed), load_sample_images().images
    large = [scaled(photo, 2 * width, 2 * height) for photo in photos]
    small = [scaled(photo, width // 3, height // 3) for photo in photos]
    grain = draw.normal(0, 1.5, (2 * height, 2 * width, 3)).round().astype(np.int16)
    phase, speed = draw.uniform(0, 2 * np.pi, (8, 3)), draw.uniform(0.3, 1.2, (8, 3))
    for n in range(SECONDS * rate):
        t = n / rate
        shot = int(t // 9) + seed
        top, left, zoom = 0.5 + 0.5 * np.sin(0.6 * speed[shot % 8] * t + phase[shot % 8])
        across = int(width * (0.7 + 0.5 * zoom))
        down = across * height // width
        top, left = int(top * (2 * height - down)), int(left * (2 * width - across))
        picture = scaled(large[shot % 2][top : top + down, left : left + across], width, height).astype(np.int16)
        thing = small[(shot + 1) % 2]
        for i in range(3):
            room = np.array(picture.shape[:2]) - thing.shape[:2]
            y, x = ((0.5 + 0.5 * np.sin(speed[i, :2] * t + phase[i, :2])) * room).astype(int)
            picture[y : y + len(thing), x : x + thing.shape[1]] = thing
        y, x = draw.integers(height), draw.integers(width)
        yield (picture + grain[y : y + height, x : x + width]).clip(0, 255).astype(np.uint8)


def film(path: Path, width: int, height: int, rate: int, seed: int) -> Path:
    """Such a film with a tone of drifting pitch; written once."""
    if path.exists():
        return path
    draft = path.with_suffix(".part")
    with av.open(str(draft), "w", format="mp4") as out:
        stream, track = out.add_stream("libx264", rate=rate), out.add_stream("aac", rate=44100, layout="stereo")
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for n, picture in enumerate(pictures(width, height, rate, seed)):
            frame = av.VideoFrame.from_ndarray(picture)
            frame.pts, frame.time_base = n, Fraction(1, rate)
            out.mux(stream.encode(frame))
        t = np.arange(SECONDS * 44100) / 44100
        sound = av.AudioFrame.from_ndarray(
            np.sin(2000 * t + 50 * np.sin(t)).astype(np.float32)[None].repeat(2, 0), format="fltp", layout="stereo"
        )
        sound.sample_rate, sound.pts = 44100, 0
        out.mux(track.encode(sound))
        out.mux(stream.encode())
        out.mux(track.encode())
    return draft.replace(path)


def straightforward(path: str, start: float, every: bool) -> torch.Tensor:
    """A clip, float32 (t, c, h, w) between 0 and 1; `every`: all frames of the window are converted, not the 16."""
    shown, stamps = [], []
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        origin, unit = stream.start_time or 0, stream.time_base or Fraction(1, rate_of(stream))
        container.seek(origin + int(start / unit), stream=stream)
        for frame in container.decode(stream):
            moment = float(((frame.pts or 0) - origin) * unit)
            if moment >= start + WINDOW:
                break
            if moment > start - 1 / rate_of(stream):
                stamps.append(moment)
                shown.append(frame.to_ndarray(format="rgb24") if every else frame)
    moments = start + WINDOW * (np.arange(FRAMES) + 0.5) / FRAMES
    chosen = [shown[i] for i in (np.searchsorted(stamps, moments + 1e-3) - 1).clip(0)]
    clip = []
    for picture in chosen if every else [frame.to_ndarray(format="rgb24") for frame in chosen]:
        x = rearrange(torch.from_numpy(picture), "h w c -> 1 c h w").float()
        x = interpolate(x, scale_factor=SIZE / min(x.shape[2:]), mode="bilinear", antialias=True)[0]
        top, left = (x.shape[1] - SIZE) // 2, (x.shape[2] - SIZE) // 2
        clip.append(x[:, top : top + SIZE, left : left + SIZE] / 255)
    return torch.stack(clip)


def rate_of(stream: Any) -> int:
    return round(stream.average_rate or 25)


def interleaved(tasks: dict[str, Callable[[float], Any]], room: float, rounds: int, each: int) -> dict[str, list]:
    """Processor seconds per call of every task, round after round, each round at new places in [0, room)."""
    spent: dict[str, list[float]] = {name: [] for name in tasks}
    for number in range(-1, rounds):  # the first warms up
        places = np.random.default_rng(number + 1).uniform(0, room, each)
        for name, task in tasks.items():
            begin = time.process_time()
            for place in places:
                task(place)
            if number >= 0:
                spent[name].append((time.process_time() - begin) / each)
    return spent


def summary(values: Any) -> dict[str, float]:
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return {"median": float(f"{middle:.4g}"), "from": float(f"{low:.4g}"), "to": float(f"{high:.4g}")}


def of_readers(path: Path, rounds: int, each: int) -> Figures:
    """Clips per second of one core by each reader, and how many times as many ours reads."""
    reader, name = VideoReader(frames=FRAMES, size=SIZE), str(path)
    spent = interleaved(
        {
            "ours": lambda start: (reader.seconds(name), reader.read(name, start, WINDOW)),
            "lean": lambda start: straightforward(name, start, every=False),
            "straightforward": lambda start: straightforward(name, start, every=True),
        },
        (reader.seconds(name) or 0) - WINDOW, rounds, each,
    )  # fmt: skip
    found: Figures = {who: summary(1 / np.array(times)) for who, times in spent.items()}
    for who in ("lean", "straightforward"):
        found[f"over {who}"] = summary(np.array(spent[who]) / np.array(spent["ours"]))
    return found


def of_repeats(path: Path, folder: Path, rounds: int) -> Figures:
    """Clips per second of one core that reads and, as there is no GPU, also crops and flips, by `data.repeats`."""
    manifest = manifest_of(folder / f"repeats-{path.stem}", [path], 16)
    batches: dict[str, Callable[[float], Any]] = {}
    for times in (1, 2, 4):
        recipe = Recipe.load("videomae", ["size=tiny", f"data.repeats={times}"])
        rules, augment = recipe.sections.data, recipe.augment()
        loader = iter(Loader(recipe.clips(manifest, repeats=times, repeat=rules.repeat), 1))
        batches[str(times)] = lambda _, loader=loader, augment=augment, rules=rules: prepared(
            next(loader), torch.device("cpu"), augment, rules
        )
    spent = interleaved(batches, 1.0, rounds, 4)
    return {times: summary(int(times) / np.array(seconds)) for times, seconds in spent.items()}


def of_others(folder: Path, film: Path, rounds: int) -> Figures:
    """Windows of 2.13 s per second of one core: sound of a film (AAC, 44.1 kHz), two sensors in 60 s of CSV."""
    table = folder / "imu.csv"
    values = np.random.default_rng(0).normal(size=(6000, 12)).cumsum(0) * 0.01
    names = [f"{sensor}.{channel}" for sensor in ("wrist", "hip") for channel in ("ax", "ay", "az", "gx", "gy", "gz")]
    np.savetxt(table, np.c_[np.arange(6000) / 100, values], "%.4f", ",", header=",".join(["time", *names]), comments="")
    audio, imu = AudioReader(), IMUReader(sensors=2)
    tasks: dict[str, Callable[[float], Any]] = {
        "audio": lambda start: (audio.seconds(str(film)), audio.read(str(film), start, WINDOW)),
        "imu": lambda start: (imu.seconds(str(table)), imu.read(str(table), start, WINDOW)),
    }
    return {name: summary(1 / np.array(s)) for name, s in interleaved(tasks, SECONDS - WINDOW, rounds, 8).items()}


def manifest_of(folder: Path, films: list[Path], rows: int) -> Manifest:
    """So many rows, each a copy (a hard link) of one of the films in turn."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "manifest.jsonl", "w", encoding="utf-8") as file:
        for n in range(rows):
            copy = folder / f"{n}.mp4"
            if not copy.exists():
                os.link(films[n % len(films)], copy)
            print(json.dumps({"id": str(n), "video": copy.name, "audio": copy.name}), file=file)
    return Manifest.open(str(folder / "manifest.jsonl"))


def of_waiting(folder: Path, films: list[Path], steps: int) -> Figures:
    """The share of its time that a run of `mmmae train` waits for data, after its first step, with one worker."""
    found: Figures = {}
    for path in films:
        data, run = folder / f"training-{path.stem}", Path(tempfile.mkdtemp(dir=folder)) / "run"
        manifest_of(data, [path], 16)
        command = [sys.executable, "-m", "mmmae", "train", "--recipe", "videomae", "--data", str(data)]
        command += ["--output", str(run), "--steps", str(steps), "--batch-size", "4", "--workers", "1"]
        command += ["--log-every", "1", "--track", "none", "size=tiny", f"training.evaluate_every={steps}"]
        subprocess.run(command, check=True, capture_output=True)
        lines = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
        found[path.stem] = {"samples/s": summary([line["samples_per_second"] for line in lines[1:]])}
        found[path.stem]["waiting"] = summary([line["data_wait"] for line in lines[1:]])
    return found


def of_memory(folder: Path, films: list[Path], samples: int) -> Figures:
    """Resident megabytes of this process and of its two workers after a tenth of the samples, and after all."""
    recipe = Recipe.load("videomae", ["size=tiny", "modalities.video.size=64"])
    loader = Loader(recipe.clips(manifest_of(folder / "memory", films, 256)), 8, workers=2)
    process, found = psutil.Process(), {}
    for number, _ in enumerate(islice(loader, samples // 8), 1):
        if number in (samples // 80, samples // 8):
            held = [part.memory_info().rss / 2**20 for part in (process, *process.children())]
            found[str(8 * number)] = {"process": round(held[0], 1), "workers": [round(mb, 1) for mb in held[1:]]}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--film", type=Path, action="append", default=[], help="a recording to read as well")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--each", type=int, default=4, help="windows a round")
    parser.add_argument("--steps", type=int, default=8, help="of the runs that wait for data")
    parser.add_argument("--samples", type=int, default=10000, help="through which memory is watched")
    parser.add_argument("--folder", type=Path, help="keep the films there")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        films = [film(folder / f"{name}.mp4", *form, seed) for seed, (name, form) in enumerate(FILMS.items())]
        small = films[-1:]
        found: Figures = {"readers": {}}
        for path in [*films, *arguments.film]:
            found["readers"][path.stem] = of_readers(path, arguments.rounds, arguments.each)
        found["repeats"] = {path.stem: of_repeats(path, folder, arguments.rounds) for path in films[1:]}
        found["others"] = of_others(folder, small[0], arguments.rounds)
        found["waiting"] = of_waiting(folder, films[1:], arguments.steps)
        found["memory"] = of_memory(folder, small, arguments.samples)
        found["machine"] = {"cores": os.cpu_count(), "av": av.__version__, "torch": torch.__version__}
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1), encoding="utf-8")
    show(found)


def show(found: Figures) -> None:
    def said(value: Figures) -> str:
        return f"{value['median']:.3g} ({value['from']:.3g}-{value['to']:.3g})"

    console = Console()
    rows = found["readers"]
    table = Table("film", *next(iter(rows.values())), title="clips per second of one core, and ratios (quartiles)")
    for name, values in rows.items():
        table.add_row(name, *map(said, values.values()))
    console.print(table)
    table = Table("what", "figure", title="repeats and other readers: per second of one core; runs; memory in MB")
    for name, values in found["repeats"].items():
        for times, value in values.items():
            table.add_row(f"{name}, data.repeats={times}, clips", said(value))
    for name, value in found["others"].items():
        table.add_row(f"{name} windows", said(value))
    for name, values in found["waiting"].items():
        table.add_row(f"videomae size=tiny on {name}: samples/s", said(values["samples/s"]))
        table.add_row(f"videomae size=tiny on {name}: share of time waiting", said(values["waiting"]))
    for count, held in found["memory"].items():
        table.add_row(f"after {count} samples: process, workers", f"{held['process']}, {held['workers']}")
    console.print(table)


if __name__ == "__main__":
    main()
