"""Labels: one spelling in every format, names in a sensible order, and nothing else where one kind is asked for."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import datasets
import numpy as np
import pytest

from mmmae.data.classes import Classes, LabelSet
from mmmae.data.labels import cell, measured, ordered, parsed
from mmmae.data.manifest import Manifest
from mmmae.data.measurements import Numbers
from mmmae.data.targets import batched, unlabelled
from mmmae.objectives.classification import Classification
from modalities.errors import InputError


@pytest.mark.parametrize(
    ("labels", "texts"),
    [
        (["run", "walk", None], ["run", "walk", None]),
        ([11, 2, -1], ["11", "2", "-1"]),
        ([36.6, 37.0, 0.5], ["36.6", "37", "0.5"]),
        ([["a", "b"], ["b"], ["a, c", 'd"']], ['["a", "b"]', '["b"]', '["a, c", "d\\""]']),
        ([1700000000, 1700000001, 9007199254740993], ["1700000000", "1700000001", "9007199254740993"]),
    ],
)
def test_a_label_does_not_depend_on_the_format(tmp_path, labels, texts):
    rows = [{"id": str(n), "text": "x", "label": label} for n, label in enumerate(labels)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    with open(tmp_path / "rows.csv", "w", newline="") as file:
        sheet = csv.DictWriter(file, list(rows[0]))
        sheet.writeheader()
        spelled = lambda label: json.dumps(label) if isinstance(label, list) else label  # noqa: E731
        sheet.writerows(row | {"label": spelled(row["label"])} for row in rows)
    datasets.Dataset.from_list(rows).to_parquet(tmp_path / "rows.parquet")
    for suffix in ("jsonl", "json", "csv", "parquet"):
        assert Manifest.open(tmp_path / f"rows.{suffix}").texts() == texts, suffix


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (11.0, "11"), ("11.0", "11"), ("11.00", "11"), (np.int64(3), "3"), (np.float32(0.5), "0.5"), ("007", "007"),
        (" run ", "run"), ("-0.0", "0"), (True, "true"), (["b", 1.0, None], '["b", "1", null]'), ("[b", "[b"),
        ('["a"]', '["a"]'), (np.array([1, 2]), '["1", "2"]'),
        ([np.int64(4), "b"], '["4", "b"]'), ((0.25, math.nan), '["0.25", null]'), ([], "[]"),
    ],
)  # fmt: skip
def test_a_label_has_one_spelling(value, text):
    assert cell(value) == text and cell(text) == text
    assert isinstance(parsed(text), list) == (text.startswith("[") and text != "[b")


@pytest.mark.parametrize("value", [{"a": 1}, math.inf, [["a"]], object()])
def test_what_is_no_label_is_refused(value):
    with pytest.raises(ValueError, match="a name, a number"):
        cell(value)


def test_whole_numbers_are_ordered_by_value():
    assert ordered(["10", "9", "0", "-2"]) == ("-2", "0", "9", "10")
    assert ordered(["10", "9", "a"]) == ("10", "9", "a")
    assert Classes.plain([str(n) for n in range(12)]).names == tuple(str(n) for n in range(12))


def described(folder: Path, labels: list) -> Manifest:
    rows = [{"id": str(n), "text": "x", "label": label} for n, label in enumerate(labels)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Manifest.open(folder / "rows.jsonl")


@pytest.mark.parametrize(
    "labels",
    [
        [36.6 + n / 7 for n in range(48)],
        [36.5, 36.6, 36.5, 37.0],
        [0.5 * n for n in range(30)] * 20,
        ["36,6", "37,1", "36,9", "38,2"],
        ["1e-3", "2.5", "3.5"],
    ],
)
def test_a_measurement_is_no_class(tmp_path, labels):
    with pytest.raises(InputError, match=r"holds numbers.*different ones(.|\n)*--target regression"):
        Classification.survey({}, described(tmp_path, labels))


@pytest.mark.parametrize("labels", [[0.5, 1.0, 1.5] * 10, ["v1.5", "v2.5"], [3, 900, 14, 7], [2, 2, 5]])
def test_few_or_whole_numbers_are_names(tmp_path, labels):
    found = described(tmp_path, labels)
    assert set(Classification.survey({}, found)["classes"]) == set(found.labels)
    assert not measured(found.texts())


def test_a_class_for_nearly_every_row_is_told(tmp_path):
    found = described(tmp_path, [1000 + 7 * n for n in range(30)])
    assert "30 different labels in 30 rows" in Classes.of(found).notes(found)[0]
    few = described(tmp_path, [n % 3 for n in range(30)])
    assert Classes.of(few).notes(few) == []
    some = described(tmp_path, ["a", "b", -1, None])
    assert Classes.of(some).notes(some) == ["2 of 4 rows have no label (-1 counts as none)"]


@pytest.mark.parametrize(
    ("target", "labels", "says"),
    [
        (Classes, ["a", ["b", "c"]], r"line 2: column 'label' holds the list \[\"b\", \"c\"\](.|\n)*multilabel"),
        (Classes, [[1.5], [2.5]], r"holds the list"),
        (LabelSet, ["dog;cat", "dog"], r"line 1: .*'dog;cat'(.|\n)*\[\"dog\", \"cat\"\]"),
        (LabelSet, ["dog|cat", "cat"], r"where a list of labels is asked for"),
        (LabelSet, [36.6, 36.7, 36.8], r"--target regression"),
        (Numbers, [1.5, "tall"], r"line 2: .*'tall'(.|\n)*--target class"),
        (Numbers, ["36,6", "36,7"], r"'36,6'"),
        (Numbers, [[1, 2], [3, 4, 5]], r"line 2: .*holds 3 numbers, other rows 2"),
        (Numbers, [2.5, 2.5], r"always 2.5"),
        (Numbers, [[1, 5], [2, 5]], r"number 1 of the labels is always 5"),
        (Numbers, [None, None], r"no row to learn from has a label"),
    ],
)
def test_labels_of_another_kind_are_refused_with_the_remedy(tmp_path, target, labels, says):
    with pytest.raises(InputError, match=says):
        target.of(described(tmp_path, labels))


def test_each_target_encodes_in_its_own_way(tmp_path):
    found = described(tmp_path, ["b", None, -1, "a"])
    assert [row.label for row in found.aimed(Classes.of(found))] == [1, None, None, 0]
    sets = described(tmp_path, [["x", "y"], [], None, "y", ["x", None]])
    target = LabelSet.of(sets)
    assert target.names == ("x", "y")
    assert [row.label for row in sets.aimed(target)] == [(1, 1), (0, 0), None, (0, 1), (1, 0)]
    numbers = described(tmp_path, [[1, 10], [3, None], None, [5, -10], -1][:4])
    target = Numbers.of(numbers)
    assert target.means == (3, 0) and target.deviations == (pytest.approx((8 / 3) ** 0.5), 10)
    rows = [row.label for row in numbers.aimed(target)]
    assert rows[0] == (pytest.approx(-(1.5**0.5)), 1) and math.isnan(rows[1][1]) and rows[2] is None
    batch = batched(rows)
    assert unlabelled(batch).tolist() == [False, False, True, False] and batch.dtype.is_floating_point
    assert unlabelled(batched([1, None, 0])).tolist() == [False, True, False] and batched([None]) is None


def test_a_large_number_loses_no_digits(tmp_path):
    found = described(tmp_path, [1700000000 + n for n in range(4)])
    target = Numbers.of(found)
    values = batched([row.label for row in found.aimed(target)]).double().numpy()
    np.testing.assert_allclose(target.restore(values)[:, 0] - 1700000000, range(4), atol=1e-5)


def test_embedding_keeps_lists_of_labels(tmp_path):
    from mmmae.commands.embed import listing

    row = {"id": "a", "label": '["x", "y"]', "text": None}
    assert listing(row, tmp_path / "a.safetensors")["label"] == ["x", "y"]
    assert listing(row | {"label": None}, tmp_path / "a.safetensors")["label"] is None


def test_rows_of_a_recipe_with_other_classes_are_refused_by_name(tmp_path):
    found = described(tmp_path, ["run", "walk", "sit", "run"])
    assert Classification.survey({"classes": ["walk", "run", "sit", "lie"]}, found)["classes"][0] == "walk"
    with pytest.raises(InputError, match=r"line 3: .*'sit', which is none of the recipe's classes \(walk, run\)"):
        Classification.survey({"classes": ["walk", "run"]}, found)
    assert Classification.survey({"classes": 3}, found)["classes"] == ["run", "sit", "walk"]
    with pytest.raises(InputError, match="has 3 labels, the recipe says classes=4"):
        Classification.survey({"classes": 4}, found)
    numbered = described(tmp_path, [0, 3, 1])
    assert Classification.survey({"classes": 4}, numbered)["classes"] == ["0", "1", "2", "3"]
