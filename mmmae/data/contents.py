"""Statistics of a dataset, merged recording by recording."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from mmmae.data.bad_samples import Fault
from mmmae.data.clips import Clips
from mmmae.data.columns import Columns
from mmmae.data.facts import Count, Facts
from mmmae.data.inspection import Inspection, Verdict
from mmmae.data.suspicions import Finding, about_columns, about_streams, by_share


class DataContents:
    """The facts of each stream of some clips, their bad recordings, and how often readers noted something."""

    def __init__(self, clips: Clips):
        self.clips = clips
        self.facts = {name: Facts() for name in Inspection(clips).described}
        self.have = dict.fromkeys(clips.streams, 0)
        self.bad: list[Fault] = []
        self.notes: dict[tuple[str, str], Count] = {}

    def add(self, verdict: Verdict) -> None:
        """One more recording."""
        self.bad += [] if verdict.fault is None else [verdict.fault]
        for name in verdict.streams:
            self.have[name] += 1
        for name, known in verdict.facts.items():
            self.facts[name].add(verdict.id, known)
        for note in verdict.notes:
            self.notes.setdefault((note.modality, note.note), Count()).add(verdict.id)

    def bad_of(self, name: str) -> int:
        """In how many recordings the stream is what makes them bad."""
        return sum(fault.modality == self.clips.streams[name].source for fault in self.bad)

    def units(self, name: str) -> dict[str, str]:
        """Of the facts about a stream."""
        return {"rate": "Hz", "seconds": "s", **self.clips.readers[name].contents().units}

    def noted(self) -> list[str]:
        """What readers noted, the most frequent first."""
        order = sorted(self.notes.items(), key=lambda item: (-item[1].number, item[0]))
        return [
            f"{modality}: {note} ({count.number} recording{'s' * (count.number > 1)}, for example {count.example!r})"
            for (modality, note), count in order
        ]

    def findings(self, columns: Columns) -> list[Finding]:
        """What looks wrong, the largest share first."""
        doubts = {name: self.clips.readers[name].contents().doubts for name in self.facts}
        return by_share([*about_streams(self.facts, doubts, self.clips.spans), *about_columns(columns)])

    def tree(self, columns: Columns, findings: list[Finding]) -> dict[str, Any]:
        """All of it for JSON."""
        return {
            "data": str(self.clips.manifest.path), "samples": len(self.clips), "bad": len(self.bad),
            "streams": {
                name: {"recordings": self.have[name], "bad": self.bad_of(name), **facts.tree()}
                for name, facts in self.facts.items()
            },
            **columns.tree(), "notes": [*self.clips.manifest.notes, *self.noted()],
            "warnings": [asdict(finding) for finding in findings],
        }  # fmt: skip
