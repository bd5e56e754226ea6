"""Depth, temperature and radiance keep their numbers: a stated range is read linearly, nothing is squeezed unseen."""

from __future__ import annotations

import json

import av
import numpy as np
import pytest
import tiny
import torch
from measured import DEPTH, PHOTO, expected, noted, read, write_frames, write_tiff
from PIL import Image

from mmmae.__main__ import main
from mmmae.api import MaskedAutoencoder
from mmmae.panels import draw
from modalities.errors import SampleError
from modalities.records import Signal
from modalities.video import VideoReader, VideoTokenizer
from modalities.video.augmentation import VideoAugmentation
from modalities.video.deep import CLIPPED, SQUEEZED, UNKNOWN

# A stated range


@pytest.mark.parametrize("name", ["d.png", "d.tif", "lzw.tif", "d.pgm", "d.mkv"])
def test_sixteen_bit_pictures_keep_every_number(tmp_path, name):
    path = tmp_path / name
    if name == "d.mkv":
        write_frames(path, "gray16le", [DEPTH] * 5)
    else:
        Image.fromarray(DEPTH).save(path, **{"compression": "tiff_lzw"} if name == "lzw.tif" else {})
    found = read(path, range=(0, 65535))
    assert found.dtype == torch.float32 and found.shape == (1, 1, 64, 96)
    assert torch.allclose(found[0, 0], expected(DEPTH, 0, 65535), atol=1e-7)
    assert torch.allclose(read(path, range=(0, 65535), channels=3)[0, 2], found[0, 0])
    near = read(path, range=(1000, 2000))
    assert torch.allclose(near[0, 0], expected(DEPTH, 1000, 2000), atol=1e-6)
    assert noted(path, range=(1000, 2000)) == (CLIPPED,) and noted(path, range=(0, 65535)) == ()


@pytest.mark.parametrize("name", ["f.tif", "deflate.tif", "f.exr", "half.exr", "i32.tif", "i16.tif"])
def test_floats_and_signed_numbers_keep_their_scale(tmp_path, name):
    path, celsius = tmp_path / name, (DEPTH / 1000 - 20).astype(np.float32)  # -20 to 41.4
    low, high, exact = -20, 45, 1e-6
    if name.startswith("i"):
        celsius = (celsius * 10).astype(np.int32)
        low, high = -200, 450
    if name.endswith("exr"):
        options = {"format": "half"} if name == "half.exr" else {}
        write_frames(path, "grayf32le", [celsius], codec="exr", **options)
        exact = 5e-4 if options else exact
    elif name == "i16.tif":
        write_tiff(path, celsius.astype(np.int16))
    else:
        Image.fromarray(celsius).save(path, compression="tiff_adobe_deflate" if name == "deflate.tif" else None)
    assert torch.allclose(read(path, range=(low, high))[0, 0], expected(celsius, low, high), atol=exact)


def test_colours_of_floats_stay_red_green_and_blue(tmp_path):
    planes = np.stack([np.full((64, 96), value, dtype=np.float32) for value in (2.0, 3.0, 1.0)])  # G, B, R
    for options in ({}, {"format": "half"}):
        path = write_frames(tmp_path / "a.exr", "gbrpf32le", [planes], codec="exr", **options)
        found = read(path, channels=3, range=(0, 4))
        assert found[0, :, 5, 5].tolist() == [0.25, 0.5, 0.75]
        with pytest.raises(SampleError, match="holds colours, but `channels: 1` is read"):
            read(path, range=(0, 4))
    same = np.full((3, 64, 96), 2.0, dtype=np.float32)
    assert (read(write_frames(tmp_path / "b.exr", "gbrpf32le", [same], codec="exr"), range=(0, 4)) == 0.5).all()


def test_pixels_without_a_value_are_said(tmp_path):
    values = np.ones((64, 96), dtype=np.float32)
    values[:10], values[20:30] = np.nan, np.inf
    Image.fromarray(values).save(tmp_path / "a.tif")
    found = read(tmp_path / "a.tif", range=(0, 2))[0, 0]
    assert (found[:10] == 0).all() and (found[20:30] == 1).all() and (found[40:] == 0.5).all()
    assert noted(tmp_path / "a.tif", range=(0, 2)) == (UNKNOWN, CLIPPED)


def test_a_measured_video_is_resized_in_floats_and_by_its_time(tmp_path):
    ramp = np.broadcast_to(np.arange(96, dtype=np.uint16), (64, 96))  # 8 bits of the full range would hold one level
    path = write_frames(tmp_path / "a.mkv", "gray16le", [ramp + 100 * i for i in range(10)])
    found = read(path, span=1.0, frames=5, size=(32, 48), range=(0, 1200))
    assert found.shape == (5, 1, 32, 48)
    assert found[:, 0, 10, 20].mul(1200).sub(40.5).tolist() == pytest.approx([100, 300, 500, 700, 900], abs=1e-2)
    assert found[0, 0].diff(dim=1)[:, 1:-1].mul(1200).mean() == pytest.approx(2, abs=1e-3)


# Without a range


def test_measurements_without_a_range_are_refused_with_the_line(tmp_path):
    Image.fromarray(DEPTH).save(tmp_path / "d.png")
    Image.fromarray(DEPTH.astype(np.float32)).save(tmp_path / "f.tif")
    write_frames(tmp_path / "v.mkv", "gray16le", [DEPTH] * 5)
    for name, ends in (("d.png", "0,65535"), ("f.tif", "7,61437"), ("v.mkv", "0,65535")):
        for channels in (1, 3):
            with pytest.raises(SampleError, match=rf"7 to 61437.*\n.*range=\[{ends}\]"):
                read(tmp_path / name, channels=channels)


def test_what_cannot_have_the_range_is_refused(tmp_path):
    Image.fromarray(PHOTO[..., 0]).save(tmp_path / "g.png")
    Image.fromarray(PHOTO).save(tmp_path / "p.jpg")
    with pytest.raises(SampleError, match="8-bit values, which cannot fill the range"):
        read(tmp_path / "g.png", range=(0, 10000))
    with pytest.raises(SampleError, match=r"yuvj420p pictures, whose levels have no range.*\n  leave out `range`"):
        read(tmp_path / "p.jpg", range=(0, 255))
    found = read(tmp_path / "g.png", range=(0, 255))
    assert torch.allclose(found[0, 0], expected(PHOTO[..., 0], 0, 255), atol=1e-6)
    for ends in ((1, 1), (2, 0), (0, float("inf"))):
        with pytest.raises(ValueError, match="range="):
            VideoReader(range=ends)


def test_ordinary_pictures_stay_what_they_were(tmp_path):
    """Colours of more bits are levels, with a note; so is 10-bit video, without one."""
    frame = av.VideoFrame.from_ndarray(PHOTO.astype(np.uint16) * 257, format="rgb48le")
    with av.open(str(tmp_path / "a.png"), "w", format="image2", options={"update": "1"}) as container:
        stream = container.add_stream("png", rate=1)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "rgb48be"
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    found = read(tmp_path / "a.png", channels=3)
    assert found.dtype == torch.uint8 and np.abs(found[0].permute(1, 2, 0).numpy() - PHOTO.astype(int)).max() <= 1
    assert noted(tmp_path / "a.png", channels=3) == (SQUEEZED,)
    exact = read(tmp_path / "a.png", channels=3, range=(0, 65535))
    assert torch.allclose(exact[0].permute(1, 2, 0), expected(PHOTO, 0, 255), atol=1e-6)
    with av.open(str(tmp_path / "v.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p10le"
        for i in range(5):
            frame = av.VideoFrame.from_ndarray(PHOTO)
            frame = frame.reformat(format="yuv420p10le")
            frame.pts = i
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert read(tmp_path / "v.mkv").dtype == torch.uint8 and noted(tmp_path / "v.mkv") == ()


# Through the model


def test_a_tokenizer_of_a_range_restores_its_numbers():
    tokenizer = VideoTokenizer(16, patch=8, tube=1, channels=1, range=(0, 10000))
    assert tokenizer.full_scale == 1.0 and VideoTokenizer(16).full_scale == 255.0
    values = torch.rand(2, 3, 1, 16, 16)
    patches = tokenizer.patchify(Signal(values))
    scaled = tokenizer.standardise(patches.values)
    assert scaled.min() < -0.9 and scaled.max() > 0.9
    everything = torch.arange(12).expand(2, 12)
    restored = tokenizer.restore(patches, tokenizer.target(patches, everything), everything)
    assert restored.dtype == torch.float32 and torch.allclose(restored, values, atol=1e-6)


def test_crops_keep_fractions_of_a_range():
    values = torch.rand(2, 3, 1, 16, 16) / 100
    mirror = VideoAugmentation(scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=1.0)
    assert torch.allclose(mirror(Signal(values), tiny.keys(2)).values, values.flip(-1), atol=1e-7)


RGBD = """
size: tiny
window: 1
modalities:
  video: {frames: 1, size: 32, patch: 16, tube: 1}
  depth: {use: video, frames: 1, size: 32, patch: 16, tube: 1, channels: 1, range: [0, 5000]}
masking:
  video: {use: random, ratio: 0.5}
  depth: {use: random, ratio: 0.5}
trunk: {use: joint}
objectives:
  reconstruction: {decoder: {use: cross}, normalise: {video: patch_channel, depth: patch_channel}}
training: {epochs: 1, batch_size: 4, workers: 0, trackers: []}
"""


def test_colour_and_depth_train_together(tmp_path):
    noise = np.random.default_rng(1)
    rows = []
    for i in range(6):
        Image.fromarray(noise.integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(tmp_path / f"c{i}.png")
        Image.fromarray(noise.integers(0, 5000, (40, 60)).astype(np.uint16)).save(tmp_path / f"d{i}.png")
        rows.append({"id": str(i), "video": f"c{i}.png", "depth": f"d{i}.png"})
    (tmp_path / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "rgbd.yaml").write_text(RGBD)
    run = ["train", "--recipe", str(tmp_path / "rgbd.yaml"), "--data", str(tmp_path), "data.holdout=0"]
    assert main([*run, "training.steps=2", "--output", str(tmp_path / "run")]) == 0
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert 0 < log[-1]["reconstruction/depth"] < 10 and 0 < log[-1]["reconstruction/video"] < 10
    model = MaskedAutoencoder.from_pretrained(tmp_path / "run")
    depth = model.tokenizers["depth"]
    assert tuple(depth.range) == (0, 5000) and depth.full_scale == 1.0
    batch = model.recipe.example(batch_size=2)
    assert batch["depth"].values.dtype == torch.float32
    assert draw(model, batch, tmp_path / "page.png").exists()
    plain = RGBD.replace(", range: [0, 5000]", "")
    (tmp_path / "rgbd.yaml").write_text(plain)
    assert main([*run, "training.steps=2", "--output", str(tmp_path / "plain")]) == 2
