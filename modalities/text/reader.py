"""Text: the captions of a time window, as ids of a vocabulary."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from modalities.errors import InputError, SampleError
from modalities.files import limits
from modalities.noise import mix
from modalities.reader import Reader, Reading
from modalities.text.contents import CaptionContents
from modalities.text.vocabulary import Vocabulary


class TextReader(Reader):
    """Reads a caption, one of several captions, or the timed captions of a window.

    Of several captions the window's start decides which: the same window always has the same words, and the windows of
    a recording see them all. Timed captions ({"text", "start", "end"}, seconds) that overlap the window are joined.
    No words means that the modality is absent.

    Args:
        length: ids per text, padding included; longer texts lose their end.
        vocabulary: a file or folder that `Vocabulary.save` wrote, or the folder or name of a transformers tokenizer;
            null for one that is still to be learned from the captions.
    """

    def __init__(self, *, length: int = 32, vocabulary: str | None = None):
        if length < 1:
            raise ValueError(f"text length={length}: expected ids per text, e.g. 32")
        self.length = length
        self.vocabulary = None if vocabulary is None else Vocabulary.load(vocabulary)

    def seconds(self, source: Any) -> float | None:
        return None

    def read(self, source: Any, start: float, duration: float) -> Reading | None:
        if self.vocabulary is None:
            raise ValueError("text vocabulary is open: learn one (Vocabulary.learn) and name the file it is saved in")
        text = self.words(source, start, duration)
        limits.refuse_above(limits.LETTERS, len(text), "text", f"letters from {start:g} s on", "shorten it")
        ids = self.vocabulary.encode(text, self.length) if text else []
        if not ids:
            return None
        values = torch.full((self.length,), self.vocabulary.pad)
        values[: len(ids)] = torch.tensor(ids)
        return Reading(values, len(ids))

    def describe(self, source: Any) -> dict[str, Any]:
        captions = captions_of(source)
        words = max((len(caption.split()) for caption in captions), default=0)
        facts: dict[str, Any] = {"captions each": len(captions), "words": words, "empty": not captions}
        if isinstance(source, (list, tuple)) and any(isinstance(caption, dict) for caption in source):
            return facts | {"times": "start and end"}  # what is read together depends on the window
        if self.vocabulary is not None:
            facts["cut off"] = any(
                len(self.vocabulary.encode(text, self.length + 1)) > self.length for text in captions
            )
        return facts

    def files(self, source: Any) -> list[str]:
        return []

    def contents(self) -> CaptionContents:
        return CaptionContents()

    def blank(self, duration: float) -> Reading:
        pad = 0 if self.vocabulary is None else self.vocabulary.pad
        return Reading(torch.full((self.length,), pad), 0)

    @classmethod
    def survey(cls, settings: dict[str, Any], sources: Iterable[Any], folder: Path) -> dict[str, Any]:
        """The vocabulary, learned from all captions and saved in `folder` unless one is named, and its size.

        Raises:
            InputError: it is left open and there is no caption.
        """
        if settings.get("vocabulary") is not None:
            return {"words": len(Vocabulary.load(settings["vocabulary"]))}
        captions = [text for source in sources for text in captions_of(source)]
        if not captions:
            raise InputError("text vocabulary: no caption to learn it from\n  no row has a text; name a vocabulary")
        vocabulary = Vocabulary.learn(captions, words=settings.get("words") or 4096)
        return {"vocabulary": str(vocabulary.save(folder)), "words": len(vocabulary)}

    @staticmethod
    def words(source: Any, start: float, duration: float) -> str:
        """The captions of the window as one string; empty if there is none."""
        if source is None or isinstance(source, str):
            return stripped(source)
        if not isinstance(source, (list, tuple)):
            raise unreadable(source, "a string, a list of strings, or a list of {text, start, end}")
        if any(isinstance(caption, dict) for caption in source):
            return " ".join(
                filter(None, (stripped(c["text"]) for c in map(timed, source) if during(c, start, duration)))
            )
        captions = [text for text in map(stripped, source) if text]
        return captions[mix(round(start * 1000)) % len(captions)] if captions else ""


def captions_of(source: Any) -> list[str]:
    """All captions of a source; empty if it cannot be read (`read` will raise)."""
    captions = source if isinstance(source, (list, tuple)) else [source]
    try:
        texts = [stripped(caption["text"] if isinstance(caption, dict) else caption) for caption in captions]
    except (SampleError, KeyError):
        return []
    return [text for text in texts if text]


def stripped(text: Any) -> str:
    """A caption without the blanks around it."""
    if text is None:
        return ""
    if not isinstance(text, str):
        raise unreadable(text, "a string")
    if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise unreadable(text, "text without NUL characters and broken letters")
    limits.refuse_above(limits.LETTERS, len(text), "text", "letters in a caption", "shorten the row's `text`")
    return text.strip()


def timed(caption: Any) -> dict[str, Any]:
    """A timed caption whose times are numbers."""
    if not isinstance(caption, dict) or "text" not in caption:
        raise unreadable(caption, "{text, start, end}")
    if not all(isinstance(caption.get(key), (int, float)) for key in ("start", "end")):
        raise unreadable(caption, "a caption whose start and end are numbers, in seconds")
    return caption


def during(caption: dict[str, Any], start: float, duration: float) -> bool:
    """Whether a timed caption overlaps the window (one of no length has to begin in it)."""
    begins, ends = caption["start"], caption["end"]
    return begins < start + duration and (ends > start or begins >= start)


def unreadable(text: Any, expected: str) -> SampleError:
    shown = repr(text)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    return SampleError("text", f"{shown} is not {expected}", "correct the row's `text`, or leave it empty")
