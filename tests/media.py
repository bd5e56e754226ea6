"""Small real media files whose every frame and sample tells when it belongs: what the tests of the readers decode."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

BITS = 8
CODECS = {".mp4": "libx264", ".mkv": "libx264", ".ts": "libx264", ".webm": "libvpx", ".avi": "mpeg4"}
OPTIONS = {
    "libx264": {"g": "12", "bf": "2", "preset": "veryfast"},
    "libvpx": {"g": "12", "deadline": "realtime"},
    "mpeg4": {"g": "12", "bf": "2"},
}


def coded(number: int, height: int = 64, width: int = 64) -> np.ndarray:
    """A picture that shows a number below 256: its bits from left to right, white for 1."""
    bits = [(number >> bit) & 1 for bit in reversed(range(BITS))]
    row = np.repeat(np.array(bits, dtype=np.uint8) * 255, width // BITS)
    return np.broadcast_to(row[None, :, None], (height, width, 3)).copy()


def number(picture: np.ndarray) -> int:
    """The number that a picture (c, h, w) shows."""
    channels, height, width = picture.shape
    bits = picture.reshape(channels, height, BITS, width // BITS).mean(axis=(0, 1, 3)) > 127
    return int("".join("01"[int(bit)] for bit in bits), 2)


def write_film(
    path: Path,
    pictures: Sequence[np.ndarray],
    *,
    rate: int = 25,
    milliseconds: Sequence[int] | None = None,
    rotation: int = 0,
    matrix: Sequence[int] | None = None,
    sound: np.ndarray | None = None,
    sound_rate: int = 16000,
    sound_start: float = 0.0,
    options: dict[str, str] | None = None,
) -> Path:
    """A film of pictures (h, w, 3), each shown at its `milliseconds` or at a constant rate; sound is (channels, s)."""
    codec = CODECS[path.suffix]
    with av.open(str(path), "w", options=options or {}) as container:
        film = container.add_stream(codec, rate=rate, options=OPTIONS.get(codec, {}))
        film.height, film.width = pictures[0].shape[:2]
        film.pix_fmt = "yuv420p"
        if milliseconds is not None:
            film.time_base = film.codec_context.time_base = Fraction(1, 1000)
        if rotation:
            film.set_display_rotation(rotation)
        if matrix is not None:
            film.set_display_matrix(matrix)
        track = None
        if sound is not None:
            name = "libopus" if path.suffix == ".webm" else "aac"
            layout = "mono" if len(sound) == 1 else "stereo"
            track = container.add_stream(name, rate=48000 if name == "libopus" else sound_rate, layout=layout)
        for i, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture))
            frame.pts = i if milliseconds is None else milliseconds[i]
            frame.time_base = Fraction(1, rate) if milliseconds is None else Fraction(1, 1000)
            container.mux(film.encode(frame))
        container.mux(film.encode())
        if track is not None:
            mux_sound(container, track, sound, sound_rate, sound_start)
    return path


def write_sound(
    path: Path, sound: np.ndarray, *, rate: int = 16000, codec: str = "pcm_s16le", pieces: Sequence[float] = (0.0,)
) -> Path:
    """Sound (channels, s) between -1 and 1, in equal pieces that begin at the given seconds."""
    with av.open(str(path), "w") as container:
        track = container.add_stream(codec, rate=rate, layout="mono" if len(sound) == 1 else "stereo")
        for part, start in zip(np.array_split(sound, len(pieces), axis=1), pieces, strict=True):
            mux_sound(container, track, part, rate, start, last=start == pieces[-1])
    return path


def mux_sound(container, track, sound: np.ndarray, rate: int, start: float, last: bool = True) -> None:
    frame = av.AudioFrame.from_ndarray(
        sound.astype(np.float32), format="fltp", layout="mono" if len(sound) == 1 else "stereo"
    )
    frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
    frame.pts = round(start * rate)
    context = track.codec_context
    resampler = av.AudioResampler(context.format, context.layout, context.rate, frame_size=context.frame_size or 1024)
    for ready in [*resampler.resample(frame), *resampler.resample(None)]:
        container.mux(track.encode(ready))
    if last:
        container.mux(track.encode())


def click(seconds: float, at: float, rate: int = 16000) -> np.ndarray:
    """Silence (1, s) with one short hump in it: wide enough for lossy codecs, its peak at a known sample."""
    time = np.arange(round(seconds * rate)) / rate - at
    return (0.8 * np.exp(-((time / 0.002) ** 2)))[None]


def tone(seconds: float, hertz: float = 440.0, rate: int = 16000) -> np.ndarray:
    """A sine (1, s) that starts at 0."""
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)[None]


def cut_off(path: Path, share: float = 0.5) -> Path:
    """A copy of a file that lacks its end, as after a broken download."""
    copy = path.with_stem(path.stem + "-cut")
    data = path.read_bytes()
    copy.write_bytes(data[: int(len(data) * share)])
    return copy
