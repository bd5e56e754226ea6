"""A concert video of one minute with its sound, cut into segments: PyPI `iscc-samples` 0.6.0 (CC-BY-4.0).

`pip install iscc-samples==0.6.0` (a source archive of 54 MB). Real video (H.264, 176x144 at 24 fps, AAC stereo at 22
kHz), and the same minute in many other containers and codecs: `containers=True` adds those, which tests every decoder.
"""

from __future__ import annotations

import math
import shutil
from pathlib import Path

from mmmae.corpora import installed
from mmmae.corpora.writing import write_credits, write_manifest
from modalities.errors import InputError

INSTALL = "pip install iscc-samples==0.6.0"
OTHERS = ("3g2", "3gp", "asf", "avi", "f4v", "m4v", "mkv", "mov", "mpg", "ogv", "rm", "vob", "webm", "wmv")
"""The containers that hold both picture and sound and know how long they are."""

CREDITS = """
# Concert

`demo.*` from the package iscc-samples 0.6.0 (PyPI), (c) 2021 Titusz Pan, under CC-BY-4.0
(https://creativecommons.org/licenses/by/4.0/). Copied unchanged.
"""


def write(out: Path, *, window: float = 5.0, test: float = 0.2, containers: bool = False) -> Path:
    """Copy the video and list its consecutive segments of `window` seconds, the last share `test` held out.

    Raises:
        InputError: the package is absent or without the video, or the video is shorter than two segments.
    """
    import av

    folder = installed("iscc_samples", INSTALL) / "files/video"
    names = ["demo.mp4", *(f"demo.{suffix}" for suffix in OTHERS if containers)]
    for name in names:
        if not (folder / name).is_file():
            raise InputError(f"{folder / name}: not in the installed iscc-samples\n  {INSTALL}")
        shutil.copyfile(folder / name, out / name)
    with av.open(str(out / names[0])) as container:
        seconds = (container.duration or 0) / av.time_base
    pieces = math.floor(seconds / window) if window > 0 else 0
    if pieces < 2 or not 0 <= test < 1:
        raise InputError(
            f"concert: window={window}, test={test} leave no piece to train on\n"
            f"  the video lasts {seconds:.0f} s: take a window up to {seconds / 2:.0f} and test in [0, 1)"
        )
    write_credits(out, CREDITS)
    return write_manifest(
        out,
        (
            {
                "id": f"{name}-{piece:02d}",
                "video": name,
                "start": piece * window,
                "end": (piece + 1) * window,
                "group": name.partition(".")[2],
                "split": "train" if piece < round(pieces * (1 - test)) else "test",
            }
            for name in names
            for piece in range(pieces)
        ),
    )
