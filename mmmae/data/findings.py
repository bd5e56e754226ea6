"""Notes on rows that were converted, assumed or ignored while reading, counted, with the first place as an example."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Findings:
    """Collects notes on rows, and what of a folder was ignored, and makes plain sentences of them."""

    notes: dict[str, tuple[int, str]] = field(default_factory=dict)
    skipped: dict[str, tuple[int, str]] = field(default_factory=dict)

    def note(self, sentence: str, where: str = "", count: int = 1) -> None:
        """Say something once; `where` names the rows of which it is true."""
        known, first = self.notes.get(sentence, (0, where))
        self.notes[sentence] = (known + count, first)

    def skip(self, what: str, example: str, count: int = 1) -> None:
        """Count what is ignored: `what` says of which kind it is, and why."""
        known, first = self.skipped.get(what, (0, example))
        self.skipped[what] = (known + count, first)

    def sentences(self) -> tuple[str, ...]:
        """Every note, and one sentence that counts all that was ignored."""
        found = []
        for sentence, (count, where) in self.notes.items():
            others = f", and {count - 1} more" if count > 1 else ""
            found.append(f"{sentence} ({where}{others})" if where else sentence)
        if self.skipped:
            parts = sorted(self.skipped.items(), key=lambda item: -item[1][0])
            total = sum(count for count, _ in self.skipped.values())
            listed = ", ".join(f"{count} {what} ({example})" for what, (count, example) in parts)
            found.append(f"ignored {total}: {listed}")
        return tuple(found)
