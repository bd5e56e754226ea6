"""Features over time as an image: how embeddings are shown, and every stream that has no picture of its own."""

from __future__ import annotations

import numpy as np

from mmmae.panels.page import Page, View, covered

HEIGHT = 0.6  # inches


def draw(page: Page, view: View) -> None:
    steps = len(view.original)
    cover, valid = view.hidden.reshape(steps, -1), view.valid.reshape(steps, -1)
    reference = view.original.reshape(steps, -1)[valid].astype(float)
    page.heading(view.name, f"{cover.shape[1]} features at {steps} steps")
    for label, values, hidden in view.rows():
        axes = page.row(HEIGHT, label)
        colours = picture(values.reshape(steps, -1), reference, hidden.reshape(steps, -1), valid)
        axes.imshow(
            colours.swapaxes(0, 1), origin="lower", interpolation="nearest", aspect="auto",
            extent=(0, view.seconds, 0, cover.shape[1]),
        )  # fmt: skip
    page.clock(axes, view.seconds)


def picture(values: np.ndarray, reference: np.ndarray, cover: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Numbers as colours around the middle of `reference`: blue below, white there, red above."""
    from matplotlib import colormaps

    middle = np.median(reference)
    reach = max(np.percentile(np.abs(reference - middle), 99), 1e-6)
    scaled = np.clip(0.5 + (values - middle) / (2 * reach), 0, 1)
    return covered(colormaps["RdBu_r"](scaled)[..., :3], cover, valid)
