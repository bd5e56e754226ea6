"""Which column of a manifest a header means: its own names, those that certainly mean the same, and others.

What certainly means a column is read as it, with a note. What only may mean one is refused with the name to give it:
a speaker that is not made the `group` would stand on both sides of a split without a word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from mmmae.data import kinds
from modalities.errors import did_you_mean
from modalities.manifest.columns import Columns

GENERAL = ("id", "start", "end", "label", "segments", "split", "group")  # columns of no modality
FILE = "file"  # a path whose ending tells which modality's column it belongs into
SAME = {
    **dict.fromkeys(("path", "filepath", "file_path", "file", "file_name", "filename"), FILE),
    **dict.fromkeys(("class", "class_name", "class_label", "category", "label_name", "labels"), "label"),
}
MAYBE = {
    **dict.fromkeys(
        ("subject", "subject_id", "participant", "participant_id", "person", "person_id", "speaker", "speaker_id",
         "user", "user_id", "client_id", "patient", "patient_id", "camera", "session", "site"), "group",
    ),
    **dict.fromkeys(("start_time", "start_sec", "start_seconds", "start_s", "begin", "onset", "t_start", "time_start",
                     "start_timestamp", "clip_start", "offset"), "start"),
    **dict.fromkeys(("end_time", "end_sec", "end_seconds", "end_s", "stop", "t_end", "time_end", "end_timestamp",
                     "stop_timestamp", "clip_end"), "end"),
    **dict.fromkeys(("fold", "partition", "subset", "set"), "split"),
    **dict.fromkeys(("target", "y", "activity", "action", "emotion", "label_id", "class_id"), "label"),
    **dict.fromkeys(("annotations", "events", "intervals", "timeline"), "segments"),
    **dict.fromkeys(("name", "uid", "uuid", "key", "utt_id", "segment_id", "clip_id", "video_id"), "id"),
}  # fmt: skip
REASON = {
    "group": "`group` keeps all its rows on one side of a split",
    "start": "`start` is in seconds of the recording",
    "end": "`end` is in seconds of the recording",
    "segments": "`segments` lists what happens when: {start, end, label}, in seconds of the recording",
}
METADATA = frozenset(
    ("duration", "length", "fps", "frame_rate", "num_frames", "n_frames", "width", "height", "resolution", "codec",
     "filesize", "file_size", "num_bytes", "md5", "sha1", "sha256", "checksum", "url", "license", "age", "gender",
     "sex", "accent", "accents", "locale", "up_votes", "down_votes", "variant", "chapter_id")
)  # fmt: skip
INDEX = ("", "unnamed: 0", "__index_level_0__")  # what pandas writes of its index
LISTS = {  # a column that one published list has: what the list is
    "youtube_id": "Kinetics' list", "# ytid": "AudioSet's list", "ytid": "AudioSet's list",
    "narration_id": "EPIC-KITCHENS' list", "scene": "Charades' list",
}  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """What is made of a header: pairs of its names and the columns that they mean, notes, or why it cannot be read."""

    pairs: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()
    problem: str | None = None


@dataclass(frozen=True)
class Names:
    """The names of the columns of some modalities, and others that mean one. rates: see `Columns.rates`."""

    columns: tuple[str, ...]
    rates: tuple[str, ...]
    same: Mapping[str, str]
    maybe: Mapping[str, str]
    reasons: Mapping[str, str]

    @classmethod
    @lru_cache(maxsize=16)
    def of(cls, modalities: tuple[Columns, ...], further: tuple[str, ...] = ()) -> Names:
        names = [one.name for one in modalities]
        extras = (column for one in modalities for column in one.cells)
        own = [one for one in modalities if one.own]
        return cls(
            tuple(dict.fromkeys([*names, *GENERAL, *extras, *further])),
            tuple(rate for one in own for rate in one.rates),
            SAME | {key: column for one in own for key, column in one.same.items()},
            MAYBE | {key: column for one in own for key, column in one.maybe.items()},
            REASON | {key: why for one in own for key, why in one.reasons.items()},
        )


HOUSE = Names.of(tuple(kinds.HOUSE.values()))
EVERY = {*HOUSE.columns, *HOUSE.rates, *HOUSE.same, *HOUSE.maybe}
CERTAIN = " or ".join(dict.fromkeys(repr(column) for column, of in kinds.FILES.values() if of.certain))


def known(name: str) -> bool:
    """Whether a cell of a first line is plainly the name of a column."""
    name = name.strip().lower()
    return bool(name) and (name in EVERY or name in METADATA or name in LISTS)


@lru_cache(maxsize=256)
def plan(names: tuple[object, ...], modalities: tuple[Columns, ...], further: tuple[str, ...] = ()) -> Plan:
    """What the names of a row or of a header mean, where there are columns of `modalities` and `further` ones."""
    headers = Names.of(modalities, further)
    columns = headers.columns
    pairs: dict[str, str] = {}
    notes, unknown = [], []
    extra = [str(name) for name in names if str(name).strip().lower() in METADATA and name not in columns]
    begins = {str(name).strip().lower() for name in names}
    if "start" in begins and "end" not in begins and "duration" in begins:
        return Plan((), problem="columns 'start' and 'duration', but no 'end'\n  Write `end`: start + duration.")
    for name in names:
        low = str(name).strip().lower()
        if name in columns or name in headers.rates:
            target = str(name)
        elif low in columns:
            target = low
            notes.append(f"column {name!r} is read as {low!r}")
        elif low in headers.same:
            target = headers.same[low]
            means = f"{CERTAIN}, as the endings of its files tell" if target == FILE else repr(target)
            notes.append(f"column {name!r} is read as {means}")
        elif low in METADATA:
            continue
        elif low in INDEX:
            notes.append("the index that pandas wrote (a column without a name) is ignored")
            continue
        else:
            unknown.append(str(name))
            continue
        if target in pairs.values():
            first = next(key for key, value in pairs.items() if value == target)
            what = "the recording" if target == FILE else repr(target)
            return Plan((), problem=f"columns {first!r} and {name!r} both mean {what}\n  Remove one of them.")
        pairs[str(name)] = target
    if unknown:
        return Plan((), problem=refused(unknown, headers))
    if extra:
        notes.append(f"columns that mmmae does not use are ignored: {', '.join(extra)}")
    return Plan(tuple(pairs.items()), tuple(notes))


def refused(unknown: Sequence[str], headers: Names) -> str:
    """Why a header with unknown columns is refused, with the line that helps."""
    listed = f"unknown column{'s' * (len(unknown) > 1)} {', '.join(map(repr, unknown[:8]))}"
    low = {name.strip().lower(): name for name in unknown}
    if found := next((what for column, what in LISTS.items() if column in low), None):
        return (
            f"{listed}: {found} names no files\n"
            "  Write a manifest with the path of each file: video,start,end,label (start and end in seconds)."
        )
    if maybe := [(name, headers.maybe[key]) for key, name in low.items() if key in headers.maybe]:
        name, column = maybe[0]
        reason = f": {headers.reasons[column]}" if column in headers.reasons else ""
        return f"{listed}\n  Rename {name!r} to {column!r} if it is that{reason}; else remove it. {others(unknown)}"
    hint = f", {did_you_mean(unknown[0], headers.columns)}".rstrip(", ")
    return f"{listed}{hint}\n  Columns are {', '.join(headers.columns)}; rename or remove the others. {others(unknown)}"


def others(unknown: Sequence[str]) -> str:
    """How to remove columns in one line of pandas."""
    return f"In pandas: table.drop(columns={list(unknown[:8])!r})"
