"""Video as a strip of frames, each at its time on the time axis."""

from __future__ import annotations

import numpy as np

from mmmae.panels.page import QUIET, Page, View, covered

FRAMES = 8
TALLEST = 1.3  # inches
GAP = 0.05  # inches between frames


def draw(page: Page, view: View) -> None:
    steps, _, height, width = view.original.shape
    chosen = frames(view)
    slot = page.width / len(chosen)
    across = min(slot - GAP, TALLEST * width / height)
    down = across * height / width
    page.heading(view.name, f"{steps} frame{'s' * (steps > 1)} of {width} × {height} pixels")
    stamps = page.canvas(0.11, gap=0.02)
    for place, frame in enumerate(chosen):
        moment = (frame + 0.5) / steps * view.seconds
        stamps.text((place + 0.5) * slot, 0.06, f"{moment:.2f} s", size=6, color=QUIET, ha="center", va="center")
    for label, values, cover in view.rows():
        axes = page.canvas(down, label)
        for place, frame in enumerate(chosen):
            middle = (place + 0.5) * slot
            shown = picture(values[frame], cover[frame], view.valid[frame], view.tokenizer.full_scale)
            axes.imshow(
                shown, interpolation="nearest", aspect="auto",
                extent=(middle - across / 2, middle + across / 2, down, 0),
            )  # fmt: skip
        axes.set(xlim=(0, page.width), ylim=(down, 0))


def frames(view: View) -> list[int]:
    """Which frames to draw: some of those that a decoder predicts, or of all if it predicts none."""
    steps = len(view.original)
    known = range(steps) if view.predicted is None else view.tokenizer.predicted_frames(steps)
    count = min(FRAMES, len(known))
    return [known[int((i + 0.5) * len(known) / count)] for i in range(count)]


def picture(frame: np.ndarray, cover: np.ndarray, valid: np.ndarray, full: float = 255.0) -> np.ndarray:
    """A frame (c, h, w) of levels 0 to `full` as colours (h, w, 3): grey for one channel, flow in red and green."""
    channels = [*frame[:3]] if len(frame) != 1 else [frame[0]] * 3
    channels += [np.full_like(frame[0], full * 128 / 255)] * (3 - len(channels))
    return covered((np.stack(channels, -1) / full).clip(0, 1), cover[0], valid[0])
