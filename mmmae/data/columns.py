"""What the columns of a manifest hold: captions, labels, groups, and what its two sides share."""

from __future__ import annotations

import os
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

from modalities.errors import InputError

if TYPE_CHECKING:
    from mmmae.data.manifest import Manifest

NAMED = 1000  # labels and groups that a report names


def number(text: str) -> int:
    """A text as 64 bits: what is compared instead of a million texts."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


@dataclass
class Side:
    """Rows to train on, or held out. ids, captions, files: as numbers of 64 bits, 8 bytes each."""

    rows: int = 0
    ids: array = field(default_factory=lambda: array("Q"))
    captions: array = field(default_factory=lambda: array("Q"))
    files: array = field(default_factory=lambda: array("Q"))
    labels: Counter[str] = field(default_factory=Counter)
    groups: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, manifest: Manifest) -> Side:
        side, names = cls(), media(manifest)
        for row in manifest.columns("id", "label", "group", *names, *manifest.inline):
            side.rows += 1
            side.ids.append(number(row["id"]))
            for text in captions(manifest, row):
                side.captions.append(number(text))
            side.files.extend(number(path) for path in files(row, names))
            side.labels.update(named(row["label"]))
            side.groups.update(named(row["group"]))
        return side


@dataclass(frozen=True)
class Columns:
    """Both sides of a manifest as training divides it, and all rows."""

    manifest: Manifest
    train: Side
    test: Side

    @classmethod
    def of(cls, manifest: Manifest, holdout: float) -> Columns:
        try:
            train, test = manifest.split(holdout)
        except InputError:  # every row is marked as test: training will refuse it
            train, test = manifest.select([]), manifest
        return cls(manifest, Side.of(train), Side.of(test))

    def repeats(self, kind: str) -> Repeats:
        """How often captions, files or ids stand there more than once."""
        sides = (getattr(side, kind) for side in (self.train, self.test))
        return Repeats.of(np.concatenate([np.frombuffer(side, dtype=np.uint64) for side in sides]))

    @property
    def labels(self) -> Counter[str]:
        return self.train.labels + self.test.labels

    @property
    def groups(self) -> Counter[str]:
        return self.train.groups + self.test.groups

    def tree(self) -> dict[str, Any]:
        """All of it for JSON."""
        captions = self.repeats("captions")
        return {
            "captions": {"count": captions.count, "different": captions.different, "repeated": captions.repeated},
            "labels": dict(self.labels.most_common(NAMED)), "groups": dict(self.groups.most_common(NAMED)),
            "train": self.train.rows, "test": self.test.rows,
        }  # fmt: skip

    def shared(self, kind: str) -> tuple[int, int, str]:
        """How many different captions or files stand on both sides, how often on the test side, and the first."""
        train, test = (np.frombuffer(getattr(side, kind), dtype=np.uint64) for side in (self.train, self.test))
        both = np.intersect1d(train, test)
        often = int(np.isin(test, both).sum())
        return len(both), often, self.first(kind, set(both[:1].tolist())) if len(both) else ""

    def first(self, kind: str, numbers: set[int]) -> str:
        """The first caption, file or id that has one of these numbers."""
        names = media(self.manifest)
        for row in self.manifest.columns("id", *names, *self.manifest.inline):
            texts = {"captions": captions(self.manifest, row), "files": files(row, names), "ids": [row["id"]]}[kind]
            for text in texts:
                if number(text) in numbers:
                    return text
        return ""


@dataclass(frozen=True)
class Repeats:
    """Texts, of which some are equal. count: of all; different; repeated: that are not the only one of their kind.

    most: how often the commonest stands there, and its number.
    """

    count: int
    different: int
    repeated: int
    most: tuple[int, int]

    @classmethod
    def of(cls, numbers: np.ndarray) -> Repeats:
        values, counts = np.unique(numbers, return_counts=True)
        if not len(values):
            return cls(0, 0, 0, (0, 0))
        best = int(counts.argmax())
        return cls(len(numbers), len(values), int(counts[counts > 1].sum()), (int(counts[best]), int(values[best])))


def media(manifest: Manifest) -> list[str]:
    """The columns that name the files of the modalities that there are."""
    return [name for name in manifest.modalities if name in manifest.media]


def captions(manifest: Manifest, row: dict[str, Any]) -> Iterator[str]:
    return (text.strip() for text in manifest.texts_of(row))


def files(row: dict[str, Any], columns: Iterable[str]) -> set[str]:
    return {os.path.normpath(row[name]) for name in columns if isinstance(row[name], str)}


def named(cell: Any) -> list[str]:
    """A cell as names: those of a list, of one value, or none."""
    values = cell if isinstance(cell, (list, tuple)) else [cell]
    return [str(value) for value in values if value is not None]
