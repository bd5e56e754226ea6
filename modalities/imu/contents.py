"""What is worth knowing of the readings of a recording, channel by channel: gaps, and what never changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from modalities.reader import Contents, Doubt, Reading

AXES = ("ax", "ay", "az", "gx", "gy", "gz")  # channels where the recipe names none
STILL = 1e-6  # of the largest value: changes that are only rounding


class SensorContents(Contents):
    """Gaps and constant channels of readings (t, sensors, channels) at `rate` ticks per second.

    sensors: their names, or how many there are; channels: likewise.
    """

    units: ClassVar[dict[str, str]] = {"unobserved": "%", "longest gap": "s"}
    doubts: ClassVar[dict[str, Doubt]] = {
        "constant": Doubt(
            "have channels that never change", "a sensor was off or at rest: drop the rows, or the sensor"
        ),
    }

    def __init__(self, rate: float, sensors: int | Sequence[str], channels: int | Sequence[str]):
        self.rate, self.names = rate, named(sensors, channels)
        count = len(self.names)
        self.low, self.high = np.full(count, np.inf), np.full(count, -np.inf)
        self.seen, self.ticks = np.zeros(count, dtype=int), 0
        self.since, self.longest = np.zeros(count, dtype=int), np.zeros(count, dtype=int)  # ticks without a reading
        self.end: float | None = None  # of what was looked at, in seconds
        self.window = 0.0

    def add(self, reading: Reading | None, start: float) -> None:
        self.end = start if self.end is None else self.end
        if reading is None:  # nothing is observed
            self.pass_over(start + self.window)
            return
        self.window = len(reading.values) / self.rate
        self.pass_over(start)
        skip = max(round((self.end - start) * self.rate), 0)
        self.end = max(self.end, start + reading.length / self.rate)
        values = reading.values[skip : reading.length].numpy()
        if not len(values):
            return
        observed = np.ones(values.shape, dtype=bool)
        if reading.observed is not None:
            observed[:] = reading.observed[skip : reading.length].numpy()
        values, observed = (x.reshape(len(x), -1) for x in (values, observed))
        self.low = np.minimum(self.low, np.where(observed, values, np.inf).min(0))
        self.high = np.maximum(self.high, np.where(observed, values, -np.inf).max(0))
        self.ticks += len(values)
        self.seen += observed.sum(0)
        ticks = np.arange(len(values))[:, None]
        last = np.maximum.accumulate(np.where(observed, ticks, -1 - self.since), axis=0)
        self.longest = np.maximum(self.longest, (ticks - last).max(0))
        self.since = len(values) - 1 - last[-1]

    def pass_over(self, until: float) -> None:
        """Count what lies between the end of what was looked at and this second as unobserved."""
        assert self.end is not None  # `add` has set it
        ticks = max(round((until - self.end) * self.rate), 0)
        self.end, self.ticks, self.since = max(self.end, until), self.ticks + ticks, self.since + ticks
        self.longest = np.maximum(self.longest, self.since)

    def findings(self) -> dict[str, Any]:
        if not self.ticks:
            return {}
        there = self.seen > 0
        still = (
            there & (self.seen > 1) & (self.high - self.low <= STILL * np.maximum(np.abs(self.high), np.abs(self.low)))
        )
        gaps = 1 - self.seen / self.ticks
        found: dict[str, Any] = {
            "constant": frozenset(name for name, is_still in zip(self.names, still, strict=True) if is_still),
            "never observed": self.absent(there),
            "unobserved": {
                name: float(gap) for name, gap, here in zip(self.names, gaps, there, strict=True) if here and gap > 0
            },
        }
        if (longest := int(self.longest[there].max(initial=0))) > 0:
            found["longest gap"] = longest / self.rate
        return found

    def absent(self, there: np.ndarray) -> frozenset[str]:
        """Names of the channels without any reading, or of their sensor where it has none at all."""
        lost = {name for name, is_there in zip(self.names, there, strict=True) if not is_there}
        sensors = {name.rpartition(".")[0] for name in lost if "." in name} - {
            name.rpartition(".")[0] for name in self.names if name not in lost
        }
        return frozenset(sensor if (sensor := name.rpartition(".")[0]) in sensors else name for name in lost)


def named(sensors: int | Sequence[str], channels: int | Sequence[str]) -> list[str]:
    """Names of all channels of all sensors, sensor by sensor."""
    count = channels if isinstance(channels, int) else len(channels)
    if isinstance(channels, int):
        channels = AXES[:count] if count <= len(AXES) else [f"channel {number}" for number in range(count)]
    if sensors == 1 or (not isinstance(sensors, int) and len(sensors) == 1):
        return list(channels)
    sensors = [f"sensor {number}" for number in range(sensors)] if isinstance(sensors, int) else sensors
    return [f"{sensor}.{channel}" for sensor in sensors for channel in channels]
