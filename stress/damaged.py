"""Damage films in many ways and count those that are read short without a word.

    python stress/damaged.py [--each 10] [--folder DIR]

Films of 100 frames, every one showing its number, in each container and codec that can be written here: cut off at
many places, a part removed from the middle, a part overwritten with zeros. FFmpeg itself, skipping what it cannot
decode, tells how many frames are left; the file is read short if more than one is missing of what it states (of what
its time stamps span, where a container states nothing) and `VideoReader` reads all of it without an error.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from rich.console import Console
from rich.table import Table

from modalities.errors import SampleError
from modalities.video import VideoReader

FRAMES, RATE, SIZE = 100, 25, 64
KINDS = [
    (".mp4", "libx264"), (".mp4", "mpeg4"), (".mov", "mjpeg"), (".mkv", "libx264"), (".mkv", "mpeg4"),
    (".mkv", "mjpeg"), (".webm", "libvpx"), (".webm", "libvpx-vp9"), (".avi", "mpeg4"), (".avi", "mjpeg"),
    (".flv", "libx264"), (".ts", "libx264"), (".avi", "libx264"), (".wmv", "libx264"), (".mpg", "mpeg2video"),
]  # fmt: skip
STATELESS = (".ts", ".mpg")  # what states no length of its own
OPTIONS = {"libx264": {"g": "12", "bf": "2", "preset": "veryfast"}, "mpeg4": {"g": "12", "bf": "2"}}


def film(path: Path, codec: str) -> Path:
    """A film whose n-th frame shows n in its bars, over noise that gives every frame its share of bytes."""
    noise = np.random.default_rng(0).integers(0, 64, (FRAMES, SIZE, SIZE, 3), dtype=np.uint8)
    with av.open(str(path), "w", options={"movflags": "faststart"} if path.suffix in (".mp4", ".mov") else {}) as out:
        stream = out.add_stream(codec, rate=RATE, options=OPTIONS.get(codec, {"g": "12", "deadline": "realtime"}))
        stream.width = stream.height = SIZE
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for number in range(FRAMES):
            bars = np.repeat([128 * (number >> bit & 1) for bit in reversed(range(8))], SIZE // 8).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(noise[number] + bars[None, :, None])
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


def damage(data: bytes, how: str, share: float) -> bytes:
    """The bytes of a file, damaged at a share of its length; its first tenth, the headers, stays."""
    place = int(len(data) * (0.1 + 0.89 * share))
    gap = max(len(data) // 12, 64)
    if how == "cut off":
        return data[:place]
    rest = data[place + gap :]
    return data[:place] + (rest if how == "part removed" else bytes(min(gap, len(data) - place)) + rest)


def left(path: Path) -> tuple[int, int]:
    """How many frames FFmpeg can still decode, and how many the stamps of the file span."""
    stamps = []
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1  # what several threads conceal depends on their timing
            for packet in container.demux(stream):
                try:
                    stamps += [float((f.pts or 0) * stream.time_base) for f in packet.decode() if not f.is_corrupt]
                except av.FFmpegError:
                    continue
    except (av.FFmpegError, IndexError):
        return len(stamps), 0
    return len(stamps), round((max(stamps) - min(stamps)) * RATE) + 1 if stamps else 0


def judged(path: Path, states: bool) -> str:
    """What becomes of one damaged file."""
    frames, span = left(path)
    short = frames < (FRAMES if states else span) - 1
    try:
        reader = VideoReader(frames=1, size=16)
        seconds = reader.seconds(str(path))
        VideoReader(frames=max(round((seconds or 0) * RATE), 1), size=16).read(str(path), 0.0, seconds or 0.0)
    except SampleError:
        return "short, flagged" if short else "whole, flagged"
    return "short, silent" if short else "whole, read"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=10, help="places at which each film is damaged in each way")
    parser.add_argument("--folder", type=Path, help="keep the damaged files there")
    arguments = parser.parse_args()
    av.logging.set_level(av.logging.PANIC)
    verdicts = ("short, silent", "short, flagged", "whole, flagged", "whole, read")
    table, total = Table("film", "files", *verdicts), Counter()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for ending, codec in KINDS:
            data, count = film(folder / f"{codec}{ending}", codec).read_bytes(), Counter()
            for how in ("cut off", "part removed", "zeros"):
                for i in range(arguments.each):
                    path = folder / f"{codec}-{how.replace(' ', '-')}-{i}{ending}"
                    path.write_bytes(damage(data, how, (i + 0.5) / arguments.each))
                    verdict = judged(path, ending not in STATELESS)
                    count[verdict] += 1
                    if verdict == "short, silent" and arguments.folder:
                        print(path)
            table.add_row(f"{codec} in {ending}", str(count.total()), *(str(count[v]) for v in verdicts))
            total += count
    table.add_section()
    table.add_row("all", str(total.total()), *(str(total[v]) for v in verdicts))
    Console().print(table)


if __name__ == "__main__":
    main()
