"""Pictures come upright and the right way round, however they were stored; what follows a picture turns with it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from media import write_film
from PIL import Image, ImageOps
from places import CASES

from modalities.video import VideoReader

CASE = CASES / "mirrored-image"
ORIENTATION = 274  # tag of EXIF
STORED = {  # how a picture lies in a file of each orientation
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
MATRICES = {  # where right and down of the stored picture point to, as (across, down)
    1: ((1, 0), (0, 1)),
    2: ((-1, 0), (0, 1)),
    3: ((-1, 0), (0, -1)),
    4: ((1, 0), (0, -1)),
    5: ((0, 1), (1, 0)),
    6: ((0, 1), (-1, 0)),
    7: ((0, -1), (-1, 0)),
    8: ((0, -1), (1, 0)),
}
SAVED = {"jpg": {"quality": 95, "subsampling": 0}, "png": {}, "webp": {"lossless": True}, "tiff": {}}
every_orientation = pytest.mark.parametrize("orientation", STORED)


def upright() -> np.ndarray:
    """Corners red / green over blue / yellow, (64, 96, 3)."""
    picture = np.zeros((64, 96, 3), dtype=np.uint8)
    picture[:32, :48], picture[:32, 48:] = (220, 30, 30), (30, 200, 30)
    picture[32:, :48], picture[32:, 48:] = (30, 30, 220), (230, 230, 40)
    return picture


def stored(picture: np.ndarray, orientation: int) -> Image.Image:
    turned = STORED[orientation]
    image = Image.fromarray(picture)
    return image if turned is None else image.transpose(turned)


def tagged(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


def matrix(orientation: int) -> list[int]:
    (a, b), (c, d) = MATRICES[orientation]
    return [a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30]


def read(path: Path, size: tuple[int, int] = (64, 96), **settings) -> np.ndarray:
    """The first picture, int (h, w, c)."""
    return (
        VideoReader(**{"frames": 1, "size": size} | settings)
        .read(str(path), 0.0, 0.2)
        .values[0]
        .permute(1, 2, 0)
        .int()
        .numpy()
    )


def apart(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one - other.astype(int)).mean())


@pytest.mark.parametrize("name", ["o1", "o2", "o4", "o5", "o6", "o7"])
def test_the_case_of_mirrored_images(name):
    assert apart(read(CASE / f"{name}.jpg"), upright()) < 3


@every_orientation
@pytest.mark.parametrize("kind", SAVED)
def test_images_are_shown_as_pillow_shows_them(tmp_path, kind, orientation):
    path = tmp_path / f"a.{kind}"
    stored(upright(), orientation).save(path, exif=tagged(orientation), **SAVED[kind])
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert apart(expected, upright()) < 3
    assert apart(read(path), expected) < 3
    assert apart(read(path, channels=1)[..., 0], np.asarray(Image.fromarray(expected).convert("L"))) < 3


@every_orientation
def test_videos_are_shown_by_their_display_matrix(tmp_path, orientation):
    pictures = [np.asarray(stored(upright(), orientation))] * 5
    path = write_film(tmp_path / "a.mp4", pictures, matrix=matrix(orientation))
    assert apart(read(path), upright()) < 8  # chroma is stored at half the size


@pytest.mark.parametrize("orientation", [2, 5, 6])
def test_frames_of_motion_jpeg_obey_their_exif(tmp_path, orientation):
    stored(upright(), orientation).save(tmp_path / "a.jpg", exif=tagged(orientation), **SAVED["jpg"])
    data = (tmp_path / "a.jpg").read_bytes()
    with av.open(str(tmp_path / "a.mov"), "w") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.height, stream.width = np.asarray(stored(upright(), orientation)).shape[:2]
        stream.pix_fmt = "yuvj444p"
        for i in range(5):
            packet = av.Packet(data)
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, i, i, Fraction(1, 10)
            packet.is_keyframe = True
            container.mux(packet)
    assert apart(read(tmp_path / "a.mov"), upright()) < 3


@pytest.mark.parametrize(("orientation", "fit"), [(2, "crop"), (5, "crop"), (7, "stretch")])
def test_a_mirrored_picture_is_cut_in_its_middle(tmp_path, orientation, fit):
    stored(upright(), orientation).save(tmp_path / "a.png", exif=tagged(orientation))
    Image.fromarray(upright()).save(tmp_path / "b.png")
    both = [read(tmp_path / name, (32, 24), fit=fit) for name in ("a.png", "b.png")]
    assert apart(*both) < 1


def moving() -> list[np.ndarray]:
    """A soft square that goes right, in the upper half of a ground at rest."""
    noise = np.random.default_rng(0)
    ground = np.kron(noise.integers(0, 200, (8, 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    square = np.kron(noise.integers(0, 255, (4, 4, 3)), np.ones((6, 6, 1))).astype(np.uint8)
    pictures = []
    for i in range(24):
        picture = ground.copy()
        picture[4:28, i : i + 24] = square
        pictures.append(picture)
    return pictures


@pytest.mark.parametrize("hint", ["motion", "flow"])
def test_hints_are_mirrored_with_the_picture(tmp_path, hint):
    if hint == "flow":
        pytest.importorskip("cv2")
    plain = write_film(tmp_path / "a.mp4", moving(), rate=24)
    mirrored = tmp_path / "b.mp4"
    with av.open(str(plain)) as container, av.open(str(mirrored), "w") as copy:  # encoded once: threads change bits
        stream = copy.add_stream_from_template(container.streams.video[0])
        stream.set_display_matrix(matrix(2))
        for packet in container.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                copy.mux(packet)
    one, other = (VideoReader(frames=8, size=64, hint=hint).read(str(path), 0.0, 1.0) for path in (plain, mirrored))
    assert one.values.flip(-1).equal(other.values)
    flipped = one.hint.flip(-1)
    if hint == "motion":
        assert torch.equal(flipped, other.hint)
        assert not torch.equal(one.hint, other.hint)
        return
    right, left = (maps[:, 0, 2:6].mean().item() for maps in (one.hint, other.hint))
    assert right > 0.02 and left == pytest.approx(-right, rel=0.15)
    assert (flipped[:, 1] - other.hint[:, 1]).abs().mean() < 0.02


@pytest.mark.parametrize("orientation", [2, 5, 8])
def test_regions_obey_their_own_orientation(tmp_path, orientation):
    classes = np.kron(np.arange(6, dtype=np.uint8).reshape(2, 3), np.ones((32, 32), dtype=np.uint8))
    film = write_film(tmp_path / "a.mp4", [upright()] * 5)
    stored(classes, orientation).save(tmp_path / "r.png", exif=tagged(orientation))
    source = {"path": str(film), "regions": str(tmp_path / "r.png")}
    found = VideoReader(frames=1, size=(64, 96), hint="regions").read(source, 0.0, 0.2).hint
    assert np.array_equal(found[0].numpy(), classes[::4, ::4])
