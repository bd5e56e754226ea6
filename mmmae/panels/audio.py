"""Audio as what the tokenizer cuts: a log-mel spectrogram, or the waveform."""

from __future__ import annotations

import numpy as np

from mmmae.panels.page import Page, View, covered

HEIGHT = 0.66  # inches
HERTZ = (250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0, 16000.0)


def draw(page: Page, view: View) -> None:
    tokenizer = view.tokenizer
    if tokenizer.spectrum == "wave":
        return trace(page, view)
    frames, mels = view.original.shape
    end = frames * tokenizer.hop / tokenizer.rate  # the last patch may reach past the window
    page.heading(view.name, f"log-mel spectrogram, {mels} bands up to {tokenizer.rate / 2000:g} kHz")
    marks = marked(tokenizer.rate, mels, tokenizer.spectrum)
    for label, values, cover in view.rows():
        axes = page.row(HEIGHT, label)
        colours = picture(values, view.original[view.valid], cover, view.valid)
        axes.imshow(
            colours.swapaxes(0, 1), origin="lower", interpolation="nearest", aspect="auto", extent=(0, end, 0, mels)
        )
        axes.set(xlim=(0, view.seconds), ylim=(0, mels))
        axes.set_yticks(list(marks), [f"{hertz / 1000:g}" for hertz in marks.values()])
        if label == "input":
            axes.annotate(
                "kHz", (1, 1), (3, 1), "axes fraction", textcoords="offset points", size=6.5,
                color=axes.yaxis.get_ticklabels()[0].get_color(), annotation_clip=False,
            )  # fmt: skip
    page.clock(axes, view.seconds)


def trace(page: Page, view: View) -> None:
    """Samples as a line, grey where they were hidden."""
    page.heading(view.name, f"waveform, {view.tokenizer.rate / 1000:g} thousand samples per second")
    end = len(view.original) / view.tokenizer.rate  # the last patch may reach past the window
    loudest = max(np.abs(view.original[view.valid]).max(), 1e-6)
    for label, values, cover in view.rows():
        axes = page.row(HEIGHT, label)
        seen = np.where(cover | ~view.valid, np.nan, values)
        axes.plot(np.linspace(0, end, len(values), endpoint=False), seen, linewidth=0.4, color="#0072b2")
        axes.set(xlim=(0, view.seconds), ylim=(-loudest, loudest))
    page.clock(axes, view.seconds)


def picture(values: np.ndarray, reference: np.ndarray, cover: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """A spectrogram as colours, on the scale of `reference`, so that input and reconstruction compare."""
    from matplotlib import colormaps

    low, high = np.percentile(reference, (2, 99.7))
    scaled = np.clip((values - low) / max(high - low, 1e-6), 0, 1)
    return covered(colormaps["magma"](scaled)[..., :3], cover, valid)


def marked(rate: int, mels: int, spectrum: str) -> dict[float, float]:
    """Where some frequencies lie among the bands: about three of them, an octave or more apart."""
    scale = slaney if spectrum == "mel" else kaldi
    lowest = scale(0.0 if spectrum == "mel" else 20.0)
    width = (scale(rate / 2) - lowest) / (mels + 1)
    marks = {(scale(hertz) - lowest) / width - 0.5: hertz for hertz in HERTZ if hertz < 0.55 * rate}
    inside = {place: hertz for place, hertz in marks.items() if place < 0.97 * mels}
    spread: dict[float, float] = {}
    for place in sorted(inside, reverse=True):
        if not spread or min(spread) - place >= mels / 5:
            spread[place] = inside[place]
    return spread


def slaney(hertz: float) -> float:
    """Mels of the Auditory Toolbox: linear up to 1 kHz, then logarithmic."""
    return hertz * 3 / 200 if hertz < 1000 else 15 + 27 * np.log(hertz / 1000) / np.log(6.4)


def kaldi(hertz: float) -> float:
    """Mels of HTK and Kaldi."""
    return 1127 * np.log(1 + hertz / 700)
