"""Hand bombs to the readers, small files that claim to be enormous, and measure what refusing each one costs.

    python stress/bombs.py [--only NAME ...]

Another process reads them. Seconds and peak memory are counted after the imports and one honest file of each kind;
the bar is less than 1 s and 100 MB.
"""

from __future__ import annotations

import argparse
import json
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
from pyarrow import parquet
from rich.console import Console
from rich.table import Table

from modalities.audio import AudioReader
from modalities.embedding import EmbeddingReader
from modalities.errors import SampleError
from modalities.imu import IMUReader
from modalities.reader import Reader
from modalities.text import TextReader, Vocabulary
from modalities.video import VideoReader

SECONDS, MEGABYTES = 1.0, 100.0
Bomb = Callable[[Path], tuple[Reader, Any]]
BOMBS: dict[str, Bomb] = {}
SLOW = ("h264.mp4", "h264 lying.mp4", "h264.mkv", "h264.ts", "h264.flv", "large.png")  # to make, not to refuse
X264 = {"preset": "ultrafast", "x264-params": "ref=1:rc-lookahead=0:bframes=0:sync-lookahead=0:threads=1"}


def bomb(name: str) -> Callable[[Bomb], Bomb]:
    def keep(make: Bomb) -> Bomb:
        BOMBS[name] = make
        return make

    return keep


def film(path: Path, codec: str, pixels: str, side: int = 16000, frames: int = 6, rate: int = 25) -> Path:
    """A film of black squares."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=rate, options=X264 if codec == "libx264" else {})
        stream.width = stream.height = side
        stream.pix_fmt, stream.codec_context.thread_count = pixels, 1
        frame = av.VideoFrame(side, side, pixels)
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        for number in range(frames):
            frame.pts, frame.time_base = number, Fraction(1, rate)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


def lying(path: Path, side: int = 16000) -> Path:
    """The same film with a header that claims 64 x 64."""
    data = path.read_bytes().replace(struct.pack(">HH", side, side), struct.pack(">HH", 64, 64))
    path.write_bytes(data.replace(struct.pack(">II", side << 16, side << 16), struct.pack(">II", 64 << 16, 64 << 16)))
    return path


def picture(path: Path, side: int, filled: bool = True) -> Path:
    """A black PNG; unless it is filled, only its header is there."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    packer, row = zlib.compressobj(9), bytes(1 + side)
    packed = b"".join(packer.compress(row) for _ in range(side if filled else 9)) + packer.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", packed) + chunk(b"IEND", b""))
    return path


def wav(path: Path, rate: int) -> Path:
    body = bytes(1 << 16)
    form = struct.pack("<HHIIHH", 1, 1, rate, min(2 * rate, 2**32 - 1), 2, 16)
    chunks = b"fmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", len(body)) + body
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks)
    return path


def npy(path: Path, shape: tuple[int, ...]) -> Path:
    """An array that is not there, of which the file keeps the header (and a hole of a few bytes)."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": shape})
        file.write(bytes(64))
    return path


def watching(path: Path) -> tuple[Reader, Any]:
    return VideoReader(frames=1, size=32), str(path)


def hearing(path: Path) -> tuple[Reader, Any]:
    return AudioReader(), str(path)


def feeling(path: Path) -> tuple[Reader, Any]:
    return IMUReader(sensors=1), {"path": str(path), "rate": 50.0}


def looking_up(path: Path) -> tuple[Reader, Any]:
    return EmbeddingReader(width=4), str(path)


@bomb("h264.mp4")
def _(folder: Path):
    return watching(film(folder / "a.mp4", "libx264", "yuv420p"))


@bomb("h264 lying.mp4")
def _(folder: Path):
    return watching(lying(film(folder / "a.mp4", "libx264", "yuv420p")))


for ending in (".mkv", ".ts", ".flv"):
    BOMBS[f"h264{ending}"] = lambda folder, ending=ending: watching(film(folder / f"a{ending}", "libx264", "yuv420p"))


@bomb("png.mov")
def _(folder: Path):
    return watching(film(folder / "a.mov", "png", "gray", frames=2))


@bomb("png lying.mov")
def _(folder: Path):
    return watching(lying(film(folder / "a.mov", "png", "gray", side=9000), side=9000))


@bomb("mjpeg.avi")
def _(folder: Path):
    return watching(film(folder / "a.avi", "mjpeg", "yuvj420p", frames=1))


@bomb("large.png")
def _(folder: Path):
    return watching(picture(folder / "a.png", 30000))


@bomb("header.png")
def _(folder: Path):
    return watching(picture(folder / "a.png", 2**31 - 1 >> 8, filled=False))


@bomb("frame rate")
def _(folder: Path):
    return watching(fast(folder))


def fast(folder: Path) -> Path:
    """A film of a million pictures per second: its clock is another one."""
    path = film(folder / "a.avi", "mjpeg", "yuvj420p", side=64)
    data = bytearray(path.read_bytes())
    place = data.index(b"strh") + 8 + 20  # scale, then rate
    data[place : place + 8] = struct.pack("<II", 1, 1_000_000)
    path.write_bytes(data)
    return path


@bomb("duration.mkv")
def _(folder: Path):
    path = film(folder / "a.mkv", "mjpeg", "yuvj420p", side=64)
    data = bytearray(path.read_bytes())
    place = data.index(b"\x44\x89\x88") + 3  # Duration, a double in milliseconds
    data[place : place + 8] = struct.pack(">d", 1e12)
    path.write_bytes(data)
    return watching(path)


@bomb("sampling rate.wav")
def _(folder: Path):
    return hearing(wav(folder / "a.wav", 2**31 - 1))


@bomb("shape of imu.npy")
def _(folder: Path):
    return feeling(npy(folder / "a.npy", (10**12, 6)))


@bomb("shape of embedding.npy")
def _(folder: Path):
    return looking_up(npy(folder / "a.npy", (10**12, 4)))


@bomb("empty rows of imu.npy")
def _(folder: Path):
    return feeling(npy(folder / "a.npy", (2**62, 0, 6)))


@bomb("sparse imu.npy")
def _(folder: Path):
    path = npy(folder / "a.npy", (2**28, 6))
    with path.open("r+b") as file:
        file.truncate(128 + 2**28 * 48)
    return feeling(path)


def packed(path: Path, rows: int, columns: int = 1) -> Path:
    """A parquet file of zeros, a few bytes for each million."""
    zeros = pa.table({f"a.{i}": np.zeros(rows // 50) for i in range(columns)})
    with parquet.ParquetWriter(path, zeros.schema, compression="zstd") as out:
        for _ in range(50):
            out.write_table(zeros)
    return path


@bomb("rows of imu.parquet")
def _(folder: Path):
    return feeling(packed(folder / "a.parquet", 200_000_000))


@bomb("rows of embedding.parquet")
def _(folder: Path):
    return looking_up(packed(folder / "a.parquet", 50_000_000, 4))


@bomb("words in imu.parquet")
def _(folder: Path):
    words = pa.array(["x" * 1_000_000] * 1000).dictionary_encode()
    parquet.write_table(pa.table({"a.x": words}), folder / "a.parquet")
    return feeling(folder / "a.parquet")


@bomb("columns of imu.csv")
def _(folder: Path):
    row = ",".join(f"a.c{i}" for i in range(100_000))
    (folder / "a.csv").write_text(f"{row}\n{','.join('0' * 100_000)}\n")
    return feeling(folder / "a.csv")


@bomb("bytes of imu.csv")
def _(folder: Path):
    (folder / "a.csv").write_text("time,a.x\n0,1\n")
    with (folder / "a.csv").open("r+b") as file:
        file.truncate(2**31)
    return feeling(folder / "a.csv")


@bomb("times of imu.csv")
def _(folder: Path):
    (folder / "a.csv").write_text("time,a.x\n0,1\n0.1,1\n1e300,1\n")
    return feeling(folder / "a.csv")


@bomb("header of embedding.safetensors")
def _(folder: Path):
    with (folder / "a.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", 99_000_000) + b"{" + b" " * 99_000_000)
    return looking_up(folder / "a.safetensors")


@bomb("caption")
def _(folder: Path):
    vocabulary = Vocabulary.learn(["a red ball"]).save(folder)
    return TextReader(vocabulary=str(vocabulary)), "a red ball " * 1_000_000


@bomb("captions")
def _(folder: Path):
    vocabulary = Vocabulary.learn(["a red ball"]).save(folder)
    timed = {"text": "a red ball " * 10_000, "start": 0.0, "end": 9.0}
    return TextReader(vocabulary=str(vocabulary)), [timed] * 100


READERS: dict[str, Callable[[Path], Reader]] = {
    "VideoReader": lambda folder: VideoReader(frames=1, size=32),
    "AudioReader": lambda folder: AudioReader(),
    "IMUReader": lambda folder: IMUReader(sensors=1),
    "EmbeddingReader": lambda folder: EmbeddingReader(width=4),
    "TextReader": lambda folder: TextReader(vocabulary=str(folder)),
}


def measured(names: list[str], folder: Path) -> list[dict[str, Any]]:
    """What each bomb costs in another process than the one that makes it; one honest read of each kind goes before."""
    made = []
    for number, name in enumerate(names):
        home = folder / str(number)
        home.mkdir()
        reader, source = BOMBS[name](home)
        made.append((name, type(reader).__name__, source, str(home)))
    (folder / "made.json").write_text(json.dumps(made))
    command = [sys.executable, __file__, "--handed", str(folder / "made.json")]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr[-2000:]}")
    return json.loads(done.stdout)


def refused(made: list[tuple[str, str, Any, str]], folder: Path) -> list[dict[str, Any]]:
    """What each of some bombs costs in this process."""
    honest = film(folder / "honest.avi", "mjpeg", "yuvj420p", side=64)
    (folder / "honest.csv").write_text("time,a.x\n0,1\n0.1,1\n")
    parquet.write_table(pa.table({"a.x": [0.0, 1.0]}), folder / "honest.parquet")
    words = str(Vocabulary.learn(["a red ball"]).save(folder))
    VideoReader(frames=1, size=32).read(str(honest), 0.0, 0.2)
    AudioReader().read(str(wav(folder / "honest.wav", 16000)), 0.0, 0.2)
    for ending in ("csv", "parquet"):
        IMUReader(sensors=1, channels=1).read({"path": str(folder / f"honest.{ending}"), "rate": 50.0}, 0.0, 0.1)
    TextReader(vocabulary=words).read("a red ball", 0.0, 1.0)
    found = []
    for name, kind, source, home in made:
        reader = READERS[kind](Path(home))
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        baseline, begun, says = peak(), time.perf_counter(), ""
        for use in (reader.seconds, lambda source: reader.read(source, 0.0, 0.2)):  # noqa: B023 (used at once)
            try:
                use(source)
            except SampleError as error:
                says = says or error.reason
        seconds, size = time.perf_counter() - begun, sum(path.stat().st_size for path in Path(home).glob("a.*"))
        found.append({"name": name, "bytes": size, "seconds": seconds, "megabytes": peak() - baseline, "says": says})
    return found


def peak() -> float:
    """The most memory that this process has held, in megabytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def held(row: dict[str, Any]) -> bool:
    return bool(row["says"]) and row["seconds"] < SECONDS and row["megabytes"] < MEGABYTES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(BOMBS), default=list(BOMBS), metavar="NAME")
    parser.add_argument("--handed", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.handed:
        print(json.dumps(refused(json.loads(arguments.handed.read_text()), arguments.handed.parent)))
        return
    with tempfile.TemporaryDirectory() as folder:
        found = measured(arguments.only, Path(folder))
    table = Table("bomb", "bytes", "seconds", "MB", "it is refused because it")
    for row in found:
        cost = (f"{row['seconds']:.3f}", f"{row['megabytes']:.1f}")
        table.add_row(row["name"], f"{row['bytes']:,}", *cost, row["says"] or "[red]read")
    Console(width=150).print(table)
    print(f"{sum(map(held, found))} of {len(found)} bombs refused in under {SECONDS:g} s and {MEGABYTES:g} MB")


if __name__ == "__main__":
    main()
