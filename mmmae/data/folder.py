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
from mmmae.data.delimited import LISTED, Rows
from mmmae.data.findings import Findings
from mmmae.data.layout import Layout
from modalities.errors import InputError
from modalities.files.suffixes import ending
from modalities.manifest.spelling import Verbatim, escaped

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


def read_folder(
    path: Path, enclosure: Enclosure, findings: Findings, asked: Collection[str] | None = None,
    known: kinds.Known = kinds.HOUSE,
) -> Rows:  # fmt: skip
    """One row per video with its same-named captions, sound and sensors; without videos per image, else per sound, ...

    The id is the path inside the folder without its ending; each line of a .txt is one caption. Where a .txt cannot be
    one, the error stands in its place until that modality is read. Where `asked` has no video but sound, sensors or
    their like, every recording that has them is a row. Which files are of which modality, `known` tells.

    Raises:
        InputError: there are no recordings, or a link leads out of the folder.
    """
    layout = Layout(known)
    recordings = gathered(path, enclosure, findings, layout)
    recordings = {stem: one for stem, one in recordings.items() if not is_list(path, one, recordings, findings, layout)}
    anchors = next(
        (group for group in layout.groups(asked) if any(has(one, group) for one in recordings.values())), None
    )
    if anchors is None:
        found = "; ".join(findings.sentences())
        kinds_looked_for = [
            f"{of.several} ({' '.join(of.suffixes[:2])}{' ...' if len(of.suffixes) > 2 else ''})"
            for of in layout.files.values()
        ]
        raise InputError(
            f"{path}: no recordings in this folder or below{found and f' ({found})'}\n"
            f"  Looked for {', '.join(kinds_looked_for[:-1])} and {kinds_looked_for[-1]}."
        )
    chosen = {stem: one for stem, one in recordings.items() if has(one, anchors)}
    left_over(path, recordings, chosen, anchors, findings, layout)
    yield from rows_of(path, chosen, anchors, enclosure, findings, layout)


def has(one: Recording, kinds: Iterable[str]) -> bool:
    return any(kind in one.files for kind in kinds)


def rows_of(
    path: Path, chosen: Mapping[Path, Recording], anchors: tuple[str, ...], enclosure: Enclosure, findings: Findings,
    layout: Layout,
) -> Rows:  # fmt: skip
    """The rows of the recordings that were chosen."""
    held = {kind: of.read for kind, of in layout.files.items() if of.read is not None}
    reads = {one.files[kind][0]: read for one in chosen.values() for kind, read in held.items() if kind in one.files}
    for file in reads:
        enclosure.require(relative(path, file), str(path))
    with ThreadPoolExecutor(16) as pool:
        contents = dict(zip(reads, pool.map(lambda file: reads[file](file), reads), strict=True))
    rows, beside = Counter[str](), Counter[str]()
    for stem, one in chosen.items():
        leading = next((kind for kind in anchors if layout.rows(kind) and kind in one.files), None)
        cells: dict[str, Any] = {}
        for kind in (kind for kind in layout.files if kind in one.files and not layout.rows(kind)):
            if kind in held:
                cells[layout.columns[kind]] = contents[one.files[kind][0]]
                continue
            files = sorted(one.files[kind], key=layout.preference)
            cells[layout.columns[kind]] = Verbatim(relative(path, files[0]))
            for file in files[1:]:
                note = f"{shown(path, file)}: {files[0].name} is read"
                findings.skip(f"of two {layout.called(kind, 2)} of one name", note)
        companions = (kind for kind in layout.files if kind in one.files and kind not in anchors and layout.first(kind))
        beside.update(map(layout.called, companions))
        name, group = relative(path, stem), {}
        if leading is None:
            rows[next(kind for kind in anchors if kind in one.files)] += 1
            yield f"recording {escaped(name)}", {"id": Verbatim(name), **cells}
            continue
        files = one.files[leading]
        if len(files) > 1:  # clip.mp4 and clip.webm: maybe one scene, never on both sides of a split
            group = {"group": Verbatim(name)}
            listed = ", ".join(shown(path, file) for file in files)
            findings.note("files of one name are a row each, and one group", listed)
        for file in files:
            rows[leading] += 1
            name = relative(path, file if group else stem)
            own = {layout.columns[leading]: Verbatim(relative(path, file))}
            yield f"recording {escaped(name)}", {"id": Verbatim(name), **own, **cells, **group}
    found = " and ".join(f"{count} {layout.called(kind, count)}" for kind, count in rows.items())
    companions = ", ".join(f"{count} with a {kind}" for kind, count in beside.items())
    findings.note(f"the rows are the folder's {found}" + (f": {companions} of the same name" if beside else ""))


def left_over(
    path: Path, recordings: Mapping[Path, Recording], chosen: Mapping[Path, Recording], anchors: tuple[str, ...],
    findings: Findings, layout: Layout,
) -> None:  # fmt: skip
    """Count the files that belong to no row, though their endings are known."""
    rows = " or ".join(map(layout.called, anchors))
    for stem, one in recordings.items():
        for kind, files in one.files.items():
            several = layout.called(kind, 2)
            if stem not in chosen:
                findings.skip(f"{several} without a {rows} of the same name", shown(path, files[0]), len(files))
            elif not layout.first(kind) and kind not in anchors and layout.columns[kind] in one.files:
                findings.skip(f"{several} with the name of a {layout.columns[kind]}", shown(path, files[0]), len(files))


def is_list(
    path: Path, one: Recording, recordings: Mapping[Path, Recording], findings: Findings, layout: Layout
) -> bool:
    """Whether a table that stands alone lists recordings (metadata.csv) and is none itself."""
    if len(one.files) != 1 or not layout.files[kind := next(iter(one.files))].lists:
        return False
    file = one.files[kind][0]
    try:
        with file.open("rb") as table:
            header = table.readline(LISTS).decode("utf-8-sig", "replace").strip()
    except OSError:
        return False
    names = {name.strip(' "').lower() for mark in ",;\t" for name in header.split(mark)}
    same = headers.Names.of(tuple(layout.known.values())).same
    if not LISTED.match(header) and not any(same.get(name, name) in (headers.FILE, *layout.known) for name in names):
        return False
    findings.skip("lists of recordings", f"{shown(path, file)}: to read it, pass it itself as the data")
    return True


def gathered(path: Path, enclosure: Enclosure, findings: Findings, layout: Layout) -> dict[Path, Recording]:
    """The files of known endings, by the path without its ending; the others are counted as ignored."""
    recordings: dict[Path, Recording] = {}
    for file in sorted(walk(path, enclosure, findings, layout)):
        if kind := layout.kind(file):
            recordings.setdefault(file.with_suffix(""), Recording()).add(kind, file)
            continue
        end = ending(file)
        what = end or "files without an ending"
        if end in UNFINISHED:
            what = f"{end} (unfinished downloads)"
        elif end in UNCLEAR:
            what = f"{end} (name its column and rate in a manifest)"
        findings.skip(escaped(what), shown(path, file))
    return recordings


def walk(path: Path, enclosure: Enclosure, findings: Findings, layout: Layout) -> Iterator[Path]:
    """Every file below a folder that is not hidden; folders at the end of links once, however many lead there.

    Raises:
        InputError: a link to a folder leads out.
    """
    links: list[Path] = []
    seen: set[str] = set()
    yield from files_below(path, path, findings, links, seen, layout)
    while links:  # after all real folders: what a link leads to counts under its own name
        link = links.pop(0)
        enclosure.require(relative(path, link), str(path))
        real = os.path.realpath(link)
        if real in seen:
            findings.skip("links to folders that are read anyway", f"{shown(path, link)} leads to {escaped(real)}")
            continue
        yield from files_below(path, link, findings, links, seen, layout)


def files_below(
    path: Path, top: Path, findings: Findings, links: list[Path], seen: set[str], layout: Layout
) -> Iterator[Path]:
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
            elif entry.is_symlink() and not place.exists() and layout.kind(place) is None:
                leads = escaped(os.readlink(place))
                findings.skip("broken links", f"{shown(path, place)} leads to {leads}, where nothing is")
            else:
                yield place


def relative(path: Path, file: Path) -> str:
    return file.relative_to(path).as_posix()


def shown(path: Path, file: Path) -> str:
    """A file's path inside the folder as text that can be printed and stored."""
    return escaped(relative(path, file))
