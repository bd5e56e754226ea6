"""Hostile inputs: files made to run code, to read other files or to reach the network do none of it."""

from __future__ import annotations

import pickle
import struct
import sys
from pathlib import Path

import hostile_data
import hostile_models
import pytest
from hostile import CANARY, Payload, audio, video
from hostile_models import TAGS
from media import coded, number, tone, write_film, write_sound
from omegaconf import OmegaConf

from modalities.errors import InputError

CASES = hostile_data.CASES | hostile_models.CASES


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", CASES)
def test_a_hostile_input_is_refused_and_runs_nothing(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("builtins.input", lambda *_: "y")  # who is asked whether to trust it says yes
    before = set(sys.modules)
    OmegaConf.register_new_resolver("canary", lambda path: Path(path).mkdir(), replace=True)
    try:
        with pytest.raises(InputError):
            CASES[name](tmp_path)
    finally:
        OmegaConf.clear_resolver("canary")
    assert not (tmp_path / CANARY).exists()
    assert not {"antigravity", "idlelib.idle", "this"} & (set(sys.modules) - before)


def test_there_are_at_least_forty():
    assert len(CASES) >= 40


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", ["pickle", "yaml", "resolver"])
def test_the_canary_sings(name, tmp_path):
    """What is refused above does run where nobody refuses it."""
    if name == "pickle":
        pickle.loads(pickle.dumps(Payload(tmp_path)))
    elif name == "yaml":
        import yaml

        yaml.unsafe_load(TAGS[0].format(path=tmp_path / CANARY))
    else:
        OmegaConf.register_new_resolver("canary", lambda path: Path(path).mkdir(), replace=True)
        assert OmegaConf.create({"a": f"${{canary:{tmp_path / CANARY}}}"}).a is None
        OmegaConf.clear_resolver("canary")
    assert (tmp_path / CANARY).exists()


def test_a_percent_sign_in_a_name_is_a_percent_sign(tmp_path):
    """FFmpeg takes `%d.png` for a row of pictures."""
    import av

    for name, shows in {"%d.png": 3, "0.png": 5, "1.png": 6}.items():
        with av.open(str(tmp_path / "new.png"), "w", format="image2", options={"update": "1"}) as out:
            stream = out.add_stream("png", rate=1)
            stream.height = stream.width = 64
            stream.pix_fmt = "rgb24"
            out.mux(stream.encode(av.VideoFrame.from_ndarray(coded(shows))))
        (tmp_path / "new.png").rename(tmp_path / name)
    assert number(video(tmp_path / "%d.png").values[0].numpy()) == 3


def refer(path: Path, target: Path) -> None:
    """Make a film of one stream look for its pictures in another file: a QuickTime alias as its data reference."""
    data = bytearray(path.read_bytes())
    name = str(target).encode()
    words = struct.pack(">HH", 2, len(name)) + name + bytes(len(name) % 2) + struct.pack(">Hh", 0xFFFF, -1)
    alias = (
        bytes(10) + bytes(28) + bytes(12) + b"\x03abc" + bytes(60) + bytes(16) + struct.pack(">HH", 1, 1) + bytes(16)
    )
    alias += words + bytes(40)
    entry = struct.pack(">I4sI", 12 + len(alias), b"alis", 0) + alias
    place = data.index(b"url ", data.index(b"moov")) - 4
    data[place : place + 12] = entry
    start = 0
    for box in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):
        start = data.index(box, start) - 4
        data[start : start + 4] = struct.pack(">I", int.from_bytes(data[start : start + 4], "big") + len(entry) - 12)
        start += 8
    path.write_bytes(data)


def test_a_film_that_refers_to_another_file_is_not_followed(tmp_path):
    import av

    from modalities.files.media import OPTIONS

    path, other = (write_film(tmp_path / f"{n}.mp4", [coded(n)] * 30) for n in (7, 9))
    refer(path, other)
    followed = {"enable_drefs": "1", "use_absolute_path": "1"}
    with av.open(str(path), options=followed) as container, pytest.raises(av.FFmpegError):
        list(container.decode(video=0))  # it does lead there: its places in the other file hold something else
    assert not OPTIONS.keys() & followed.keys()
    with pytest.raises(InputError):
        video(path)


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".webm", ".avi", ".ts"])
def test_honest_media_still_open(tmp_path, ending):
    assert number(video(write_film(tmp_path / f"a{ending}", [coded(5)] * 30)).values[0].numpy()) == 5
    assert audio(write_sound(tmp_path / "a.wav", tone(1))).length == 16000
