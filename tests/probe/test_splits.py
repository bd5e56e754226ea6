"""Splits, shots, folds and rounds: no group and no recording is on two sides, every row is where it should be."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from people import invented, write

from mmmae.data.classes import Classes
from mmmae.data.manifest import Manifest
from mmmae.probe.splits import divided, split
from modalities.errors import InputError


@st.composite
def manifests(draw) -> list[dict]:
    size = draw(st.integers(8, 30))
    some = lambda values: draw(st.lists(values, min_size=size, max_size=size))  # noqa: E731
    names = st.sampled_from(["a", "b", "c", "d", "e", None, None])
    files = [f"{name}.csv" for name in some(st.integers(0, 20))]
    rows = [
        {"id": f"row {n}", "imu": file, "group": group, "label": label}
        for n, (file, group, label) in enumerate(
            zip(files, some(names), some(st.sampled_from(["x", "y", -1, None])), strict=True)
        )
    ]
    if draw(st.booleans()):
        sides = {name: draw(st.sampled_from(["train", "test"])) for name in "abcde"}
        rows = [{**row, "imu": f"{row['id']}.csv", "split": sides[row["group"] or "a"]} for row in rows]
    return rows


@given(manifests(), st.integers(0, 3))
@settings(max_examples=20)
def test_no_group_and_no_recording_crosses_a_split(rows, seed):
    labels = np.array([{"x": 0, "y": 1}.get(row["label"], -1) for row in rows])
    empty = dict.fromkeys(["split", "start", "end", "place"])
    try:
        found = divided(
            [empty | row | {"files": {row["imu"]} - {None}} for row in rows], labels, Classes(("x", "y")), 0.3, "rows"
        )
    except InputError as error:  # too few groups, or nothing to learn
        assert "class" in str(error) or "no row to" in str(error)
        return
    train, validation = found.parts(seed)
    parts = {int(index): n for n, part in enumerate((train, validation, found.test)) for index in part}
    assert len(parts) == len(train) + len(validation) + len(found.test) and len(validation)
    assert set(parts) == {n for n, row in enumerate(rows) if row["label"] not in (None, -1)}
    single = any("one training group" in note for note in found.notes)
    for column in ("imu", "group"):
        sides: dict[str, set[int]] = {}
        for index, part in parts.items():
            if (name := rows[index][column]) is not None:
                sides.setdefault(name, set()).add(part if column == "imu" or not single else part // 2)
        assert all(len(found) == 1 for found in sides.values()), column


def test_the_column_split_decides_and_is_doubted_where_it_divides(tmp_path):
    sides, groups = ["train"] * 8 + ["test"] * 4, "aaaabbbbaaaa"
    rows = [
        {"id": f"{n}", "imu": f"{n}.csv", "label": "xy"[n % 2], "split": sides[n], "group": groups[n]}
        for n in range(12)
    ]
    found = split(Manifest.open(write(tmp_path, rows), bad=1.0), 0.3)
    assert found.test.tolist() == [8, 9, 10, 11] and "divides groups (a)" in found.notes[0]
    rows[9] |= {"imu": "3.csv", "start": 1.0, "end": 2.0}
    rows[3] |= {"start": 1.5, "end": 3.0}
    with pytest.raises(InputError, match=r"line 4 and line 10.*3\.csv"):
        split(Manifest.open(write(tmp_path, rows), bad=1.0), 0.3)
    rows[3] |= {"start": 2.0}
    split(Manifest.open(write(tmp_path, rows), bad=1.0), 0.3)


@given(st.integers(0, 50), st.lists(st.integers(1, 60), min_size=2, max_size=5, unique=True))
def test_shots_are_nested(seed, shots):
    rows = invented()
    before: set[int] = set()
    for k in sorted(shots):
        found = rows.shots(rows.train, k, seed)
        counts, whole = Counter(rows.labels[found]), Counter(rows.labels[rows.train])
        assert all(counts[label] == min(k, whole[label]) for label in whole)
        assert before <= set(found.tolist()) <= set(rows.train.tolist())
        before = set(found.tolist())
    few = {tuple(rows.shots(rows.train, 5, other)) for other in range(5)}
    assert len(few) == 5


@given(st.integers(2, 12))
def test_folds_test_every_row_once_and_divide_no_group(count):
    rows = invented()
    folds = rows.folds(count)
    assert len(folds) == min(count, len({rows.units[index] for index in [*rows.train, *rows.test]}))
    assert sorted(index for fold in folds for index in fold.test) == sorted([*rows.train, *rows.test])
    for fold in folds:
        assert sorted([*fold.train, *fold.test]) == sorted([*rows.train, *rows.test])
        assert not {rows.units[index] for index in fold.train} & {rows.units[index] for index in fold.test}


def test_folds_need_no_row_that_training_held_out(people):
    manifest = Manifest.open(people, bad=1.0)
    with pytest.raises(InputError, match="no row to test on"):
        split(manifest, 0.0)
    rows, usual = split(manifest, 0.0, tested=False), split(manifest, 0.3)
    assert [fold.test.tolist() for fold in rows.folds(9)] == [fold.test.tolist() for fold in usual.folds(9)]


def test_every_unit_is_in_the_validation_part_of_one_round():
    rows = invented()
    for seed in range(3):
        rounds = rows.rounds(seed)
        assert len(rounds) == min(5, len({rows.units[index] for index in rows.train}))
        assert all(np.array_equal(a, b) for a, b in zip(rounds[0], rows.parts(seed), strict=True))
        assert sorted(np.concatenate([held for _, held in rounds]).tolist()) == sorted(rows.train.tolist())
        for train, held in rounds:
            assert {rows.units[i] for i in train}.isdisjoint({rows.units[i] for i in held}) and len(train) and len(held)
