"""Limits on the size of one file, checked against its metadata before memory or time is spent on it.

Every limit lies well above honest recordings (8K video, a month of sensors) and well below what stops a machine.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modalities.errors import SampleError

if TYPE_CHECKING:
    from av.container import InputContainer

PIXELS = 2**26  # of one picture, 8192 x 8192: video in 8K has 33 million
DURATION = 31 * 24 * 3600.0  # seconds of one recording
FRAME_RATE = 100_000  # pictures per second
SAMPLE_RATE = 1_000_000  # samples of sound per second
NUMBERS = 2**27  # in one table of readings or features: 1 GB in double precision
COLUMNS = 4096  # of one table
TABLE_BYTES = 2**30  # of one table of text, and of the columns of a parquet file once they are decompressed
HEADER_BYTES = 2**24  # of the header of a safetensors file: a hundred thousand tensors
LETTERS = 2**17  # of the captions of one window: a novel has a few times as many


def refuse_above(limit: int | float, value: int | float | Fraction, source: Any, what: str, remedy: str) -> None:
    """Refuse a file that claims more of something than one may have.

    Raises:
        SampleError: names the claim and the limit.
    """
    if not value <= limit:
        raise SampleError(source, f"claims {float(value):.10g} {what}, above the limit of {limit:.10g}", remedy)


def refuse_claims(container: InputContainer, source: Any) -> None:
    """Refuse a media file whose headers claim too much; nothing of it needs to have been decoded.

    Raises:
        SampleError: a picture, a duration or a rate above its limit.
    """
    remedy = "scale it down or re-encode it, or drop the row"
    for stream in container.streams.video:
        context = stream.codec_context
        pixels = 0 if context is None else max(context.width, 1) * max(context.height, 1)
        refuse_above(PIXELS, pixels, source, "pixels in a picture", remedy)
        refuse_above(FRAME_RATE, stream.average_rate or 0, source, "pictures per second", remedy)
    for stream in container.streams.audio:
        rate = 0 if stream.codec_context is None else stream.codec_context.sample_rate
        refuse_above(SAMPLE_RATE, rate or 0, source, "samples per second", remedy)
    lasts = [float(s.duration * s.time_base) for s in container.streams if s.duration and s.time_base]
    for seconds in [*lasts, (container.duration or 0) / 1e6]:
        refuse_above(DURATION, seconds, source, "seconds", "re-encode it, or drop the row")


def refuse_large_table(path: Path, rows: int, columns: int) -> None:
    """Refuse a table whose metadata claim more numbers than fit into memory; rows and columns as they are claimed.

    Raises:
        SampleError: names the claim and the limit.
    """
    remedy = "cut the recording into several files, or drop the row"
    refuse_above(COLUMNS, columns, path, "columns", remedy)
    refuse_above(NUMBERS, rows * columns, path, "numbers", remedy)


def refuse_large_file(path: Path) -> None:
    """Refuse a table of text that is larger than what may be parsed.

    Raises:
        SampleError: names its size and the limit.
    """
    refuse_above(TABLE_BYTES, path.stat().st_size, path, "bytes", "cut the recording into several files")


def refuse_long_header(path: Path) -> None:
    """Refuse a safetensors file whose first eight bytes claim a header that is no header.

    Raises:
        SampleError: names the claim and the limit.
    """
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
    refuse_above(HEADER_BYTES, size, path, "bytes of header", "write it again with safetensors")
