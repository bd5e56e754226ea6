"""Text in a manifest: captions, in the table itself, and caption files in a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from modalities.errors import InputError, SampleError
from modalities.manifest.cells import listed, seconds, valid
from modalities.manifest.columns import Cell, Columns, Files
from modalities.manifest.spelling import empty, plain
from modalities.manifest.text_files import read_text

LONGEST = 1_000_000  # bytes of a caption's file: what is longer is no caption


def captions(value: Any) -> list[dict[str, Any]]:
    """A caption, several, or captions with their times.

    Raises:
        ValueError: says what was expected.
    """
    found = listed(value)
    if isinstance(value, str):
        holds = all(isinstance(one, (str, dict)) for one in found) if isinstance(found, list) else "text" in found
        found = found if holds else value  # "[1]" and "{x}" are captions
    found = [caption(plain(one)) for one in (found if isinstance(found, list) else [found]) if not empty(plain(one))]
    if len({len(one) for one in found}) > 1:
        raise ValueError("captions that all have `start` and `end`, or none")
    return found


def caption(value: Any) -> dict[str, Any]:
    if isinstance(value, (int, float)) and not isinstance(value, bool):  # a digit that is spoken
        value = str(value)
    if isinstance(value, str):
        return {"text": valid(value)}
    if isinstance(value, dict) and isinstance(value.get("text"), str) and value.keys() <= {"text", "start", "end"}:
        times = {key: seconds(value[key]) for key in ("start", "end") if not empty(value.get(key))}
        if len(times) != 1:
            return {"text": valid(value["text"]), **times}
    raise ValueError('a caption, a list of captions, or a list of {"text", "start", "end"}')


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


class TextColumns(Columns):
    """Captions: one, several, or with their seconds of the recording."""

    cell = Cell(captions, [{"text": str, "start": float, "end": float}])
    files: ClassVar[Mapping[str, Files]] = {
        "text": Files((".txt",), "caption file", "caption files", rank=3, read=read_captions)
    }
    words = True
    same: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("caption", "captions", "sentence", "transcript", "transcription"), "text"
    )
    maybe: ClassVar[Mapping[str, str]] = dict.fromkeys(("title", "description", "utterance", "narration"), "text")

    def source(self, row: Mapping[str, Any], path: Callable[[str], str]) -> Any | None:
        found = row[self.name]
        if not found:
            return None
        if found[0]["start"] is not None:  # all captions of a row are timed or none
            return found
        texts = [caption["text"] for caption in found]
        return texts if len(texts) > 1 else texts[0]

    def texts(self, row: Mapping[str, Any]) -> Iterator[str]:
        return (caption["text"] for caption in row[self.name] or ())
