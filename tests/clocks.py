"""Recordings that are clocks: text files that say how long they last, and a reader that tells the time in them."""

from __future__ import annotations

import json

import torch

from mmmae.data.clips import Clips
from mmmae.data.manifest import Manifest
from modalities.errors import SampleError
from modalities.reader import Reader, Reading
from modalities.records import Batch

RATE = 8


class Clock(Reader):
    """Reads a file that says how many seconds it lasts; step i of what is read holds its own time in the recording."""

    def __init__(self, *, pads: bool = True, observed: bool = False):
        self.pads, self.observed = pads, observed

    def seconds(self, source):
        path = source["path"] if isinstance(source, dict) else source
        with open(path) as file:
            text = file.read()
        if text == "broken":
            raise SampleError(path, "cannot be decoded", "Mend it.")
        return float(text)

    def read(self, source, start, duration):
        seconds = self.seconds(source)
        if seconds <= start:
            return None
        if not self.pads and seconds < start + duration:
            raise SampleError(source, f"lasts {seconds:g} s, too short for the window", "Shorten the window.")
        time = start + torch.arange(round(duration * RATE)) / RATE
        inside = time < seconds
        observed = inside[:, None, None] if self.observed else None
        edges = torch.eye(1) if isinstance(source, dict) and source["edges"] else None
        return Reading(time * inside, int(inside.sum()), observed, edges)

    def blank(self, duration):
        steps = round(duration * RATE)
        return Reading(torch.zeros(steps), 0, torch.zeros(steps, 1, 1, dtype=torch.bool) if self.observed else None)


class Letters(Reader):
    """Reads the first three characters of a caption, which has no time."""

    def seconds(self, source):
        return None

    def read(self, source, start, duration):
        codes = [ord(letter) for letter in source[:3]]
        return Reading(torch.tensor(codes + [0] * (3 - len(codes))), len(codes))

    def blank(self, duration):
        return Reading(torch.zeros(3, dtype=torch.int64), 0)


def recordings(folder, count=12, **columns):
    """Recordings of 4 s and more, and a manifest of them."""
    for i in range(count):
        (folder / f"{i}.mp4").write_text(str(4 + i))
    rows = [{"id": f"r{i}", "video": f"{i}.mp4", "text": f"t{i}"} for i in range(count)]
    return write(folder, [row | {name: values[i] for name, values in columns.items()} for i, row in enumerate(rows)])


def write(folder, rows, name="manifest.jsonl"):
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / name


def clips(path, window=2.0, **settings):
    return Clips(Manifest.open(path), {"video": Clock(pads=False), "text": Letters()}, window=window, **settings)


def assert_same(one: Batch, other: Batch):
    assert list(one) == list(other) and one.ids == other.ids and torch.equal(one.key, other.key)
    for m in one:
        for name, values in vars(one[m]).items():
            twin = getattr(other[m], name)
            same = torch.equal(values, twin) if isinstance(values, torch.Tensor) else values == twin
            assert same, (m, name)
