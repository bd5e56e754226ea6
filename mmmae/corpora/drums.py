"""Single strokes of drums, from fourteen drum kits, recorded and synthesized (audio).

Debian package: `hydrogen-drumkits`, the kits of a drum machine, each under a free licence of its own. `group` is the
kit, for what is learned of drums should hold for a kit never heard. `label` is what is struck, where the name of the
instrument says that it is one of seven things; other sounds have none.
"""

from __future__ import annotations

import re
import shutil
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from pathlib import Path

import numpy as np

from mmmae.corpora import shipped
from mmmae.corpora.writing import write_credits, write_manifest
from modalities.errors import InputError

INSTALL = "apt-get install hydrogen-drumkits"
KITS = Path("/usr/share/hydrogen/data/drumkits")

STRUCK = {
    "kick": re.compile(r"\bkick\b|\bbass ?drum\b"),
    "snare": re.compile(r"\bsnare"),
    "tom": re.compile(r"\btom"),  # not custom
    "hihat": re.compile(r"\bhat\b|hh\b"),
    "ride": re.compile(r"\bride\b"),
    "crash": re.compile(r"\bcrash"),
    "clap": re.compile(r"\bclap\b"),
}

CREDITS = """
# Drums

From the Debian package hydrogen-drumkits, copied unchanged:

- Audiophob: soundcloud.com/audiophobdubstep; CC0
- BJA_Pacific: Luc Tanguay, Bransin James Anderson; CC-BY-SA-3.0-US
- circAfrique v4: Jim Harney; CC-BY-SA-3.0
- ColomboAcousticDrumkit: Marcos Guglielmetti; GPL-2+ with an exception for compositions
- ElectricEmpireKit, HardElectro1, VariBreaks: Artemiy Pavlov; GPL-2+
- ForzeeStereo: Vladimir Sadovnikov, Alexander Belokurov; GPL-2
- Gimme A Hand 1.0, The Black Pearl 1.0: Glen MacArthur; GPL-2
- Millo-Drums_v.1, Millo_MultiLayered2, Millo_MultiLayered3: Emiliano Grilli; GPL-2
- rumpf_kit_z01_h2: Emanuel Rumpf; CC-BY-3.0
"""


def write(out: Path, *, seconds: float = 1.0) -> Path:
    """Copy every sound that an instrument of a kit plays, and list its first `seconds`.

    Raises:
        InputError: the package is not installed or without sounds.
    """
    if seconds <= 0:
        raise ValueError(f"seconds is how much of a stroke is listed and must be above 0, got {seconds}")
    rows = []
    for score in sorted(shipped(KITS, INSTALL).glob("*/drumkit.xml")):
        kit = score.parent.name
        for name, label in read_kit(score).items():
            copy = out / kit / name
            length, heard = measure(score.parent / name)
            if not heard:
                continue  # what a kit has in an empty place
            copy.parent.mkdir(exist_ok=True)
            shutil.copyfile(score.parent / name, copy)
            rows.append(
                {
                    "id": f"{kit}/{name.rpartition('.')[0]}",
                    "audio": copy,
                    "end": seconds if length > seconds else None,
                    "label": label,
                    "group": kit,
                }
            )
    if not rows:
        raise InputError(f"{KITS}: no drum kits with sounds\n  {INSTALL}")
    write_credits(out, CREDITS)
    return write_manifest(out, rows)


def read_kit(path: Path) -> dict[str, str | None]:
    """The sounds of a kit that are there, by file in order, and what is struck if all their instruments say the same.

    Raises:
        InputError: the file is no drum kit.
    """
    try:
        tree = ElementTree.parse(path)
    except (OSError, ElementTree.ParseError) as error:
        raise InputError(f"{path}: cannot be read ({error})\n  {INSTALL}") from error
    struck: dict[str, set[str]] = defaultdict(set)
    for instrument in tree.iterfind(".//{*}instrument"):
        called = instrument.findtext("{*}name") or ""
        for file in instrument.iterfind(".//{*}filename"):
            if file.text and (path.parent / file.text).is_file():
                struck[file.text].update(name_struck(called))
    return {name: next(iter(struck[name])) if len(struck[name]) == 1 else None for name in sorted(struck)}


def name_struck(called: str) -> set[str]:
    """Which of the seven the name of an instrument speaks of."""
    return {label for label, word in STRUCK.items() if word.search(called.lower())}


def measure(path: Path) -> tuple[float, bool]:
    """How long a sound lasts in seconds, and whether there is any."""
    import av

    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    samples = np.concatenate([frame.to_ndarray().reshape(-1) for frame in frames])
    return sum(frame.samples for frame in frames) / frames[0].sample_rate, bool(np.ptp(samples))
