"""Labels over time: the column `segments`, and which tokens of a window each of them turns on."""

from __future__ import annotations

import csv
import json
import math

import pandas as pd
import pytest
import torch
from clocks import Clock, recordings, write
from hypothesis import given
from hypothesis import strategies as st

from mmmae import Recipe
from mmmae.data.augment import repeat
from mmmae.data.clips import Clips
from mmmae.data.manifest import Manifest
from mmmae.data.sample import collate
from mmmae.data.segments import Segments
from mmmae.data.timeline import Timeline
from mmmae.data.window_targets import Placed
from mmmae.recipes.lookup import RecipeError
from modalities.errors import InputError

JUMP = {"start": 1, "end": 2.5, "label": "jump"}
ROWS = [
    {"text": "a", "segments": [JUMP, {"start": 2, "end": 3, "label": ["run", "jump"]}]},
    {"text": "b", "segments": []},
    {"text": "c"},
]
STORED = [
    [
        {"start": 1.0, "end": 2.5, "labels": ["jump"]},
        {"start": 2.0, "end": 3.0, "labels": ["jump", "run"]},
    ],
    [],
    None,
]


def as_form(folder, form):
    """The same rows in one of the forms of a table."""
    path = folder / f"rows.{form}"
    if form == "memory":
        return ROWS
    if form == "jsonl":
        return write(folder, ROWS, path.name)
    if form == "parquet":
        pd.DataFrame(ROWS).assign(segments=[plain(row.get("segments")) for row in ROWS]).to_parquet(path)
        return path
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["text", "segments"])
        table.writerows([row["text"], json.dumps(row["segments"]) if "segments" in row else ""] for row in ROWS)
    return path


def plain(segments):
    """Parquet has one type for all labels: lists."""
    if segments is None:
        return None
    return [one | {"label": one["label"] if isinstance(one["label"], list) else [one["label"]]} for one in segments]


@pytest.mark.parametrize("form", ["memory", "jsonl", "csv", "parquet"])
def test_every_form_of_a_table_gives_the_same_segments(tmp_path, form):
    manifest = Manifest.open(as_form(tmp_path, form))
    assert list(manifest.every("segments")) == STORED
    assert Timeline.of(manifest) == ("jump", "run")
    assert Timeline.of(manifest.select([1])) == ("jump", "run"), "the names are those of the whole file"
    assert [row.cells for row in manifest.giving(["segments"])] == [{"segments": cell} for cell in STORED]


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("often", "a list of segments"),
        ([JUMP, {"start": 3, "label": "x"}], "segment 2 has no `end`"),
        ([JUMP | {"end": 1}], "segment 1 is from 1 to 1 s"),
        ([JUMP | {"start": "soon"}], "whose `start` is a number from 0 up, in seconds"),
        ([{"start": 1, "end": 2}], "segment 1 has no `label`"),
        ([JUMP | {"label": []}], "segment 1 has no `label`"),
        ([JUMP | {"lable": "x"}], "segment 1 has the key 'lable'"),
        ([JUMP, 7], "segment 2 is 7"),
    ],
)
def test_a_wrong_segment_is_named_with_its_row_and_key(cell, says):
    with pytest.raises(InputError) as error:
        Manifest.open([ROWS[0], {"text": "b", "segments": cell}])
    assert "row 1: column 'segments'" in str(error.value) and says in str(error.value)


def test_no_segments_anywhere_is_an_error_that_says_what_to_fill():
    with pytest.raises(InputError, match="no row has segments\n  fill the column 'segments'"):
        Timeline.of(Manifest.open([{"text": "a"}, {"text": "b", "segments": []}]))


# At the edges


def on(segments, moments, names=("x",)):
    found = Timeline(names).within(
        segments, torch.tensor(moments, dtype=torch.float64), torch.ones(len(moments), dtype=torch.bool)
    )
    return found


@given(first=st.integers(0, 40), length=st.integers(1, 40), rate=st.sampled_from([3, 7, 10, 25, 30]))
def test_a_token_has_a_class_from_the_start_of_its_segment_until_before_its_end(first, length, rate):
    """In exact arithmetic, where floating point has 3 * 0.1 > 0.3."""
    moments = [tick / rate for tick in range(80)]
    segment = {"start": first / rate, "end": (first + length) / rate, "labels": ["x"]}
    found = on([segment], [sum([1 / rate] * tick) if tick < 30 else moment for tick, moment in enumerate(moments)])
    assert found[:, 0].tolist() == [float(first <= tick < first + length) for tick in range(80)]


def test_overlapping_segments_and_lists_of_labels_are_all_on():
    found = on(STORED[0], [0.9, 1.0, 2.0, 2.4999, 2.5, 3.0], ("jump", "run"))
    assert found.tolist() == [[0, 0], [1, 0], [1, 1], [1, 1], [1, 1], [0, 0]]


def test_no_segments_is_all_off_and_no_cell_is_unknown():
    assert on([], [0.5, 1.5]).tolist() == [[0.0], [0.0]]
    assert on(None, [0.5, 1.5]).isnan().all()


# In a window


def timed(path, window=2.0, count=4, **settings):
    """Clips whose target has `count` tokens in the span of the stream."""
    target = Placed(Timeline(("x",)), "video", tuple((i + 0.5) / count for i in range(count)))
    readers = {"video": Clock(pads=settings.pop("pads", False))}
    return Clips(Manifest.open(path), readers, window=window, targets={"segments": target}, **settings)


def edges(path, **segment):
    return recordings(path, 2, segments=[[{"start": 1.25, "end": 2.25, "label": "x"} | segment], None])


@pytest.mark.parametrize("seed", range(5))
def test_a_window_gets_the_labels_of_its_own_seconds(tmp_path, seed):
    clips = timed(edges(tmp_path), window=1.6, seed=seed)
    (sample,) = clips[0, 0]
    moments = sample.start + 1.6 * (torch.arange(4, dtype=torch.float64) + 0.5) / 4
    wanted = ((moments >= 1.25) & (moments < 2.25)).float()[:, None]
    assert torch.equal(sample.targets["segments"], wanted)
    assert clips[0, 1][0].targets["segments"].isnan().all(), "a recording without the cell is not all off"


@given(shift=st.integers(0, 6))
def test_a_shifted_window_shifts_the_labels_by_whole_tokens(tmp_path_factory, shift):
    """Tokens of half a second: a window that begins a token later has what the first has from its second token on."""
    path = edges(tmp_path_factory.mktemp("shift"))
    row = Manifest.open(path).giving(["segments"])[0]
    clips = timed(path)
    placed = clips.targets["segments"]
    reading = clips.readers["video"].read(row.sources["video"], 0.0, 2.0)
    found = [placed.of(row.cells["segments"], 0.5 * n, 2.0, reading)[:, 0].tolist() for n in (0, shift)]
    timeline = [float(1.25 <= 0.5 * n + 0.25 < 2.25) for n in range(20)]
    assert found == [timeline[:4], timeline[shift : shift + 4]]


def test_padding_and_what_lies_beyond_the_row_is_unknown(tmp_path):
    manifest = [{"video": "a.mp4", "end": 1.25, "segments": []}, {"video": "b.mp4", "segments": []}]
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_text("1.5")
    clips = timed(write(tmp_path, manifest), pads=True)
    batch = collate([clips[0, 0], clips[0, 1]])
    known = ~batch.targets["segments"].isnan()[..., 0]
    assert known.tolist() == [[True, True, False, False], [True, True, True, False]]


def test_a_stream_that_begins_later_has_later_labels(tmp_path):
    from mmmae.recipes.streams import Stream

    streams = {"video": Stream(use="video", source="video", lag=(1.0, 1.0), span=1.0)}
    clips = timed(edges(tmp_path), window=2.0, streams=streams, centre=True)
    (sample,) = clips[0, 0]
    moments = [sample.start + 1.0 + (i + 0.5) / 4 for i in range(4)]
    assert sample.targets["segments"][:, 0].tolist() == [float(1.25 <= moment < 2.25) for moment in moments]


def test_windows_one_after_the_other_tile_the_timeline(tmp_path):
    """`Segments` reads a recording from its beginning to its end: joined, its targets are those of the recording."""
    (tmp_path / "a.mp4").write_text("5.0")
    path = write(tmp_path, [{"video": "a.mp4", "segments": [{"start": 1.25, "end": 4.25, "label": "x"}]}])
    pieces = list(Segments(timed(path, pads=True), [0]))
    found = torch.cat([piece.found.targets["segments"][:, 0] for piece in pieces])
    assert found[:10].tolist() == [float(1.25 <= 0.5 * n + 0.25 < 4.25) for n in range(10)]
    assert found[10:].isnan().all() and len(found) == 12


def test_targets_go_where_their_batch_goes(tmp_path):
    batch = collate([timed(edges(tmp_path))[0, 0], timed(edges(tmp_path))[0, 1]])
    twice = repeat(batch, 2)
    one, two = batch.targets["segments"], twice.targets["segments"]
    assert torch.equal(two.nan_to_num(9), one.repeat_interleave(2, 0).nan_to_num(9))
    assert batch.map(lambda x: x[:1]).targets["segments"].shape[0] == 1
    assert math.isnan(batch.only(["video"]).targets["segments"][1, 0, 0])


def test_labels_over_time_are_not_mixed():
    with pytest.raises(RecipeError, match=r"data\.mixup: segments are learned over time"):
        Recipe.load({"base": "videomae", "objectives": {"segmentation": {}}}, ["size=tiny", "data.mixup=0.5"]).build()
