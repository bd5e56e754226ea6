"""A folder of recordings as rows: files of one name belong together, and what is ignored is counted."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmmae.data import headers, kinds
from mmmae.data.allowed_paths import Enclosure
from mmmae.data.delimited import LISTED, Rows, read_text
from mmmae.data.findings import Findings
from mmmae.data.spelling import Verbatim, escaped
from modalities.errors import InputError, SampleError

ANCHORS = [("video",), ("image",), ("audio", "imu"), ("text",)]  # the first found decides what a row of a folder is
CALLED = {"video": "video", "image": "image", "audio": "sound", "imu": "table of sensors", "text": "caption file"}
SEVERAL = {kind: f"{called}s" for kind, called in CALLED.items()} | {"imu": "tables of sensors"}
LONGEST = 1_000_000  # bytes of a caption's file: what is longer is no caption
CLUTTER = ("__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found", "__pycache__")
UNFINISHED = (".part", ".partial", ".crdownload", ".download", ".tmp", ".temp", ".ytdl", ".aria2", ".!qb")
UNCLEAR = (".npy", ".npz", ".parquet")  # sensors or features, at a rate that only a manifest tells
LISTS = 64 * 1024  # bytes of a table's first line that are looked at


@dataclass
class Recording:
    """The files of one name, by kind."""

    files: dict[str, list[Path]] = field(default_factory=dict)

    def add(self, kind: str, file: Path) -> None:
        self.files.setdefault(kind, []).append(file)


def read_folder(path: Path, enclosure: Enclosure, findings: Findings, asked: Collection[str] | None = None) -> Rows:
    """One row per video with its same-named captions, sound and sensors; without videos per image, else per sound, ...

    The id is the path inside the folder without its ending; each line of a .txt is one caption. Where a .txt cannot be
    one, the error stands in its place until that modality is read. Where `asked` has sound or sensors and no video,
    every recording that has them is a row.

    Raises:
        InputError: there are no recordings, or a link leads out of the folder.
    """
    recordings = gathered(path, enclosure, findings)
    groups: list[tuple[str, ...]] = list(ANCHORS)
    if asked is not None and "video" not in asked and set(asked) & {"audio", "imu"}:
        groups = [tuple(["video", "audio"] * ("audio" in asked) + ["imu"] * ("imu" in asked)), *ANCHORS]
    recordings = {stem: one for stem, one in recordings.items() if not is_list(path, one, recordings, findings)}
    anchors = next((group for group in groups if any(has(one, group) for one in recordings.values())), None)
    if anchors is None:
        found = "; ".join(findings.sentences())
        raise InputError(
            f"{path}: no recordings in this folder or below{found and f' ({found})'}\n"
            f"  Looked for videos (.mp4 .mkv ...), images (.png ...), sounds (.wav .mp3 ...), sensors "
            f"({' '.join(kinds.SENSORS)}) and captions (.txt)."
        )
    chosen = {stem: one for stem, one in recordings.items() if has(one, anchors)}
    left_over(path, recordings, chosen, anchors, findings)
    yield from rows_of(path, chosen, anchors, enclosure, findings)


def has(one: Recording, kinds: Iterable[str]) -> bool:
    return any(kind in one.files for kind in kinds)


def rows_of(
    path: Path, chosen: Mapping[Path, Recording], anchors: tuple[str, ...], enclosure: Enclosure, findings: Findings
) -> Rows:
    """The rows of the recordings that were chosen."""
    texts = [one.files["text"][0] for one in chosen.values() if "text" in one.files]
    for file in texts:
        enclosure.require(relative(path, file), str(path))
    with ThreadPoolExecutor(16) as pool:
        captions = dict(zip(texts, pool.map(read_captions, texts), strict=True))
    rows, beside = Counter[str](), Counter[str]()
    for stem, one in chosen.items():
        pictures = next((one.files[kind] for kind in ("video", "image") if kind in one.files and kind in anchors), [])
        cells: dict[str, Any] = {}
        for kind in ("audio", "imu"):
            if files := sorted(one.files.get(kind, ()), key=preference):
                cells[kind] = Verbatim(relative(path, files[0]))
                for file in files[1:]:
                    findings.skip(
                        f"of two {SEVERAL[kind]} of one name", f"{shown(path, file)}: {files[0].name} is read"
                    )
        beside.update(CALLED[kind] for kind in CALLED if kind in one.files and kind not in (*anchors, "image"))
        if "text" in one.files:
            cells["text"] = captions[one.files["text"][0]]
        name, group = relative(path, stem), {}
        if not pictures:
            rows[next(kind for kind in anchors if kind in one.files)] += 1
            yield f"recording {escaped(name)}", {"id": Verbatim(name), **cells}
        if len(pictures) > 1:  # clip.mp4 and clip.webm: maybe one scene, never on both sides of a split
            group = {"group": Verbatim(name)}
            listed = ", ".join(shown(path, file) for file in pictures)
            findings.note("files of one name are a row each, and one group", listed)
        for file in pictures:
            rows[str(kinds.kind(file))] += 1
            name = relative(path, file if group else stem)
            yield (
                f"recording {escaped(name)}",
                {"id": Verbatim(name), "video": Verbatim(relative(path, file)), **cells, **group},
            )
    found = " and ".join(f"{count} {(SEVERAL if count > 1 else CALLED)[kind]}" for kind, count in rows.items())
    companions = ", ".join(f"{count} with a {kind}" for kind, count in beside.items())
    findings.note(f"the rows are the folder's {found}" + (f": {companions} of the same name" if beside else ""))


def left_over(
    path: Path, recordings: Mapping[Path, Recording], chosen: Mapping[Path, Recording], anchors: tuple[str, ...],
    findings: Findings,
) -> None:  # fmt: skip
    """Count the files that belong to no row, though their endings are known."""
    rows = " or ".join(CALLED[kind] for kind in anchors)
    for stem, one in recordings.items():
        for kind, files in one.files.items():
            if stem not in chosen:
                findings.skip(f"{SEVERAL[kind]} without a {rows} of the same name", shown(path, files[0]), len(files))
            elif kind == "image" and "video" in one.files and "image" not in anchors:
                findings.skip("images with the name of a video", shown(path, files[0]), len(files))


def is_list(path: Path, one: Recording, recordings: Mapping[Path, Recording], findings: Findings) -> bool:
    """Whether a table that stands alone lists recordings (metadata.csv) and is none itself."""
    if list(one.files) != ["imu"]:
        return False
    file = one.files["imu"][0]
    try:
        with file.open("rb") as table:
            header = table.readline(LISTS).decode("utf-8-sig", "replace").strip()
    except OSError:
        return False
    names = {name.strip(' "').lower() for mark in ",;\t" for name in header.split(mark)}
    recording = (headers.FILE, "video", "audio", "imu", "text")
    if not LISTED.match(header) and not any(headers.SAME.get(name, name) in recording for name in names):
        return False
    findings.skip("lists of recordings", f"{shown(path, file)}: to read it, pass it itself as the data")
    return True


def gathered(path: Path, enclosure: Enclosure, findings: Findings) -> dict[Path, Recording]:
    """The files of known endings, by the path without its ending; the others are counted as ignored."""
    recordings: dict[Path, Recording] = {}
    for file in sorted(walk(path, enclosure, findings)):
        if kind := kinds.kind(file):
            recordings.setdefault(file.with_suffix(""), Recording()).add(kind, file)
            continue
        end = kinds.ending(file)
        what = end or "files without an ending"
        if end in UNFINISHED:
            what = f"{end} (unfinished downloads)"
        elif end in UNCLEAR:
            what = f"{end} (name its column and rate in a manifest)"
        findings.skip(escaped(what), shown(path, file))
    return recordings


def walk(path: Path, enclosure: Enclosure, findings: Findings) -> Iterator[Path]:
    """Every file below a folder that is not hidden; folders at the end of links once, however many lead there.

    Raises:
        InputError: a link to a folder leads out.
    """
    links: list[Path] = []
    seen: set[str] = set()
    yield from files_below(path, path, findings, links, seen)
    while links:  # after all real folders: what a link leads to counts under its own name
        link = links.pop(0)
        enclosure.require(relative(path, link), str(path))
        real = os.path.realpath(link)
        if real in seen:
            findings.skip("links to folders that are read anyway", f"{shown(path, link)} leads to {escaped(real)}")
            continue
        yield from files_below(path, link, findings, links, seen)


def files_below(path: Path, top: Path, findings: Findings, links: list[Path], seen: set[str]) -> Iterator[Path]:
    """The files below one real folder; links to folders are left in `links`."""
    folders = [top]
    while folders:
        folder = folders.pop()
        if (real := os.path.realpath(folder)) in seen:
            continue
        seen.add(real)
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            findings.skip("folders that cannot be opened", f"{shown(path, folder)}: {error.strerror}")
            continue
        for entry in entries:
            place = Path(entry.path)
            if entry.name.startswith("."):
                findings.skip("hidden", shown(path, place))
            elif entry.name.lower() in CLUTTER:
                findings.skip("folders that systems make", shown(path, place))
            elif entry.is_symlink() and entry.is_dir():
                links.append(place)
            elif entry.is_dir():
                folders.append(place)
            elif entry.is_symlink() and not place.exists() and kinds.kind(place) is None:
                leads = escaped(os.readlink(place))
                findings.skip("broken links", f"{shown(path, place)} leads to {leads}, where nothing is")
            else:
                yield place


def relative(path: Path, file: Path) -> str:
    return file.relative_to(path).as_posix()


def shown(path: Path, file: Path) -> str:
    """A file's path inside the folder as text that can be printed and stored."""
    return escaped(relative(path, file))


def preference(file: Path) -> tuple[int, str]:
    """Of several sounds of one name the lossless come first, in the order of `kinds.SOUNDS`."""
    order = (*kinds.SOUNDS, *kinds.SENSORS)
    return order.index(kinds.ending(file)), file.name


def read_captions(path: Path) -> list[str] | SampleError:
    """The captions in a file, one a line, or why they cannot be read."""
    try:
        if (size := path.stat().st_size) > LONGEST:
            return SampleError(path, f"holds {size} bytes", f"write captions of {LONGEST} bytes at most", "text")
        text = read_text(path)
    except OSError as error:
        return SampleError(path, f"cannot be opened ({error.strerror})", "correct the file or remove it", "text")
    except InputError:
        return SampleError(path, "is no UTF-8 text", "save it as UTF-8", "text")
    if "\0" in text:
        return SampleError(path, "has a NUL character", "write it as plain text", "text")
    return [line.strip() for line in text.splitlines() if line.strip()]
