"""The table of recordings: which files and captions belong together."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import modalities as house
from mmmae.data import cells, rows
from mmmae.data.enclosure import Enclosure
from mmmae.settings import find
from modalities.errors import InputError, SampleError
from modalities.noise import WORD, mix

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class Row:
    """One recording (or one part of it): `sources` is what each modality's reader is asked to read.

    A SampleError among the sources says why that modality cannot be read.
    start, end: the part of the recording in seconds; None leaves it to the recording.
    """

    id: str
    sources: dict[str, Any]
    start: float | None = None
    end: float | None = None
    label: int | None = None


@dataclass(frozen=True)
class Manifest:
    """Rows of recordings, kept in Arrow so that a million of them cost no Python objects.

    path: what was opened; folder: what relative paths start from.
    classes: sorted names of the labels; empty when labels are whole numbers already or absent.
    labels: how many different ones rows may have; whole numbers count from 0.
    modalities: those that at least one row has, counting the sound track of a video as audio.
    """

    path: Path
    folder: Path
    table: Dataset = field(repr=False)
    classes: tuple[str, ...]
    labels: int
    modalities: tuple[str, ...]

    @classmethod
    def open(
        cls,
        path: str | os.PathLike,
        *,
        modalities: Sequence[str] | None = None,
        bad: float = 0.0,
        outside: bool = False,
    ) -> Manifest:
        """Read and check a manifest (JSONL, JSON, CSV, parquet), a saved Hugging Face dataset or a folder of videos.

        With `modalities`, rows that have none of them are left out, and only files of those are looked for.

        Args:
            bad: share of the rows whose files may be missing: whoever reads such a row meets the error.
            outside: whether files may lie elsewhere than in the manifest's folder and below.

        Raises:
            InputError: names file, row and column of what is wrong, and what to do about it.
        """
        path, enclosure = rows.locate(Path(path), outside)
        known = list(dict.fromkeys([*shipped(), *(modalities or ())]))
        table, present = collect(path, enclosure, known, None if modalities is None else set(modalities))
        labels = set(table.unique("label")) - {None}
        numbered = all(label.lstrip("-").isdecimal() for label in labels)
        count = max((int(label) + 1 for label in labels), default=0) if numbered else len(labels)
        classes = () if numbered else tuple(sorted(labels))
        folder = Path(enclosure.folder)
        manifest = cls(path, folder, table, classes, count, tuple(m for m in known if m in present))
        manifest.require_files(modalities or manifest.modalities, enclosure, bad)
        return manifest

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> Row:
        row = self.table[index]
        found = {m: source for m in self.modalities if (source := self.locate(row, m)) is not None}
        return Row(row["id"], found, row["start"], row["end"], self.number(row["label"]))

    def __iter__(self) -> Iterator[Row]:
        return (self[index] for index in range(len(self)))

    def has(self, modality: str) -> bool:
        """Whether any row has the modality."""
        return modality in self.modalities

    def source(self, index: int, modality: str) -> Any | None:
        """What the modality's reader reads of a row; None where the row lacks it."""
        return self.locate(self.table[index], modality)

    def sources(self, modality: str) -> Iterator[Any]:
        """What the modality's reader reads of each row that has it."""
        return (source for i in range(len(self)) if (source := self.source(i, modality)) is not None)

    def captions(self) -> Iterator[str]:
        """Every caption of every row, e.g. to learn a vocabulary from."""
        for texts in self.columns("text"):
            yield from (caption["text"] for caption in texts["text"] or ())

    def split(self, holdout: float) -> tuple[Manifest, Manifest]:
        """The rows to train on and the rows held out: by the column `split` where there is one, else by a hash.

        The hash is that of `group` (a subject, a camera) or of the id, so rows of one group stay together, and a row
        stays on its side when others are added. Without the column `split`, `holdout` is the share to hold out; each
        side then gets at least one group where there are two.

        Raises:
            ValueError: `holdout` is not in [0, 1).
            InputError: the column `split` leaves nothing to train on.
        """
        if not 0 <= holdout < 1:
            raise ValueError(f"holdout is the share of rows kept for testing, in [0, 1), got {holdout}")
        splits = self.table["split"][:]
        if any(splits):
            test = [split == "test" for split in splits]
            if all(test):
                raise InputError(f"{self.path}: column 'split' has no row 'train'\n  Mark the rows to train on.")
        else:
            names = [group or name for group, name in zip(self.table["group"][:], self.table["id"][:], strict=True)]
            test = hold_out(names, holdout)
        train = [i for i, held in enumerate(test) if not held]
        return self.select(train), self.select([i for i, held in enumerate(test) if held])

    def select(self, indices: Sequence[int]) -> Manifest:
        """The manifest of some of the rows, with the same classes."""
        return replace(self, table=self.table.select(indices))

    def columns(self, *names: str) -> Iterator[dict[str, Any]]:
        """Some columns of every row, without building the others."""
        return rows.plain(self.table.select_columns(list(names)))

    def number(self, label: str | None) -> int | None:
        if label is None:
            return None
        return self.classes.index(label) if self.classes else int(label)

    def locate(self, row: dict[str, Any], modality: str) -> Any | None:
        """The reader's source in a row of the table."""
        value, fault = row.get(modality), row["fault"]
        if fault is not None and fault["modality"] == modality:
            return SampleError(**fault)
        if modality == "audio" and value is None and has_sound(row.get("video")):
            value = row["video"]
        if value is None:
            return None
        if modality == "text":
            if value[0]["start"] is not None:  # all captions of a row are timed or none
                return value
            texts = [caption["text"] for caption in value]
            return texts if len(texts) > 1 else texts[0]
        path = os.path.join(self.folder, value)
        if modality == "video" and row["regions"] is not None:
            return {"path": path, "regions": os.path.join(self.folder, row["regions"])}
        return {"path": path, "rate": row["imu_rate"], "edges": row["edges"]} if modality == "imu" else path

    def require_files(self, modalities: Sequence[str], enclosure: Enclosure, bad: float) -> None:
        """Look for every file at once: a run must not die hours later of a typing error, nor read what is not its own.

        Raises:
            InputError: a file lies outside, or more than the share `bad` of the rows lack a file.
        """
        wanted = [m for m in modalities if m != "text"] + ["regions"] * ("video" in modalities)

        def named() -> Iterator[tuple[str, str, str]]:
            for row in self.columns("place", *dict.fromkeys([*wanted, "video"])):
                for modality in wanted:
                    column = "video" if modality == "audio" and row["audio"] is None else modality
                    if row[column] is not None:
                        yield row[column], row["place"], column

        places: dict[str, tuple[str, str]] = {}
        for path, place, column in named():
            places.setdefault(path, (place, column))

        def look(path: str) -> tuple[bool, bool]:
            inside = enclosure.holds(path)
            return inside, inside and os.path.isfile(os.path.join(self.folder, path))

        with ThreadPoolExecutor(32) as pool:
            looks = dict(zip(places, pool.map(look, places), strict=True))
        for path, (inside, _) in looks.items():
            if not inside:
                place, column = places[path]
                raise enclosure.leads_out(path, f"{self.path}, {place}: column {column!r}")
        missing = [path for path, (_, exists) in looks.items() if not exists]
        rows_without = {place for path, place, _ in named() if not looks[path][1]} if missing else ()
        if len(rows_without) > bad * len(self):
            place, column = places[missing[0]]
            path = os.path.join(self.folder, missing[0])
            others = f" ({len(missing)} of {len(places)} files are missing)" if len(missing) > 1 else ""
            raise InputError(
                f"{self.path}, {place}: column {column!r}: no such file: {path}{others}\n"
                f"  Paths are relative to {self.folder}; mend them or leave the cell empty."
            )


def collect(path: Path, enclosure: Enclosure, known: Sequence[str], asked: set[str] | None) -> tuple[Dataset, set[str]]:
    """The checked rows as an Arrow table, and the modalities that they have."""
    import pyarrow as pa
    from datasets import Dataset

    schema = schema_of(known)
    chunks, chunk, present, count = [], [], set(), 0
    for place, raw in rows.read(path, enclosure):
        row = cells.check(raw, known, f"{path}, {place}")
        here = {m for m in known if m in row} | ({"audio"} if has_sound(row.get("video")) else set())
        here |= {row["fault"]["modality"]} if "fault" in row else set()
        present |= here
        if here if asked is None else here & asked:
            chunk.append({"id": str(count), "place": place, **row})
        count += 1
        if len(chunk) == 10_000:
            chunks.append(pa.RecordBatch.from_pylist(chunk, schema))
            chunk = []
    chunks.append(pa.RecordBatch.from_pylist(chunk, schema))
    if not count:
        raise InputError(
            f'{path}: the manifest is empty\n  It needs at least one row, such as {{"video": "clip.mp4"}}.'
        )
    if absent := sorted((asked or set()) - present) if present else ["any modality"]:  # asked for, or any at all
        usable = [m for m in known if m in present]
        remedy = f"Launch with --modalities {','.join(usable)}" if usable else f"Fill one of {', '.join(known)}"
        if commands := [how for name in absent if name in shipped() and (how := find("reader", name, name).made_by)]:
            remedy = f"{commands[0].format(data=path)} makes it; then train with --data EMBEDDED"
        raise InputError(
            f"{path}: no row has {' or '.join(absent)}; present: {', '.join(usable) or 'none'}\n  {remedy}"
        )
    return Dataset(pa.Table.from_batches(chunks, schema)), present


def schema_of(modalities: Sequence[str]) -> Any:
    import pyarrow as pa

    caption = pa.struct({"text": pa.string(), "start": pa.float64(), "end": pa.float64()})
    columns = dict.fromkeys(["place", *modalities, *cells.COLUMNS], pa.string())
    columns |= dict.fromkeys(["start", "end", "imu_rate"], pa.float64())
    columns["fault"] = pa.struct([(key, pa.string()) for key in ("modality", *cells.FAULT)])
    return pa.schema(columns | {"text": pa.list_(caption), "edges": pa.list_(pa.list_(pa.int64()))})


def shipped() -> list[str]:
    """Names of the modalities: the folders of the package."""
    folders = sorted(folder.name for folder in Path(house.__file__).parent.iterdir() if folder.is_dir())
    return [name for name in folders if not name.startswith("_")]


def has_sound(video: str | None) -> bool:
    return video is not None and Path(video).suffix.lower() not in rows.IMAGES


def hold_out(names: Sequence[str], share: float) -> list[bool]:
    """Which names are held out, by their hash alone except where a side would be left empty."""
    place = {name: mix(zlib.crc32(name.encode())) / WORD for name in set(names)}
    order = sorted(place, key=lambda name: (place[name], name))
    count = sum(place[name] < share for name in order)
    if share:
        count = min(max(count, 1), len(order) - 1)
    held = set(order[:count])
    return [name in held for name in names]
