"""Pictures of things with what they are, written and spoken in French (785 pictures, audio, text).

Debian package: `tuxpaint-stamps-default` (GPL-2), the stamps of a drawing programme for children: photos and drawings,
a caption in a hundred languages, and for nearly all of them a voice that says it in French, a second long. `label` is
the category (animals, food, symbols...), `group` the English caption: some things are there twice.

A picture is cut out, so it is laid on a white square. Stamps that are there as SVG only are left out.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from mmmae.corpora import shipped
from mmmae.corpora.writing import write_credits, write_manifest, write_picture
from modalities.errors import InputError

INSTALL = "apt-get install tuxpaint-stamps-default"
STAMPS = Path("/usr/share/tuxpaint/stamps")
LANGUAGES = ("en", "es", "fr")  # every picture has a caption in these

CREDITS = """
# Stamps

From the Debian package tuxpaint-stamps-default, (c) 2002-2022 Bill Kendrick and the contributors of Tux Paint, under
the GNU General Public License, version 2. Pictures are laid on a white ground, sounds copied unchanged.
"""


def write(out: Path, *, language: str = "en") -> Path:
    """Write a PNG per stamp, copy its French description, and list them with their captions.

    Args:
        language: of the captions: en, es, or fr (which is what the voice says).

    Raises:
        InputError: the package is not installed or without stamps, or there is no such language.
    """
    if language not in LANGUAGES:
        raise InputError(f"stamps: language={language}\n  take one of {', '.join(LANGUAGES)}")
    rows = []
    for picture in sorted(shipped(STAMPS, INSTALL).rglob("*.png")):
        if not (text := picture.with_suffix(".txt")).is_file():
            continue  # the other side of a stamp that has one
        captions = read_captions(text)
        name = picture.relative_to(STAMPS).with_suffix("").as_posix()
        copy = out / f"{name}.png"
        copy.parent.mkdir(parents=True, exist_ok=True)
        write_picture(copy, on_white_square(read_picture(picture)))
        spoken = picture.with_name(f"{picture.stem}_desc_fr.ogg")
        if spoken.is_file():
            shutil.copyfile(spoken, copy.with_suffix(".ogg"))
        rows.append(
            {
                "id": name,
                "video": copy,
                "audio": copy.with_suffix(".ogg") if spoken.is_file() else None,
                "text": captions.get(language),
                "label": name.partition("/")[0],
                "group": captions["en"],
            }
        )
    if not rows:
        raise InputError(f"{STAMPS}: no pictures with captions\n  {INSTALL}")
    write_credits(out, CREDITS)
    return write_manifest(out, rows)


def read_captions(path: Path) -> dict[str, str]:
    """Captions by language: the first line is English, the others are `xx.utf8=...`."""
    english, *others = path.read_text(encoding="utf-8").splitlines() or [""]
    pairs = (line.partition(".utf8=") for line in others)
    return {"en": english.strip(), **{language: caption.strip() for language, _, caption in pairs if caption.strip()}}


def read_picture(path: Path) -> np.ndarray:
    """A picture as uint8 (h, w, 4), the last channel its opacity."""
    import av

    with av.open(str(path)) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgba")


def on_white_square(picture: np.ndarray) -> np.ndarray:
    """A picture (h, w, 4) in the middle of a white square (s, s, 3), s the longer side: nothing is cut off later."""
    height, width = picture.shape[:2]
    opacity = picture[..., 3:] / 255
    side = max(height, width)
    square = np.full((side, side, 3), 255, np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = np.rint(picture[..., :3] * opacity + 255 * (1 - opacity))
    return square
