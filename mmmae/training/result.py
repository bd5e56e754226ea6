"""The result of a training run, for Python callers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmmae.api import MaskedAutoencoder


@dataclass(frozen=True)
class Run:
    """What a training run left behind.

    folder: with `log.jsonl`, pictures and checkpoints. checkpoint: the newest one. step: how many the model has taken.
    figures: the last line of the log: losses by part, those of held-out recordings under `evaluation/`; None where one
        was not finite.
    """

    folder: Path
    checkpoint: Path
    step: int
    figures: dict[str, float | None]

    def model(self) -> MaskedAutoencoder:
        """The trained model."""
        from mmmae.api import MaskedAutoencoder

        return MaskedAutoencoder.from_pretrained(self.checkpoint)

    @classmethod
    def of(cls, folder: Path, step: int, start: Path | None) -> Run:
        """What lies in a run's folder at a step; start: the checkpoint that it went on from, if any."""
        path, newest = folder / "log.jsonl", folder / "checkpoints" / f"step-{step}"
        log = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        figures = {name: figure for name, figure in json.loads(log[-1]).items() if name != "step"} if log else {}
        return cls(folder, newest if newest.exists() or start is None else start, step, figures)
