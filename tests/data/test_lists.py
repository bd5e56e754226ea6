"""Manifests as people have them: lists without a header, spreadsheets, other names of columns."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmmae.data.manifest import Manifest
from modalities.errors import InputError


@pytest.fixture
def clips(tmp_path) -> Path:
    for name in ("a.mp4", "b.mp4", "deep/c d.MKV", "e.wav", "f.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"9")
    return tmp_path


def read(folder: Path, text: str | bytes, name: str = "rows.csv") -> Manifest:
    data = text if isinstance(text, bytes) else text.encode()
    (folder / name).write_bytes(data)
    return Manifest.open(folder / name)


def told(manifest: Manifest, *columns: str) -> list[tuple]:
    return [tuple(row[column] for column in columns) for row in manifest.columns(*columns)]


LABELLED = [("a.mp4", "3"), ("deep/c d.MKV", "7")]
LISTS = {
    "VideoMAE": ("a.mp4 3\ndeep/c d.MKV 7\n", LABELLED),
    "VideoMAE with commas": ("a.mp4,3\ndeep/c d.MKV,7", LABELLED),
    "tabs": ("a.mp4\t3\r\ndeep/c d.MKV\t7\r\n", LABELLED),
    "quoted": ('"a.mp4", 3\n"deep/c d.MKV", 7\n', LABELLED),
    "semicolons": ("\ufeffa.mp4;3\n\ndeep/c d.MKV;7", LABELLED),
    "names": ("a.mp4 walk\nb.mp4 run\n", [("a.mp4", "walk"), ("b.mp4", "run")]),
    "no labels": ("a.mp4\nb.mp4\n", [("a.mp4", None), ("b.mp4", None)]),
    "no label": ("a.mp4 -1\nb.mp4 2\n", [("a.mp4", None), ("b.mp4", "2")]),
    "VideoMAE V2": ("a.mp4 0 -1\nb.mp4 0 -1\n", [("a.mp4", None), ("b.mp4", None)]),
}


@pytest.mark.parametrize("name", ["rows.csv", "rows.txt", "list.lst", "rows.tsv"])
@pytest.mark.parametrize("case", LISTS)
def test_a_list_without_a_header_is_read_and_said(clips, case, name):
    text, expected = LISTS[case]
    manifest = read(clips, text, name)
    assert told(manifest, "video", "label") == expected
    assert "has no header: its lines are read as path" in manifest.notes[0]


def test_a_list_with_seconds_is_read(clips):
    manifest = read(clips, "a.mp4 0.5 2.5 3\na.mp4,1,2,4\n".replace(",", " "), "train.txt")
    assert told(manifest, "start", "end", "label") == [(0.5, 2.5, "3"), (1.0, 2.0, "4")]
    assert "path, start, end, label, in seconds" in manifest.notes[0]


def test_sounds_and_images_in_a_list_find_their_column(clips):
    assert told(read(clips, "e.wav 1\nf.png 2\n"), "video", "audio") == [(None, "e.wav"), ("f.png", None)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a.mp4 300 3\nb.mp4 200 4\n", ["three values may be path, number of frames, label", "first line"]),
        ("frames/a 300 3\nframes/b 200 4\n", ["line 1", "names no columns", "Folders of frames"]),
        ("a.mp4 3\nb.mp4\n", ["line 2: 1 values, where line 1 has 2"]),
        ("a.mp4 3\nwhat 4\n", ["line 2: expected the path of a video"]),
        ("a.mp4 1 2 3 4\n", ["5 values in a line"]),
        ("a.mp4 x y z\n", ["column 'start' takes a number"]),
        ("xyz0001 3\nxyz0002 4\n", ["names no columns", "first line"]),
        ("/data/speech\na.flac\t16000\n", ["names no columns"]),
    ],
)
def test_a_list_that_may_mean_two_things_is_refused(clips, text, words):
    with pytest.raises(InputError) as caught:
        read(clips, text, "rows.txt")
    assert [word for word in words if word not in str(caught.value)] == [], caught.value


# Spreadsheets

TABLE = [("a.mp4", "a dog, running", 0.5, 2.25), ("b.mp4", None, None, None)]
SHEETS = {
    "Excel in Germany": "video;text;start;end\na.mp4;a dog, running;0,5;2,25\nb.mp4;;;\n",
    "tabs": "video\ttext\tstart\tend\na.mp4\ta dog, running\t0.5\t2.25\nb.mp4\t\t\t\n",
    "quoted": '"video","text","start","end"\n"a.mp4","a dog, running","0,5","2,25"\n"b.mp4",,,\n',
    "bars": "video|text|start|end\na.mp4|a dog, running|0.5|2.25\nb.mp4|||\n",
    "spaces": 'video, text, start, end\na.mp4, "a dog, running", 0.5, 2.25\nb.mp4, , , \n',
    "capitals": 'Video,Text,START,end\na.mp4,"a dog, running",.5,2.25\nb.mp4,,,\n',
    "index": ',video,text,start,end\n0,a.mp4,"a dog, running",.5,2.25\n1,b.mp4,,,\n',
    "short rows": 'video,text,start,end\na.mp4,"a dog, running",.5,2.25\nb.mp4\n',
    "trailing marks": 'video,text,start,end\na.mp4,"a dog, running",.5,2.25,\nb.mp4,,,,,\n',
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("sheet", SHEETS)
def test_a_spreadsheet_is_read_however_it_was_saved(clips, sheet, encoding):
    manifest = read(clips, SHEETS[sheet].replace("\n", "\r\n").encode(encoding))
    found = [(row["video"], row["text"] and row["text"][0]["text"], row["start"], row["end"])
             for row in manifest.columns("video", "text", "start", "end")]  # fmt: skip
    assert found == TABLE
    assert any("UTF-16" in note for note in manifest.notes) == (encoding == "utf-16")
    if sheet in ("Excel in Germany", "tabs", "bars", "capitals", "index", "short rows"):
        assert manifest.notes


def test_decimal_commas_between_semicolons_may_have_three_digits(clips):
    assert told(read(clips, "video;start;end\na.mp4;1,000;2,500\n"), "start", "end") == [(1.0, 2.5)]
    with pytest.raises(InputError, match="may be a decimal or a thousand"):
        read(clips, 'video,start\na.mp4,"1,000"\n')


def test_lines_inside_quotes_are_one_cell(clips):
    manifest = read(clips, 'video,text\na.mp4,"two\nlines, and a ""word"""\nb.mp4,x\u2028y\nb.mp4,z\n')
    assert list(manifest.captions()) == ['two\nlines, and a "word"', "x\u2028y", "z"]
    assert told(manifest, "place") == [("line 3",), ("line 4",), ("line 5",)]


def test_quotes_of_speech_in_a_tsv_are_text(clips):
    manifest = read(clips, 'path\tsentence\na.mp4\t"Hello" he said\nb.mp4\t"Open\ne.wav\tend\n', "validated.tsv")
    assert list(manifest.captions()) == ['"Hello" he said', '"Open', "end"]
    assert any("quotation marks are read as text" in note for note in manifest.notes)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('video,text\na.mp4,"open\nb.mp4,x\n', ["not CSV", "quotation marks"]),
        ("video,video\na.mp4,b.mp4\n", ["column 'video' stands twice"]),
        ("video,path\na.mp4,b.mp4\n", ["both name the video"]),
        ("video,film_path,video_path\na.mp4,,b.mp4\n", ["both mean 'video'"]),
        ("path\nnotes.md\n", ["'path' takes the path of a video, an image or a sound"]),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(clips, text, words):
    with pytest.raises(InputError) as caught:
        read(clips, text)
    assert [word for word in words if word not in str(caught.value)] == [], caught.value


# Names of columns


def test_other_names_of_columns_are_read_and_said(clips):
    manifest = read(clips, "file_name,sentence,category,duration,age\na.mp4,a dog,run,3.0,9\ne.wav,a cat,sit,1,8\n")
    assert told(manifest, "video", "audio", "label") == [("a.mp4", None, "run"), (None, "e.wav", "sit")]
    assert manifest.notes == (
        "column 'file_name' is read as 'video' or 'audio', as the endings of its files tell",
        "column 'sentence' is read as 'text'",
        "column 'category' is read as 'label'",
        "columns that mmmae does not use are ignored: duration, age",
    )


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("video,speaker_id", ["'speaker_id'", "to 'group'", "one side of a split"]),
        ("video,start_time,end_time", ["'start_time'", "to 'start'", "seconds"]),
        ("imu,sampling_rate", ["'sampling_rate'", "to 'imu_rate'", "Hz"]),
        ("video,start,duration", ["no 'end'", "start + duration"]),
        ("video,mood,weather", ["unknown columns 'mood', 'weather'", "drop(columns=['mood', 'weather'])"]),
        ("label,youtube_id,time_start,time_end,split,is_cc", ["Kinetics' list names no files", "video,start,end"]),
        ("# YTID, start_seconds, end_seconds, positive_labels", ["AudioSet's list"]),
        ("narration_id,participant_id,video_id,start_timestamp,stop_timestamp", ["EPIC-KITCHENS' list"]),
        ("id,subject,scene,quality,actions,length", ["Charades' list"]),
    ],
)
def test_a_column_that_only_may_mean_something_is_refused(clips, header, words):
    with pytest.raises(InputError) as caught:
        read(clips, header + "\n" + ",".join("a.mp4" for _ in header.split(",")) + "\n")
    assert [word for word in words if word not in str(caught.value)] == [], caught.value
    assert len(str(caught.value).splitlines()) <= 3


def test_a_spreadsheet_file_is_refused_with_the_format_to_take(clips):
    with pytest.raises(InputError, match=r"(?s)not a manifest.*Save the table as CSV"):
        read(clips, b"PK", "rows.xlsx")
