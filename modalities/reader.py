"""A reader turns a file (or a caption) and a time window into one modality of one sample."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from modalities.shapes import Bool, Float, Shaped, Tensor


@dataclass(frozen=True)
class Reading:
    """One modality of one sample, in the fixed shape that its reader always gives.

    values: as in Signal, without the batch axis, padded with zeros after `length` valid steps (0: absent).
    hint: as in Signal, as many steps as values; a reader gives one always (in a blank, zeros) or never.
    notes: what the reader assumed or converted, one sentence each ("time is in milliseconds: converted to seconds"),
        the same words for every file of the kind, so that they can be counted. They are reported once per run.
    """

    values: Shaped[Tensor, "t ..."]
    length: int
    observed: Bool[Tensor, "t parts channels"] | None = None
    edges: Float[Tensor, "parts parts"] | None = None
    hint: Shaped[Tensor, "t ..."] | None = None
    notes: tuple[str, ...] = ()


class Doubt(NamedTuple):
    """What is wrong where a finding holds, and what can be done: "are silent throughout", "drop the rows"."""

    phrase: str
    remedy: str


class Contents:
    """Looks at the windows of one recording in the order of time, and says in the end what was in them.

    It holds as much as one window at most. This one finds nothing; a modality has its own in `contents.py`.

    units: of what it finds, and of what `Reader.describe` says: "dB", or "%" for a share from 0 to 1.
    doubts: findings that a person should look at where they are true or not empty.
    """

    units: ClassVar[dict[str, str]] = {}
    doubts: ClassVar[dict[str, Doubt]] = {}

    def add(self, reading: Reading | None, start: float) -> None:
        """The window from second `start` on; None where the modality is absent. It may overlap the one before."""

    def findings(self) -> dict[str, Any]:
        """What was found: facts as from `Reader.describe`, whether something holds, or a set of what it holds for."""
        return {}


class Reader(ABC):
    """Reads one modality. Settings are keyword-only and checked in `__init__`; a reader is picklable and has no state.

    pads: whether a recording shorter than the window is padded (True) or refused (False).
    typical: what stands for settings that the data decides, where there is no data (in a synthetic batch).
    made_by: the command that makes what it reads out of `{data}`, where one does.
    """

    pads: bool = True
    typical: ClassVar[dict[str, Any]] = {}
    made_by: ClassVar[str | None] = None

    @abstractmethod
    def seconds(self, source: Any) -> float | None:
        """How long the recording is, from its metadata; None when it has no time of its own (a plain caption).

        Raises:
            SampleError: the file is missing or cannot be opened.
        """

    def still(self, source: Any) -> bool:
        """Whether a source is the same at any time (an image): a stream that begins later is read from it all the same.

        Raises:
            SampleError: the file is missing or cannot be opened.
        """
        return False

    @abstractmethod
    def read(self, source: Any, start: float, duration: float) -> Reading | None:
        """The window [start, start + duration) seconds of a source; None where the modality turns out to be absent.

        Raises:
            SampleError: the file is missing or damaged, or (where `pads` is False) does not cover the window.
        """

    def read_windows(self, source: Any, starts: Sequence[float], duration: float) -> list[Reading | None]:
        """Several windows of one source; a reader for which decoding is the cost decodes once for all of them."""
        return [self.read(source, start, duration) for start in starts]

    def describe(self, source: Any) -> dict[str, Any]:
        """Facts about a source for the data report of `mmmae check`, from its headers: rate, units, names of channels.

        Numbers are summarised over the recordings as a range, everything else is counted; a dict has a number for each
        channel. Nothing is said of a source that lacks the modality (a video without sound).

        Raises:
            SampleError: the file is missing or cannot be opened.
        """
        return {}

    def files(self, source: Any) -> list[str]:
        """The files that a source consists of, for messages; none where the manifest holds it."""
        return [source["path"] if isinstance(source, dict) else source]

    def contents(self) -> Contents:
        """The collector of statistics over the windows of one recording for that report."""
        return Contents()

    def thorough(self) -> Reader:
        """The same reader, which also decodes what it would skip, to find damage there; most skip nothing."""
        return self

    @abstractmethod
    def blank(self, duration: float) -> Reading:
        """The reading of an absent modality: zeros of the usual shape, with length 0."""

    @classmethod
    def survey(cls, settings: dict[str, Any], sources: Iterable[Any], folder: Path) -> dict[str, Any]:
        """Settings that the data decides and the recipe left at null (sensors of an IMU, size of a vocabulary).

        sources: of the rows to train on; folder: where a file that the run needs may be kept.
        """
        return {}
