"""Facts about a recording for the report of `mmmae check`."""

from __future__ import annotations

from typing import Any

import numpy as np

from modalities.imu.recording import Table
from modalities.imu.resampling import LONGEST_GAP


def constant(table: Table) -> list[str]:
    """Channels that never change."""
    found = []
    for group in table.groups:
        rows = table.values if group.rows is None else table.values[group.rows]
        flat = rows.reshape(len(rows), -1)[:, group.columns]
        still = flat.min(0) == flat.max(0) if len(flat) > 1 else np.zeros(len(group.columns), dtype=bool)
        found += [called(table, place) for place, same in zip(group.places, still, strict=True) if same]
    return found


def missing(table: Table) -> dict[str, Any]:
    """The share of each channel's own time that lies in gaps, where there is any."""
    found = {}
    for group in table.groups:
        steps = np.diff(group.times)
        lost = steps[steps > LONGEST_GAP * group.period * (1 + 1e-6)].sum() / table.seconds if table.seconds else 0.0
        found |= {f"missing {channel}": round(float(lost), 4) for _, channel in group.places if lost > 0}
    return found


def called(table: Table, place: tuple[int, str]) -> str:
    sensor, channel = place
    return f"{table.names[sensor]}.{channel}" if table.names and len(table.names) > 1 else channel
