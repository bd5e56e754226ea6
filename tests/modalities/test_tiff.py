"""A TIFF is the picture that was saved, whoever wrote it, or it is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from measured import DEPTH, PHOTO, expected, read, write_tiff
from PIL import Image

from modalities.errors import SampleError


@pytest.mark.parametrize("compression", ["jpeg", "tiff_lzw", "tiff_adobe_deflate", "packbits", "zstd", "lzma", None])
@pytest.mark.parametrize("colours", [3, 1])
def test_a_tiff_of_any_compression_is_the_picture(tmp_path, compression, colours):
    smooth = np.kron(PHOTO[::16, ::16], np.ones((16, 16, 1), dtype=np.uint8))
    picture = smooth if colours == 3 else smooth[..., 0]
    Image.fromarray(picture).save(tmp_path / "a.tif", compression=compression)
    with Image.open(tmp_path / "a.tif") as image:
        shown = np.asarray(image.convert("RGB"))
    found = read(tmp_path / "a.tif", channels=3)[0].permute(1, 2, 0).numpy()
    assert np.array_equal(found, shown)
    assert np.abs(shown.astype(int) - (picture if colours == 3 else picture[..., None])).mean() < 12


@pytest.mark.parametrize("tile", [0, 16, 32])
def test_a_tiff_in_tiles_is_the_picture(tmp_path, tile):
    found = read(write_tiff(tmp_path / "a.tif", PHOTO, tile), channels=3)[0].permute(1, 2, 0)
    assert np.array_equal(found.numpy(), PHOTO)
    depth = read(write_tiff(tmp_path / "d.tif", DEPTH, tile), range=(0, 65535))
    assert torch.allclose(depth[0, 0], expected(DEPTH, 0, 65535), atol=1e-6)


@pytest.mark.parametrize("kind", ["float16", "float64", "int8"])
def test_a_tiff_that_would_be_misread_is_refused(tmp_path, kind):
    path = write_tiff(tmp_path / "a.tif", (DEPTH / 1000).astype(kind))
    with pytest.raises(SampleError, match=r"a\.tif: is a TIFF of .*bit.*\n  save it as PNG"):
        read(path, channels=3)


def test_a_broken_tiff_is_named(tmp_path):
    path = write_tiff(tmp_path / "a.tif", PHOTO, 16)
    path.write_bytes(path.read_bytes()[: len(path.read_bytes()) // 2])
    with pytest.raises(SampleError, match=r"a\.tif"):
        read(path)
