"""Arguments of runs that take seconds, and the log that a run leaves."""

from __future__ import annotations

import json
from pathlib import Path

SMALL = ["window=1.0", "modalities.video.frames=4", "modalities.video.size=32", "trunk.depth=1", "--workers", "0",
         "--batch-size", "8", "--log-every", "1", "--track", "none"]  # fmt: skip


def log_of(output: Path) -> list[dict]:
    return [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
