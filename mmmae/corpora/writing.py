"""The files a corpus consists of, written the same to the last byte on every run of the same machine.

Encoders run on one thread and leave out time stamps and version strings; numbers are rounded to what a sensor resolves.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from fractions import Fraction
from itertools import chain
from pathlib import Path

import numpy as np

from mmmae.storage.atomic import replace

CHANNELS = ("ax", "ay", "az", "gx", "gy", "gz")
"""Columns of one sensor: acceleration in m/s^2 (specific force, gravity included), then angular rate in rad/s."""


def write_video(
    path: Path,
    frames: Iterable[np.ndarray],
    fps: int | float | Fraction,
    audio: np.ndarray | None = None,
    audio_rate: int = 16_000,
    *,
    crf: int = 18,
    preset: str = "veryfast",
    bit_rate: int = 64_000,
) -> Path:
    """Encode H.264 (yuv420p, a key frame every second, no B-frames) with an AAC track beside it.

    Args:
        frames: uint8 `(h, w, 3)` each, an array `(t, h, w, 3)` or a generator; even height and width.
        audio: float32 `(s,)` or `(s, 2)` in [-1, 1]; None writes no sound track.
        crf: constant rate factor of the picture, 0 lossless to 51 worst.
        bit_rate: of the sound, in bits per second.
    """
    import av

    frames = iter(frames)
    first = np.ascontiguousarray(next(frames))
    rate = Fraction(fps).limit_denominator(1001)
    with av.open(str(path), "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        options = {"crf": str(crf), "preset": preset, "bf": "0", "flags": "+bitexact", "threads": "1"}
        picture = container.add_stream("libx264", rate=rate, options=options)
        picture.height, picture.width = first.shape[:2]
        picture.pix_fmt, picture.gop_size = "yuv420p", max(1, round(rate))
        sound = None
        if audio is not None:  # both streams must exist before the first packet
            layout = "mono" if audio.ndim == 1 else "stereo"
            sound = container.add_stream("aac", rate=audio_rate, layout=layout, options={"flags": "+bitexact"})
            sound.bit_rate = bit_rate
        for frame in chain([first], frames):
            container.mux(picture.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(picture.encode())
        if audio is not None and sound is not None:
            planes = np.ascontiguousarray(np.atleast_2d(audio.T), dtype=np.float32).clip(-1, 1)
            samples = av.AudioFrame.from_ndarray(planes, format="fltp", layout=layout)
            samples.sample_rate, samples.pts = audio_rate, 0
            container.mux(sound.encode(samples))
            container.mux(sound.encode())
    return path


def write_regions(path: Path, frames: np.ndarray, fps: int | float | Fraction) -> Path:
    """Encode classes, uint8 `(t, h, w)`, without loss: FFV1 in Matroska, a class a grey level."""
    import av

    with av.open(str(path), "w", format="matroska", options={"fflags": "+bitexact"}) as container:
        options = {"flags": "+bitexact", "threads": "1"}
        picture = container.add_stream("ffv1", rate=Fraction(fps).limit_denominator(1001), options=options)
        picture.height, picture.width = frames.shape[1:]
        picture.pix_fmt = "gray"
        for frame in frames:
            container.mux(picture.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="gray")))
        container.mux(picture.encode())
    return path


def write_picture(path: Path, picture: np.ndarray) -> Path:
    """Encode one picture, uint8 `(h, w, 3)`, without loss: PNG."""
    import av

    with av.open(str(path), "w", format="image2", options={"update": "1"}) as container:
        stream = container.add_stream("png", rate=1, options={"flags": "+bitexact", "threads": "1"})
        stream.height, stream.width = picture.shape[:2]
        stream.pix_fmt = "rgb24"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        container.mux(stream.encode())
    return path


def write_imu(path: Path, time: np.ndarray, sensors: Mapping[str, np.ndarray]) -> Path:
    """Write inertial recordings as CSV: `time`, then `<sensor>.ax (m/s^2)` to `<sensor>.gz (rad/s)`; NaN: empty.

    Args:
        time: `(t,)` seconds.
        sensors: name -> `(t, c)` with the first c of `CHANNELS`.
    """
    units = dict.fromkeys(CHANNELS[:3], "m/s^2") | dict.fromkeys(CHANNELS[3:], "rad/s")
    columns = [f"{name}.{c} ({units[c]})" for name, values in sensors.items() for c in CHANNELS[: values.shape[1]]]
    table = np.concatenate([np.asarray(values, dtype=np.float64) for values in sensors.values()], axis=1)
    with open(path, "w", newline="\n") as file:
        print("time", *columns, sep=",", file=file)
        for second, row in zip(time.tolist(), table.tolist(), strict=True):
            print(f"{second:.6f}", *("" if math.isnan(x) else f"{x:.4f}" for x in row), sep=",", file=file)
    return path


def write_manifest(out: Path, rows: Iterable[Mapping[str, object]]) -> Path:
    """Write `out/manifest.jsonl`, one object per recording; None is left out, paths become relative to `out`."""
    path = out / "manifest.jsonl"
    entries = ({key: _relative(value, out) for key, value in row.items() if value is not None} for row in rows)
    replace(path, "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries))
    return path


def write_credits(out: Path, text: str) -> Path:
    """Write `out/CREDITS.md`: where the recordings come from and under which licence."""
    path = out / "CREDITS.md"
    path.write_text(text.strip() + "\n", newline="\n")
    return path


def _relative(value: object, out: Path) -> object:
    if not isinstance(value, Path):
        return value
    return (value.relative_to(out) if value.is_relative_to(out) else value).as_posix()
