"""TIFF images that FFmpeg decodes to black or to wrong numbers without an error: Pillow (libtiff) reads them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modalities.errors import SampleError
from modalities.files import limits

if TYPE_CHECKING:
    from av import VideoFrame
    from PIL.Image import Image

WIDTH, HEIGHT, BITS, COMPRESSION, TILE_WIDTH, SAMPLE_FORMAT = 256, 257, 258, 259, 322, 339  # TIFF 6.0
UNSIGNED, FLOAT = 1, 3  # sample formats
DEEP = ("F", "I", "I;16", "I;16B", "I;16L", "I;16N")  # modes of Pillow that keep more than 8 bits
DECODED = (1, 2, 3, 4, 5, 8, 32773, 32946)  # none, CCITT, LZW, Deflate, PackBits: compressions that FFmpeg knows
REMEDY = "save it as PNG, or as TIFF of 8 or 16-bit integers or 32-bit floats"


def decode(path: Any) -> VideoFrame | None:
    """The first picture of a TIFF, upright, in its stored values; None where FFmpeg reads the file rightly.

    FFmpeg 8.1 fills tiles and JPEG strips with zeros and takes signed and half-precision numbers for unsigned ones.

    Raises:
        SampleError: neither reads it.
    """
    import av
    from PIL import Image, ImageOps, UnidentifiedImageError

    tags = first_directory(path)
    bits, kinds = max(tags.get(BITS, (1,))), set(tags.get(SAMPLE_FORMAT, (UNSIGNED,)))
    plain = (kinds == {UNSIGNED} and bits <= 16) or (kinds == {FLOAT} and bits == 32 and len(tags.get(BITS)) > 1)
    if plain and TILE_WIDTH not in tags and tags.get(COMPRESSION, 1) in DECODED:
        return None
    limits.refuse_above(limits.PIXELS, tags[WIDTH] * tags[HEIGHT], path, "pixels in a picture", "scale it down")
    what = f"is a TIFF of {bits}-bit {'floats' if FLOAT in kinds else 'numbers'} that cannot be read"
    try:
        with Image.open(path, formats=["TIFF"]) as image:
            if (bits > 8 and image.mode not in DEEP) or (bits == 8 and UNSIGNED not in kinds):
                raise SampleError(path, what, REMEDY)  # Pillow would squeeze colours, or read signed bytes as unsigned
            return av.VideoFrame.from_ndarray(*values(ImageOps.exif_transpose(image)))
    except UnidentifiedImageError as error:
        raise SampleError(path, what, REMEDY) from error


def first_directory(path: Any) -> Any:
    """The tags of the first picture of a TIFF."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    with Path(path).open("rb") as file:
        try:
            tags = ImageFileDirectory_v2(file.read(8))
            file.seek(tags.next)
            tags.load(file)
        except SyntaxError as error:
            raise SampleError(path, f"has a broken TIFF header ({error})", REMEDY) from error
    if WIDTH not in tags or HEIGHT not in tags:
        raise SampleError(path, "has a TIFF header without the size of its picture", REMEDY)
    return tags


def values(image: Image) -> tuple[np.ndarray, str]:
    """The numbers of a picture and the name of their pixel format."""
    if image.mode in DEEP[:2]:  # I: integers of 32 bits, or signed ones of 16
        return np.asarray(image, dtype=np.float32), "grayf32le"
    if image.mode in DEEP:
        return np.asarray(image).astype(np.uint16), "gray16le"
    if image.mode in ("1", "L", "LA"):
        return np.asarray(image.convert("L")), "gray"
    return np.asarray(image.convert("RGB")), "rgb24"
