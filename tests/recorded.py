"""Recordings whose frames tell their number and whose sound has a tone and a click, in any container and codec."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from media import click, coded, number, tone

from modalities.audio import AudioReader
from modalities.video import VideoReader

RATE = 25
FRAMES = 8  # of a window
CODECS = {
    "libx264": {"g": "12", "bf": "2", "preset": "veryfast"},
    "libx265": {"preset": "ultrafast", "x265-params": "keyint=12:bframes=2:log-level=none"},
    "mpeg2video": {"g": "12", "bf": "2"},
    "mpeg4": {"g": "12"},
    "libvpx": {"g": "12", "deadline": "realtime"},
}


def record(
    path: Path,
    codec: str | None,
    sound: str | None = None,
    *,
    first: int = 0,
    seconds: float = 4.0,
    hertz: float = 500.0,
    format: str | None = None,
    rate: int = RATE,
    sound_rate: int = 48000,
    options: dict[str, str] | None = None,
    quiet: float = 0.0,
) -> Path:
    """A recording that shows numbers from `first` on and sounds a tone, with a click at 2.5 s.

    quiet: seconds at the beginning in which the tone is hardly there, so that bit rates differ.
    """
    with av.open(str(path), "w", format=format, options=options or {}) as out:
        film = None
        if codec is not None:
            film = out.add_stream(codec, rate=rate, options=CODECS.get(codec, {}))
            film.width = film.height = 64
            film.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        track, heard = None, []
        if sound is not None:
            track = out.add_stream(sound, rate=sound_rate, layout="mono")
            heard = pieces(track.codec_context, seconds, hertz, sound_rate, quiet)
        for number in range(round(seconds * rate) if film is not None else 0):
            frame = av.VideoFrame.from_ndarray(coded(first + number))
            frame.pts, frame.time_base = number, Fraction(1, rate)
            out.mux(film.encode(frame))
            while heard and float(heard[0].pts * heard[0].time_base) <= number / rate:
                out.mux(track.encode(heard.pop(0)))
        for piece in heard:
            out.mux(track.encode(piece))
        for stream in (film, track):
            if stream is not None:
                out.mux(stream.encode())
    return path


def pieces(context, seconds: float, hertz: float, rate: int, quiet: float) -> list[av.AudioFrame]:
    """The sound of a recording in frames that an encoder takes."""
    wave = 0.2 * tone(seconds, hertz, rate) + click(seconds, 2.5, rate)
    if quiet:
        noise = np.random.default_rng(0).normal(0, 0.2, wave.shape)
        wave = np.where(np.arange(wave.shape[1]) < quiet * rate, 0.001 * wave, wave + noise)
    frame = av.AudioFrame.from_ndarray(wave.astype(np.float32), format="fltp", layout="mono")
    frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), 0
    resampler = av.AudioResampler(context.format, context.layout, rate, frame_size=context.frame_size or 1024)
    return [*resampler.resample(frame), *resampler.resample(None)]


def join(path: Path, *parts: Path) -> Path:
    """What `cat` makes of some files."""
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def numbers(path: Path, start: float, duration: float, frames: int = FRAMES) -> list[int]:
    """The numbers that a window of a recording shows."""
    reading = VideoReader(frames=frames, size=64).read(str(path), float(start), duration)
    return [number(picture) for picture in reading.values.numpy()]


def shows(path: Path, start: float, duration: float, *, first: int = 0, rate: int = RATE, slack: float = 0.002) -> bool:
    """Whether each frame of a window is the one on display; either neighbour, less than `slack` from a change."""
    moments = [start + duration * (i + 0.5) / FRAMES for i in range(FRAMES)]
    return all(
        found in {first + int((moment + away) * rate) for away in (-slack, slack)}
        for found, moment in zip(numbers(path, start, duration), moments, strict=True)
    )


def pitch(path: Path, start: float, duration: float) -> float:
    """The frequency in Hz that is loudest in a window."""
    reading = AudioReader(rate=16000).read(str(path), float(start), duration)
    assert reading is not None
    spectrum = np.abs(np.fft.rfft(reading.values.numpy() * np.hanning(len(reading.values))))
    return float(spectrum[20:].argmax() + 20) / duration


def clicks(path: Path, start: float, duration: float) -> float:
    """The second at which a window is loudest."""
    reading = AudioReader(rate=16000).read(str(path), float(start), duration)
    assert reading is not None
    return start + float(np.abs(reading.values.numpy()).argmax()) / 16000


def blocks(path: Path, size: int) -> Sequence[bytes]:
    """The packets of an MPEG transport stream."""
    data = path.read_bytes()
    return [data[place : place + size] for place in range(0, len(data), size)]
