"""Statistics of the sound of a recording for `mmmae check`: silence, level, clipping."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from modalities.reader import Contents, Doubt, Reading

FULL = 0.98  # of full scale, where clipped sound lies
FLAT = 1e-3  # between neighbouring samples of a peak that was cut off
CLIPPED = 0.002  # share of such samples: speech or music that was not clipped has next to none
QUIET = 0.01  # peak of sound that is 40 dB below full scale at its loudest


class SoundContents(Contents):
    """Level and faults of a waveform with full scale 1."""

    units: ClassVar[dict[str, str]] = {"level": "dB"}
    doubts: ClassVar[dict[str, Doubt]] = {
        "silent": Doubt(
            "are silent throughout", "they train without sound: look for a muted microphone, or drop the rows"
        ),
        "constant": Doubt("hold one value throughout", "no sound was recorded: record again, or drop the rows"),
        "quiet": Doubt("stay 40 dB below full scale", "the microphone was far or its gain low: amplify them"),
        "clipped": Doubt("are clipped", "peaks are cut off: record with less gain, or use the original files"),
    }

    def __init__(self):
        self.samples = self.flat = 0
        self.power = 0.0
        self.low, self.high = torch.inf, -torch.inf

    def add(self, reading: Reading | None, start: float) -> None:
        if reading is None or not reading.length:
            return
        wave = reading.values[: reading.length]
        low, high = wave.aminmax()
        self.low, self.high = min(self.low, float(low)), max(self.high, float(high))
        self.samples += len(wave)
        self.power += float(wave.double().square().sum())
        if max(-float(low), float(high)) >= FULL:
            loud = wave.abs()
            self.flat += int(((loud[1:] >= FULL) & ((loud[1:] - loud[:-1]).abs() < FLAT)).sum())

    def findings(self) -> dict[str, Any]:
        if not self.samples:
            return {"silent": True}
        peak = max(-self.low, self.high)
        level = 10 * torch.log10(torch.tensor(max(self.power / self.samples, 1e-12)))
        return {
            "level": round(float(level), 1),
            "constant": self.low == self.high,
            "quiet": self.low < self.high and peak < QUIET,
            "clipped": self.flat > CLIPPED * self.samples,
        }
