"""IMU as traces of acceleration: what was measured in grey, what was predicted in colour."""

from __future__ import annotations

import numpy as np

from mmmae.panels import embedding
from mmmae.panels.page import Page, View, ticks

HEIGHT = 0.62  # inches
SENSORS = 3
AXES = (("x", "#0072b2"), ("y", "#d55e00"), ("z", "#009e73"))  # Okabe and Ito: distinguishable without colour vision


def draw(page: Page, view: View) -> None:
    if view.tokenizer.kind != "raw":  # log magnitudes have no trace
        return embedding.draw(page, view)
    sensors = view.original.shape[1]
    worn = [sensor for sensor in range(sensors) if view.valid[:, sensor, : len(AXES)].any()]
    some = f"{SENSORS} of {len(worn)} sensors, " if len(worn) > SENSORS else ""
    grey = "; measured in grey, predicted in colour where shaded" if view.predicted is not None else ""
    page.heading(view.name, f"{some}acceleration in m/s²{grey}:", AXES[: view.original.shape[2]])
    if not worn:  # rotations only
        return page.absent()
    for sensor in worn[:SENSORS]:
        axes = page.row(HEIGHT, called(view, sensor), gap=0.09)
        trace(axes, view, sensor)
        axes.set_xlim(0, view.seconds)
        axes.axhline(0, color="#e2e2e2", linewidth=0.6, zorder=0)
    page.clock(axes, view.seconds)


def trace(axes, view: View, sensor: int) -> None:
    """The accelerations of one sensor over time."""
    steps = len(view.original)
    edges = np.arange(steps + 1) / steps * view.seconds
    guessed = view.hidden[:, sensor]
    hidden = np.asarray(guessed.any(axis=-1))
    measured = np.where(view.valid[:, sensor], view.original[:, sensor], np.nan)  # a missing channel is a gap
    ends = np.nanmin(measured[:, :3]), np.nanmax(measured[:, :3])
    room = 0.2 * max(ends[1] - ends[0], 1.0)
    axes.yaxis.set_major_locator(ticks(3))
    axes.set_ylim(ends[0] - room, ends[1] + room)
    axes.fill_between(
        edges, 0, 1, where=np.append(hidden, hidden[-1]), step="post", transform=axes.get_xaxis_transform(),
        color="#f0f0f0", linewidth=0, zorder=-1,
    )  # fmt: skip
    for channel, (_, colour) in enumerate(AXES[: measured.shape[1]]):
        shown = colour if view.predicted is None else "#8a8a8a"
        axes.plot(edges[:-1], measured[:, channel], color=shown, linewidth=0.8)
        if view.predicted is not None:
            line = np.where(guessed[:, channel], view.predicted[:, sensor, channel], np.nan)
            axes.plot(edges[:-1], line, color=colour, linewidth=1.3)


def called(view: View, sensor: int) -> str:
    names = getattr(view.reader, "sensors", None)
    return names[sensor] if isinstance(names, list) else f"sensor {sensor + 1}"
