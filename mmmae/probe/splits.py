"""Training, validation and test splits of a manifest that divide no group and no recording."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mmmae.data.classes import Classes
from mmmae.data.columns import files
from mmmae.data.measurements import Numbers
from mmmae.data.targets import Target
from modalities.errors import InputError
from modalities.noise import mix

if TYPE_CHECKING:
    from mmmae.data.manifest import Manifest

VALIDATION = 0.2  # share of the training groups that select


@dataclass(frozen=True)
class Split:
    """Rows of a manifest that have a label, by their index.

    labels: of the whole manifest: numbers of classes (rows,), -1 for rows that have none; or a number for each output
        of the target (rows, outputs), NaN where it is missing.
    target: how labels are interpreted; its names are those of the outputs.
    train, test: the rows of each side. units: (rows,) what may not be divided among train and validation.
    notes: for the user, on how the split was made.
    """

    labels: np.ndarray
    target: Target
    train: np.ndarray
    test: np.ndarray
    units: list[str]
    notes: list[str]

    @property
    def classes(self) -> list[str]:
        """The names of the outputs."""
        return list(self.target.names)

    def parts(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """The training rows without the validation part, and that part: a fifth of the units, drawn by the seed."""
        return self.rounds(seed)[0]

    def rounds(self, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """`parts`, with each fifth of the units in turn as the validation part; the last takes what is left over."""
        names = drawn({self.units[index] for index in self.train}, f"validation/{seed}")
        size = max(1, round(VALIDATION * len(names)))
        last = min(round(1 / VALIDATION), len(names)) - 1
        place = {name: min(number // size, last) for number, name in enumerate(names)}
        part = np.array([place[self.units[index]] for index in self.train])
        return [(self.train[part != number], self.train[part == number]) for number in range(last + 1)]

    def folds(self, count: int) -> list[Split]:
        """Splits for cross-validation over all labelled rows: `count` test parts that divide no unit.

        As many as there are units, or more, leave one out at a time; of fewer, a hash decides what goes together.
        """
        known = np.sort(np.concatenate([self.train, self.test]))
        names = drawn({self.units[index] for index in known}, "folds")
        place = {name: number % min(count, len(names)) for number, name in enumerate(names)}
        part = np.array([place[self.units[index]] for index in known])
        return [
            replace(self, train=known[part != number], test=known[part == number]).standardised("a fold")
            for number in range(min(count, len(names)))
        ]

    def standardised(self, where: str) -> Split:
        """The same rows, numbers in units of the deviation of those to learn from; `where` they are from."""
        if not isinstance(self.target, Numbers):
            return self
        return replace(self, target=Numbers.about(self.labels[self.train], where))

    def shots(self, rows: np.ndarray, k: int, seed: int) -> np.ndarray:
        """At most k rows of each class; those of a smaller k are among those of a larger one."""
        found = []
        for label in np.unique(self.labels[rows]):
            mine = rows[self.labels[rows] == label]
            found += [int(index) for index in drawn(map(str, mine), f"shots/{seed}")[:k]]
        return np.array(sorted(found), dtype=int)


def drawn(names: Iterable[str], purpose: str) -> list[str]:
    """The names in an order that a hash of each and of the purpose decides, so that it does not hang on the others."""
    return sorted(names, key=lambda name: (mix(zlib.crc32(f"{purpose}/{name}".encode())), name))


def split(
    manifest: Manifest, share: float, target: Target | None = None, *, tested: bool = True, learned: bool = True
) -> Split:
    """The labelled rows of a manifest, in two parts: by its column `split`, else as training holds them out.

    Rows of one group, and rows of one file, stay together. Where the column `split` itself divides groups, or leaves
    a single one to train on, the recordings alone are kept whole, and the notes say so.

    Args:
        share: of the rows to test on where there is no column `split`.
        target: how labels are interpreted; by default as classes of the manifest.
        tested: whether the test part is used: cross-validation divides all rows anew and needs none.
        learned: whether the training part is used: what was trained before only needs a test.

    Raises:
        InputError: there are too few labels or groups, or the column `split` puts the same seconds on both sides.
    """
    rows = [
        {**row, "files": files(row, manifest.media)}
        for row in manifest.columns("id", "label", "group", "split", "start", "end", "place", *manifest.media)
    ]
    target = Classes.of(manifest) if target is None else target
    labels = truths(target, manifest.texts())
    found = divided(rows, labels, target, share, str(manifest.path), tested, learned)
    found = replace(found, notes=[*target.notes(manifest), *found.notes])
    return found.standardised(str(manifest.path)) if learned and tested else found


def divided(
    rows: Sequence[dict[str, Any]],
    labels: np.ndarray,
    target: Target,
    share: float,
    where: str,
    tested: bool = True,
    learned: bool = True,
) -> Split:
    """See `split`; `where` the rows come from, for messages. Of each row `files` holds the paths of its recording."""
    known = np.flatnonzero(labelled(labels))
    notes = []
    units = together(rows, groups=True)
    if any(row["split"] for row in rows):
        test = np.array([row["split"] == "test" for row in rows])
        require_apart(rows, test, where)
        if divided := divides([row["group"] for row in rows], test, known):
            notes.append(f"the column 'split' divides groups ({divided}): they are not kept together")
            units = together(rows, groups=False)
    else:
        test = held_out(units, share)
    train, test = known[~test[known]], known[test[known]]
    if learned and len({units[index] for index in train}) < 2:
        units = together(rows, groups=False)
        notes.append("there is one training group: the validation part is other recordings of the same")
    for side, part, used in (("train", train, learned), ("test", test, tested)):
        if not len(part) and used:
            raise InputError(f"{where}: no row to {side} on has a label\n  fill the columns 'label', 'split'")
    if learned and (len(np.unique(labels[train], axis=0)) < 2 or len({units[index] for index in train}) < 2):
        what = "class" if target.kind == "class" else "label"
        raise InputError(
            f"{where}: the training rows have one {what}, or are one recording\n"
            "  mark more with the columns 'label' and 'split'"
        )
    return Split(labels, target, train, test, units, notes)


def truths(target: Target, texts: Sequence[str | None]) -> np.ndarray:
    """The ground truth of each row, see `Split.labels`."""
    found = [None if text is None else target.truth(text) for text in texts]
    if target.kind == "class":
        return np.array([-1 if label is None else label for label in found], dtype=int)
    absent = (np.nan,) * len(target.names)
    return np.array([absent if label is None else label for label in found], dtype=float)


def labelled(labels: np.ndarray) -> np.ndarray:
    """Which rows have a label."""
    return labels >= 0 if labels.ndim == 1 else np.logical_not(np.isnan(labels).all(1))


def together(rows: Sequence[dict[str, Any]], *, groups: bool) -> list[str]:
    """The unit that each row belongs to, which may not be divided: its group, else its file, else the row itself."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    keys: dict[tuple[str, str], int] = {}
    links = []
    for number, row in enumerate(rows):
        named = [("file", path) for path in row["files"]]
        named += [("group", row["group"])] if groups and row["group"] is not None else []
        links += [(number, len(rows) + keys.setdefault(key, len(keys))) for key in named]
    size = len(rows) + len(keys)
    first, second = np.array(links, dtype=int).reshape(-1, 2).T
    _, part = connected_components(coo_array((np.ones(len(links)), (first, second)), (size, size)), directed=False)
    members: dict[int, list[int]] = defaultdict(list)
    for number in range(len(rows)):
        members[part[number]].append(number)
    names = {}
    for component, numbers in members.items():
        called = [rows[number]["group"] for number in numbers if groups and rows[number]["group"] is not None]
        names[component] = min(called) if called else min(rows[number]["id"] for number in numbers)
    return [names[part[number]] for number in range(len(rows))]


def held_out(units: Sequence[str], share: float) -> np.ndarray:
    """The test rows without a column `split`: those held out by the hash of their unit, as in training."""
    from mmmae.data.holdout import hold_out

    return np.array(hold_out(units, share), dtype=bool)


def divides(groups: Sequence[str | None], test: np.ndarray, known: np.ndarray) -> str:
    """The groups with rows on both sides, the first few of them."""
    sides: dict[str, set[bool]] = defaultdict(set)
    for index in known:
        if (group := groups[index]) is not None:
            sides[group].add(bool(test[index]))
    return ", ".join([group for group, both in sides.items() if len(both) > 1][:3])


def require_apart(rows: Sequence[dict[str, Any]], test: np.ndarray, where: str) -> None:
    """Refuse a column `split` that puts the same seconds of a file into training and test.

    Raises:
        InputError: names two such rows.
    """
    files: dict[str, list[tuple[float, float, int]]] = defaultdict(list)
    for number, row in enumerate(rows):
        for path in row["files"]:
            files[path].append((row["start"] or 0.0, np.inf if row["end"] is None else row["end"], number))
    for path, pieces in files.items():
        last = {False: (-np.inf, 0), True: (-np.inf, 0)}  # where the rows of each side end so far, and which is last
        for start, end, number in sorted(pieces):
            side = bool(test[number])
            if last[not side][0] > start + 1e-6:
                other = rows[last[not side][1]]["place"]
                raise InputError(
                    f"{where}, {rows[number]['place']} and {other}: the same seconds of {path} are "
                    "in the split 'train' and in 'test'\n  mark both rows alike"
                )
            last[side] = max(last[side], (end, number))
