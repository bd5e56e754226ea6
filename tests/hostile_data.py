"""Recordings, tables, captions and manifests made to run code, to read other files or to reach the network."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
from hostile import CANARY, Cases, Payload, audio, embedding, imu, objects, put, video
from media import coded, tone, write_film
from pyarrow import parquet

from mmmae.data.clips import Clips
from mmmae.data.loader import Loader
from mmmae.data.manifest import Manifest
from modalities.imu import IMUReader
from modalities.text import TextReader

CASES = Cases()
case = CASES.case

# Pickle in every kind of file that is read


@case
def pickled_objects_in_npy_as_imu(folder):
    imu(objects(folder / "a.npy"))


@case
def pickled_objects_in_npy_as_embedding(folder):
    embedding(objects(folder / "a.npy"))


@case
def an_archive_of_pickles_called_npy(folder):
    np.savez(folder / "a.npz", x=np.array([Payload(folder)], dtype=object))
    imu((folder / "a.npz").rename(folder / "a.npy"))


@case
def code_in_the_header_of_npy(folder):
    header = (
        f"{{'descr': '<f4', 'fortran_order': False, 'shape': __import__('os').mkdir('{folder / CANARY}')}}\n".encode()
    )
    imu(put(folder, "a.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header))


for ending in (".csv", ".parquet", ".npy"):
    CASES[f"a_pickle_as_imu{ending}"] = lambda folder, ending=ending: imu(put(folder, "a" + ending))
for ending in (".npy", ".parquet", ".safetensors"):
    CASES[f"a_pickle_as_embedding{ending}"] = lambda folder, ending=ending: embedding(put(folder, "a" + ending))
for ending in (".wav", ".flac", ".mp3"):
    CASES[f"a_pickle_as_sound{ending}"] = lambda folder, ending=ending: audio(put(folder, "a" + ending))
for ending in (".mp4", ".mkv", ".png"):
    CASES[f"a_pickle_as_film{ending}"] = lambda folder, ending=ending: video(put(folder, "a" + ending))
for ending in (".jsonl", ".json", ".csv", ".parquet"):
    CASES[f"a_pickle_as_manifest{ending}"] = lambda folder, ending=ending: Manifest.open(put(folder, "a" + ending))


@case
def a_pickle_as_captions(folder):
    put(folder, "a.txt", b"\x80" + pickle.dumps(Payload(folder)))
    next(iter(Loader(Clips(Manifest.open(folder), {"text": TextReader()}, window=1.0), 1)))


def extension(folder: Path) -> Path:
    """A parquet file whose column is of a type that old Arrow unpickles (CVE-2023-47248)."""
    names = {b"ARROW:extension:name": b"arrow.py_extension_type"}
    field = pa.field("a.x", pa.float64(), metadata=names | {b"ARROW:extension:metadata": pickle.dumps(Payload(folder))})
    parquet.write_table(pa.table([pa.array([1.0, 2.0])], schema=pa.schema([field])), folder / "a.parquet")
    return folder / "a.parquet"


@case
def a_pickled_arrow_type_as_imu(folder):
    IMUReader(sensors=1).read({"path": str(extension(folder))}, 0.0, 1.0)


@case
def a_pickled_arrow_type_as_manifest(folder):
    Manifest.open(extension(folder))


# Media that open other files or the network


def secret(folder: Path, ending: str = ".ts") -> Path:
    """A film that opens, if anything leads there."""
    return write_film(folder / f"secret{ending}", [coded(7)] * 30, sound=tone(1.2))


HLS = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXTINF:1.2,\n{}\n#EXT-X-ENDLIST\n"
MPD = """<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT1S"
 profiles="urn:mpeg:dash:profile:full:2011"><Period><AdaptationSet mimeType="video/mp4"><Representation id="1"
 bandwidth="1"><BaseURL>{}</BaseURL></Representation></AdaptationSet></Period></MPD>"""
LISTS = {
    "hls": HLS.format("secret.ts"), "hls_absolute": HLS.format("{0}"), "hls_network": HLS.format("http://127.0.0.1:9/a.ts"),
    "concat": "ffconcat version 1.0\nfile secret.ts\n", "concat_absolute": "ffconcat version 1.0\nfile {0}\n",
    "dash": MPD.format("secret.mp4"), "sdp": "v=0\nc=IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    "subtitles": "# VobSub index file, v7 (do not modify this line!)\nid: en, index: 0\n",
}  # fmt: skip
for kind, text in LISTS.items():
    for ending in (".mp4", ".m3u8") if kind == "hls" else (".mp4",):

        def as_film(folder: Path, text: str = text, ending: str = ending) -> None:
            secret(folder, ".mp4")
            video(put(folder, "a" + ending, text.replace("{0}", str(secret(folder)))))

        def as_sound(folder: Path, text: str = text, ending: str = ending) -> None:
            secret(folder, ".mp4")
            audio(put(folder, "a" + ending, text.replace("{0}", str(secret(folder)))))

        CASES |= {f"{kind}_as_film{ending}": as_film, f"{kind}_as_sound{ending}": as_sound}


@case
def a_protocol_for_a_path(folder):
    secret(folder)
    video(Path(f"concat:{folder / 'secret.ts'}"))


@case
def the_network_for_a_path(folder):
    video(Path("http://127.0.0.1:9/a.mp4"))
