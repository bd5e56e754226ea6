"""Folders: whatever can be opened counts, links end, and what is ignored is said."""

from __future__ import annotations

import os
from pathlib import Path

import media
import pytest
from places import CASES

from mmmae.__main__ import main
from mmmae.data import kinds
from mmmae.data.manifest import Manifest
from modalities.audio import AudioReader
from modalities.errors import InputError, SampleError
from modalities.video import VideoReader

FILM = CASES / "audio-folder/films/x.mp4"
SMALL = ["--workers", "0", "modalities.video.size=32", "modalities.video.frames=2", "window=1"]


def put(folder: Path, *names: str | bytes, content: bytes = b"9") -> Path:
    for name in names:
        path = Path(os.fsdecode(os.path.join(os.fsencode(folder), os.fsencode(name))))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def ids(folder: Path, **settings) -> list[str]:
    return [row.id for row in Manifest.open(folder, **settings)]


# Endings


def test_folders_of_flac_and_mp3_are_read(capsys):
    """The case audio-folder: sounds, and a sound beside a video without a track."""
    assert (
        main(["check", str(CASES / "audio-folder/sounds"), "--modalities", "audio", "--workers", "0", "window=1"]) == 0
    )
    assert "2 of 2" in capsys.readouterr().out
    assert main(["check", str(CASES / "audio-folder/films"), "--modalities", "video,audio", *SMALL]) == 0
    shown = capsys.readouterr().out
    assert shown.count("1 of 1") == 2, shown


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.opus", "libopus"), ("A.M4A", "aac"), ("a.aac", "aac"), ("a.ogg", "libopus"),
     ("a.aiff", "pcm_s16be"), ("a.MP3", "libmp3lame"), ("a.mka", "libopus"), ("a.caf", "pcm_s16le"),
     ("a.au", "pcm_s16be"), ("a.wv", "wavpack"), ("a.ac3", "ac3"), ("a.w64", "pcm_s16le")],
)  # fmt: skip
def test_a_sound_of_any_ending_is_a_row(tmp_path, name, codec):
    plain = tmp_path / name.lower()
    media.write_sound(plain, media.tone(1.5, rate=48000), rate=48000, codec=codec)
    plain.rename(tmp_path / name)
    manifest = Manifest.open(tmp_path)
    assert manifest.modalities == ("audio",) and [row.id for row in manifest] == [name[0]]
    assert AudioReader(rate=8000).read(manifest[0].sources["audio"], 0.2, 1.0).length == 8000


def test_endings_are_of_one_kind_each():
    endings = list(kinds.OF)
    assert len(endings) == len(set(endings)) and all(ending == ending.lower() for ending in endings)


@pytest.mark.parametrize("name", ["b.3gp", "b.MKV", "b.mts", "b.ogv", "b.gif"])
def test_a_video_of_any_ending_is_a_row(tmp_path, name):
    put(tmp_path, name)
    manifest = Manifest.open(tmp_path)
    assert manifest.has("video") and manifest.has("audio") == (name != "b.gif")


def test_the_better_of_two_sounds_is_read_and_the_other_said(tmp_path):
    put(tmp_path, "run.mp4", "run.mp3", "run.wav", "walk.m4a", "walk.flac", "walk.mp4")
    manifest = Manifest.open(tmp_path)
    assert [Path(row.sources["audio"]).name for row in manifest] == ["run.wav", "walk.flac"]
    assert any("2 of two sounds of one name (run.mp3: run.wav is read)" in note for note in manifest.notes)


def test_videos_of_one_name_stay_on_one_side(tmp_path):
    put(tmp_path, *(f"{n}.{end}" for n in range(8) for end in ("mp4", "webm")))
    manifest = Manifest.open(tmp_path)
    for side in manifest.split(0.4):
        assert len(side) % 2 == 0
        for number in {row.id[0] for row in side}:
            assert sum(row.id[0] == number for row in side) == 2
    assert any("one group" in note for note in manifest.notes)


# What is ignored


def test_what_is_passed_over_is_counted_with_an_example(tmp_path):
    put(tmp_path, "a.mp4", "b.wav", "c/d.wav", "e.png", "a.jpg", "doc.pdf", "doc2.pdf", ".DS_Store", "__MACOSX/._a.mp4",
        "f.mp4.part", "readme.txt", "x.npy", "metadata.csv", "Makefile")  # fmt: skip
    (tmp_path / "metadata.csv").write_text("file_name,text\na.mp4,a dog\n")
    manifest = Manifest.open(tmp_path)
    assert ids(tmp_path) == ["a"]
    (note,) = [note for note in manifest.notes if note.startswith("ignored")]
    for part in ("ignored 13:", "2 .pdf (doc.pdf)", "1 hidden (.DS_Store)",
                 "2 sounds without a video of the same name (b.wav)", "1 images without a video",
                 "1 images with the name of a video (a.jpg)", "1 folders that systems make (__MACOSX)",
                 "1 .part (unfinished downloads)", "1 caption files without a video",
                 "1 .npy (name its column and rate", "1 lists of recordings (metadata.csv: to read",
                 "1 files without an ending"):  # fmt: skip
        assert part in note, (part, note)
    assert "the rows are the folder's 1 video" in manifest.notes


def test_a_clean_folder_passes_over_nothing(tmp_path):
    put(tmp_path, "a.mp4", "a.txt", "a.wav", "a.csv", "b.mkv")
    assert Manifest.open(tmp_path).notes == (
        "the rows are the folder's 2 videos: 1 with a sound, 1 with a table of sensors, 1 with a caption file of the "
        "same name",
    )


def test_sounds_that_are_asked_for_are_rows_next_to_videos(tmp_path):
    put(tmp_path, "a.mp4", "b.mp3", "c.png", "metadata.csv")
    assert ids(tmp_path) == ["a"] and ids(tmp_path, modalities=["audio"]) == ["a", "b"]


@pytest.mark.parametrize("header", ["file_name,transcription", "path;label", "audio\ttext", "a.wav 3"])
def test_a_list_of_sounds_is_no_recording_of_sensors(tmp_path, header):
    put(tmp_path, "a.wav", "walk.csv")
    (tmp_path / "walk.csv").write_text("time,ax\n0,1\n")
    (tmp_path / "train.csv").write_text(header + "\n")
    manifest = Manifest.open(tmp_path)
    assert [row.id for row in manifest] == ["a", "walk"] and "lists of recordings (train.csv" in manifest.notes[-1]


def test_an_empty_folder_says_what_is_in_it(tmp_path):
    put(tmp_path, "a.pdf", "b.pdf", ".hidden.mp4")
    with pytest.raises(InputError, match=r"no recordings.*ignored 3: 2 \.pdf \(a\.pdf\), 1 hidden"):
        Manifest.open(tmp_path)


def test_an_empty_file_is_a_bad_sample_that_says_so(tmp_path):
    put(tmp_path, "a.mp4", content=b"")
    with pytest.raises(SampleError, match="is empty"):
        VideoReader().seconds(str(tmp_path / "a.mp4"))


# Links


@pytest.fixture
def linked(tmp_path) -> Path:
    """The case linked-folder: d/train leads to another folder."""
    put(tmp_path, "d/a.mp4", "other/b.mp4", "other/c.mp4", content=FILM.read_bytes())
    (tmp_path / "d/train").symlink_to("../other")
    return tmp_path / "d"


def test_a_link_to_a_folder_is_followed_where_it_may(linked, capsys):
    with pytest.raises(InputError, match=r"(?s)train \(a link to .*other\) lies outside.*data\.outside=true"):
        Manifest.open(linked)
    assert ids(linked, outside=True) == ["a", "train/b", "train/c"]
    assert main(["check", str(linked), "--modalities", "video", *SMALL]) == 2
    assert "data.outside=true" in capsys.readouterr().err
    assert main(["check", str(linked), "--modalities", "video", *SMALL, "data.outside=true"]) == 0
    assert "3 samples, 0 bad" in capsys.readouterr().out


def test_links_inside_count_once_and_loops_end(tmp_path):
    put(tmp_path, "real/a.mp4", "real/deep/b.mp4", ".store/c.mp4")
    for link, target in (("again", "real"), ("deep", "real/deep"), ("real/deep/up", "../.."), ("kept", ".store")):
        (tmp_path / link).symlink_to(target)
    manifest = Manifest.open(tmp_path)
    assert sorted(row.id for row in manifest) == ["kept/c", "real/a", "real/deep/b"]
    assert "3 links to folders that are read anyway (again leads to" in manifest.notes[-1]


def test_two_links_to_one_folder_outside_count_once(linked):
    (linked / "test").symlink_to("../other")
    (linked / "all").symlink_to("..")
    found = ids(linked, outside=True)
    assert len(found) == 3 and "a" in found


def test_a_link_that_leads_nowhere_is_said(tmp_path):
    put(tmp_path, "a.mp4")
    (tmp_path / "train").symlink_to("/mnt/not/mounted")
    assert "1 broken links (train leads to /mnt/not/mounted, where nothing is)" in Manifest.open(tmp_path).notes[-1]


# Names


@pytest.mark.parametrize("name", [b"caf\xe9.mp4", b"d\xfcr/a.mp4", b"\xff\xfe.mp4"])
def test_a_name_that_is_not_utf8_is_read(tmp_path, capsys, name):
    """The case name-not-utf8."""
    put(tmp_path, "ok.mp4", name, content=FILM.read_bytes())
    assert main(["check", str(tmp_path), "--modalities", "video", *SMALL]) == 0
    assert "2 samples, 0 bad" in capsys.readouterr().out
    assert any("\\udc" in one for one in ids(tmp_path)) and "".join(ids(tmp_path)).encode()
    reader = VideoReader(frames=2, size=32)
    assert all(reader.seconds(row.sources["video"]) == pytest.approx(3.0) for row in Manifest.open(tmp_path))


def test_a_bad_file_whose_name_is_not_utf8_is_named(tmp_path, capsys):
    put(tmp_path, "ok.mp4", content=FILM.read_bytes())
    put(tmp_path, b"caf\xe9.mp4", content=b"nothing")
    report = tmp_path / "bad.jsonl"
    assert main(["check", str(tmp_path), "--modalities", "video", *SMALL, "--report", str(report)]) == 1
    assert "caf\\udce9.mp4" in capsys.readouterr().out and "caf" in report.read_text()


def test_a_missing_file_whose_name_is_not_utf8_is_named(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"video": "caf\\udce9.mp4"}')
    with pytest.raises(InputError, match=r"no such file: .*caf\\udce9"):
        Manifest.open(tmp_path / "rows.jsonl")


@pytest.mark.parametrize("stem", ["1.0", "NA", "True", "1e+10", " a"])
def test_an_id_is_the_name_of_its_file(tmp_path, stem):
    put(tmp_path, f"{stem}.mp4")
    assert ids(tmp_path) == [stem]
