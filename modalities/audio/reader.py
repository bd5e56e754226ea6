"""Audio: the sound of a recording over a time window, mono, at one sampling rate."""

from __future__ import annotations

from math import gcd
from typing import Any

import numpy as np
import torch
from einops import rearrange

from modalities.audio.contents import SoundContents
from modalities.errors import SampleError
from modalities.files.cache import remembered
from modalities.files.decoding import decode
from modalities.files.extent import assumed, lasting
from modalities.files.media import kind_of, opened, sound, video_stream
from modalities.files.truncated import REMEDY, states_length
from modalities.reader import Reader, Reading

PREROLL = 0.5  # seconds decoded before the window: lossy codecs overlap frames
RESERVOIR = 3.0  # seconds in MP3, where a frame may hold bits of those before it: many, where they are small
SLACK = 0.005  # seconds; stamps that stray less than this only say that the container rounds them
SHORT = 0.15  # seconds that may lack at the end of what is stated: codecs pad, and frames last up to 0.13 s
SILENCE = 1e-5  # peak below which a track counts as absent (16-bit sound has 3e-5 as its smallest step)


class AudioReader(Reader):
    """Reads the sound of any media file, also a video's track, sample-accurately: sample i sounds at start + i / rate.

    Channels are averaged; stretches without samples are zeros; sound that is silent throughout is absent. In a video,
    second 0 is its first frame.

    Args:
        rate: samples per second of what is read (whatever the file has is resampled).
    """

    def __init__(self, *, rate: int = 16000):
        if rate < 1:
            raise ValueError(f"audio rate={rate}: expected samples per second, e.g. 16000")
        self.rate = rate

    def seconds(self, source: Any) -> float | None:
        return lasting(source, "audio")

    def describe(self, source: Any) -> dict[str, Any]:
        found = facts(source)
        return {"seconds": self.seconds(source), **found} if found else {}

    def read(self, source: Any, start: float, duration: float) -> Reading | None:
        count, first, stop = round(self.rate * duration), round(self.rate * start), start + duration
        with opened(source) as container:
            if (track := sound(container)) is None:
                if video_stream(container) is None:
                    raise SampleError(source, "has neither sound nor pictures", "name a recording, or drop the row")
                return None
            pieces, rate = [], 0
            before = RESERVOIR if track.codec_context.name.startswith("mp3") else PREROLL
            for time, frame in decode(container, track, max(start - before, 0.0)):
                if rate not in (0, frame.sample_rate):
                    raise SampleError(source, f"changes its sampling rate at {time:.2f} s", "re-encode it")
                rate = frame.sample_rate
                if time > start + duration + PREROLL:
                    break
                piece = mono(frame.to_ndarray(), len(frame.layout.channels), frame.format.is_planar)
                if not np.isfinite(piece).all():
                    remedy = "write the sound again, or drop the row"
                    raise SampleError(source, f"its samples are no finite numbers at {time:.2f} s", remedy)
                pieces.append((time, piece))
            if not pieces and (
                start < (stated := lasting(source, "audio") or 0.0) or not (stated or video_stream(container))
            ):
                raise SampleError(source, f"no sound can be decoded from {start:.2f} s", "re-encode it or drop the row")
            ended = max((time + len(samples) / rate for time, samples in pieces), default=stop)
            stated = lasting(source, "audio") or 0.0 if ended < stop - SHORT else 0.0
            if ended < stated - SHORT and states_length(container):
                reason = f"states a sound of {stated:.2f} s, but nothing after {ended:.2f} s can be decoded"
                raise SampleError(source, reason, REMEDY)
        if not pieces:
            return None

        # Both grids meet every source/gcd samples of the file: starting there keeps the resampled grid exact.
        step = rate // gcd(rate, self.rate)
        begin = int((start - PREROLL) * rate) // step * step
        samples, end = laid_out(pieces, rate, begin, int((duration + 2 * PREROLL) * rate) + step)
        heard = min(max(int(end * self.rate / rate + 1e-6) - first, 0), count)
        samples = resampled(samples, rate, self.rate)[first - begin * self.rate // rate :][:heard]
        if np.abs(samples).max(initial=0.0) < SILENCE:
            return None
        values = torch.zeros(count)
        values[: len(samples)] = torch.from_numpy(samples)
        return Reading(values, len(samples), notes=assumed(source))

    def contents(self) -> SoundContents:
        return SoundContents()

    def blank(self, duration: float) -> Reading:
        return Reading(torch.zeros(round(self.rate * duration)), 0)


@remembered
def facts(source: Any) -> dict[str, Any]:
    """Facts about the sound of a file from its headers; empty if it has none."""
    with opened(source) as container:
        track = sound(container)
        if track is None:
            return {}
        context = track.codec_context
        return {
            "rate": context.sample_rate, "channels": context.channels, "codec": context.name,
            "container": kind_of(container),
        }  # fmt: skip


def mono(samples: np.ndarray, channels: int, planar: bool) -> np.ndarray:
    """The mean of the channels of one decoded frame, as float32 with full scale 1."""
    if not planar:
        samples = rearrange(samples, "1 (s c) -> c s", c=channels)
    if samples.dtype == np.uint8:
        samples = (samples.astype(np.float32) - 128) / 128
    elif samples.dtype.kind == "i":
        samples = samples / np.float32(-float(np.iinfo(samples.dtype).min))
    with np.errstate(all="ignore"):  # what is not finite is refused afterwards
        return samples.mean(0, dtype=np.float32)


def laid_out(pieces: list[tuple[float, np.ndarray]], rate: int, begin: int, count: int) -> tuple[np.ndarray, int]:
    """Decoded pieces at their places on the recording's grid of samples, cut to [begin, begin + count).

    Pieces that follow each other closely enough are one run, placed by the mean of their stamps: rounding averages out.
    Returns the samples, zero in gaps, and the index on the grid at which the last piece ends.
    """
    runs: list[tuple[list[float], list[np.ndarray]]] = []
    after, size = -np.inf, 0
    for time, piece in pieces:
        if abs(time - after) > SLACK:
            runs.append(([], []))
            size = 0
        origins, run = runs[-1]
        origins.append(time * rate - size)
        run.append(piece)
        size += len(piece)
        after = (origins[0] + size) / rate

    samples, end = np.zeros(count, dtype=np.float32), 0
    for origins, run in runs:
        place, whole = round(sum(origins) / len(origins)), np.concatenate(run)
        end = place + len(whole)
        low, high = max(place, begin), min(end, begin + count)
        if low < high:
            samples[low - begin : high - begin] = whole[low - place : high - place]
    return samples, end


def resampled(samples: np.ndarray, old: int, new: int) -> np.ndarray:
    """Samples at another rate; the first of both sounds at the same moment."""
    if old == new:
        return samples
    from av import AudioFrame, AudioResampler

    frame = AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
    frame.sample_rate = old
    resampler = AudioResampler(format="fltp", layout="mono", rate=new)
    return np.concatenate([out.to_ndarray()[0] for step in (frame, None) for out in resampler.resample(step)])
