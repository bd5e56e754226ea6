"""The same rows give the same manifest from every format, and what is no name or number is refused alike."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pytest
from places import CASES

from mmmae.data.manifest import Manifest
from modalities.errors import InputError
from modalities.manifest.spelling import escaped, name, unescaped

FORMATS = ("csv", "tsv", "semicolons.csv", "jsonl", "json", "parquet", "saved", "frame", "dataset", "list", "mapping")
FILES = ("csv", "jsonl", "parquet", "frame", "dataset")


def as_format(folder: Path, rows: list[dict], form: str):
    """Rows as a file or an object in memory, as pandas writes and holds them."""
    frame = pd.DataFrame(rows)
    path = folder / f"rows.{form}"
    match form:
        case "csv" | "tsv" | "semicolons.csv":
            frame.to_csv(path, index=False, sep={"csv": ",", "tsv": "\t"}.get(form, ";"))
        case "jsonl":
            frame.to_json(path, orient="records", lines=True)
        case "json":
            path.write_text(json.dumps(rows))
        case "parquet":
            frame.to_parquet(path)
        case "saved":
            datasets.Dataset.from_pandas(frame).save_to_disk(path)
        case "frame":
            return frame
        case "dataset":
            return datasets.Dataset.from_pandas(frame)
        case "list":
            return rows
        case "mapping":
            return {column: list(frame[column]) for column in frame}
    return path


def told(manifest: Manifest) -> list[tuple]:
    columns = ("id", "group", "split", "start", "end", "imu_rate", "edges")
    return [tuple(row[column] for column in columns) for row in manifest.columns(*columns)]


def test_groups_that_pandas_wrote_as_floats(tmp_path):
    """The case group-as-float-in-csv."""
    case = CASES / "group-as-float-in-csv"
    for number in range(24):
        shutil.copy(case / "g0.csv", tmp_path / f"g{number}.csv")
    sides = {}
    for file in ("rows.csv", "rows.jsonl"):
        shutil.copy(case / file, tmp_path / file)
        manifest = Manifest.open(tmp_path / file)
        groups = {row["group"] for row in manifest.columns("group")}
        assert groups == {None, *map(str, range(1, 13))}, file
        sides[file] = [{row["id"] for row in side.columns("id")} for side in manifest.split(0.25)]
    assert sides["rows.csv"] == sides["rows.jsonl"] and all(sides["rows.csv"])


ROWS = {
    "floats with a gap": [{"text": f"t{i}", "group": None if i == 5 else float(i % 4)} for i in range(24)],
    "whole numbers": [{"text": f"t{i}", "group": i % 5, "id": 100 + i} for i in range(24)],
    "booleans": [{"text": f"t{i}", "group": bool(i % 2), "id": f"r{i}"} for i in range(24)],
    "times": [{"text": "t", "start": i / 4, "end": None if i % 3 else i / 4 + 1.5, "imu_rate": 50} for i in range(24)],
    "padded names": [{"text": "t", "group": f" 0{i % 3}", "split": ["train", "Test"][i % 2]} for i in range(24)],
    "measured ids": [{"text": "t", "id": i + 0.5} for i in range(24)],
}


@pytest.mark.parametrize("rows", ROWS)
def test_every_format_gives_the_same_cells(tmp_path, rows):
    expected = told(Manifest.open(as_format(tmp_path, ROWS[rows], "list")))
    assert any(cell is not None for row in expected for cell in row[1:]) or rows == "measured ids"
    for form in FORMATS:
        manifest = Manifest.open(as_format(tmp_path, ROWS[rows], form), outside=True)
        assert told(manifest) == expected, form
        halves = [[row["id"] for row in side.columns("id")] for side in manifest.split(0.25)]
        assert halves == [[row["id"] for row in side.columns("id")] for side in Manifest.open(ROWS[rows]).split(0.25)]


@pytest.mark.parametrize("form", FILES)
@pytest.mark.parametrize("group", [36.6, "36.6", "1.7E+09", 1.7e18, "36,6"])
def test_a_measurement_is_no_group_in_any_format(tmp_path, form, group):
    rows = [{"text": "a", "group": group}, {"text": "b", "group": group}]
    with pytest.raises(InputError, match=r"(?s)'group' takes a name or a whole number.*Mend the cell"):
        Manifest.open(as_format(tmp_path, rows, form))


@pytest.mark.parametrize(
    ("spellings", "one"),
    [
        ([1, 1.0, "1", "1.0", " 1.00 ", np.int64(1), np.float32(1), np.array(1)], "1"),
        ([True, "True", "true", np.bool_(True)], "true"),
        ([-0.0, 0, "0", "-0.0"], "0"),
        (["007", "007 "], "007"),
        ([0.5, "0.5", np.float64(0.5)], "0.5"),
    ],
)
def test_a_name_has_one_spelling(tmp_path, spellings, one):
    manifest = Manifest.open([{"text": "a", "id": spelling} for spelling in spellings])
    assert [row.id for row in manifest] == [one] * len(spellings)


@pytest.mark.parametrize("nothing", [None, "", " ", "NaN", "NA", "None", "<NA>", float("nan"), pd.NA, pd.NaT, np.nan])
def test_every_way_to_say_nothing_is_an_empty_cell(nothing):
    row = {"text": "a", "group": nothing, "start": nothing, "imu": nothing, "split": nothing, "edges": nothing}
    manifest = Manifest.open([row])
    assert manifest.modalities == ("text",) and told(manifest) == [("0", None, None, None, None, None, None)]
    assert bool(manifest.notes) == (isinstance(nothing, str) and bool(nothing.strip()))


@pytest.mark.parametrize(
    ("cell", "seconds"),
    [("1.5", 1.5), ("1,5", 1.5), ("0,125", 0.125), (np.float32(1.5), 1.5), (pd.Timedelta("1.5s"), 1.5), ("2e0", 2.0)],
)
def test_numbers_are_read_from_whatever_holds_them(cell, seconds):
    assert Manifest.open([{"text": "a", "start": cell}])[0].start == seconds


@pytest.mark.parametrize("cell", ["1,000", "1_000", True, "0:12", "inf", "twelve", pd.Timestamp("2024-01-01"), [1]])
def test_what_may_be_another_number_is_refused(cell):
    with pytest.raises(InputError, match="column 'start' takes a number"):
        Manifest.open([{"text": "a", "start": cell}])


@pytest.mark.parametrize("form", FILES)
def test_lists_in_cells_are_lists_in_every_format(tmp_path, form):
    timed = [{"text": "jump", "start": 0, "end": 1.5}, {"text": "fall", "start": 1.5, "end": 2}]
    rows = [{"text": ["a dog", "it's"], "edges": [[0, 1], [1, 2]]}, {"text": timed, "edges": None}]
    if form == "csv":  # as json.dumps and as str write them
        with open(tmp_path / "rows.csv", "w", newline="") as file:
            table = csv.writer(file)
            table.writerows([["text", "edges"], [str(rows[0]["text"]), "[[0, 1], [1, 2]]"], [json.dumps(timed), ""]])
        data = tmp_path / "rows.csv"
    elif form in ("parquet", "dataset"):  # one type to a column
        rows[0]["text"] = [{"text": text, "start": None, "end": None} for text in rows[0]["text"]]
        data = as_format(tmp_path, rows, form)
    else:
        data = as_format(tmp_path, rows, form)
    manifest = Manifest.open(data)
    assert manifest[0].sources["text"] == ["a dog", "it's"] and manifest[1].sources["text"] == timed
    assert [row[-1] for row in told(manifest)] == [[[0, 1], [1, 2]], None]


def test_captions_that_only_look_like_lists_stay_captions():
    texts = ["[laughs]", "[1]", "{x}", "[a, b", "(hm)", "5", 5]
    assert [row.sources["text"] for row in Manifest.open([{"text": text} for text in texts])] == [*texts[:-1], "5"]
    with pytest.raises(InputError, match="a list with commas"):
        Manifest.open([{"text": "['a dog' 'a cat']"}])


def test_a_word_for_nothing_stays_a_caption_and_is_noted():
    manifest = Manifest.open([{"text": "null"}, {"text": "eins"}])
    assert list(manifest.captions()) == ["null", "eins"] and "'null' is read as a caption" in manifest.notes[0]


@pytest.mark.parametrize("path", ["caf\udce9.mp4", "\\udce9.mp4", "é.mp4", "a\\b", "\udcff\\udc5c"])
def test_any_path_has_a_text_and_a_way_back(path):
    assert unescaped(escaped(path)) == path and escaped(path).encode()


def test_a_name_that_is_none_is_refused():
    for value in ([1], {}, object(), float("inf")):
        with pytest.raises(ValueError, match="a name or a whole number"):
            name(value)
