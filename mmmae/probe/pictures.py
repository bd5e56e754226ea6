"""Figures of probe results: confusion matrices, few-shot curves, ablations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmmae.probe.metrics import spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mmmae.probe.results import Result

SCORES = {"class": "balanced", "multilabel": "map", "regression": "r2"}
CALLED = {"balanced": "balanced accuracy", "map": "mAP", "r2": "R^2"}
PANEL = 4.2  # inches
NAMED = 24  # classes whose names there is room for
BARS = 0.8  # share of the space between two streams that their bars fill


def figure(columns: int, width: float = PANEL) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure  # not pyplot, which keeps every figure and asks for a display

    page = Figure(figsize=(width * columns, PANEL), dpi=120, layout="constrained")
    return page, list(np.atleast_1d(page.subplots(1, columns)))


def confusion(results: Sequence[Result], classes: Sequence[str], path: Path) -> Path:
    """A confusion matrix for each of the features, rows normalised."""
    names = list(classes) if len(classes) <= NAMED else None
    page, panels = figure(len(results))
    for axes, result in zip(panels, results, strict=True):
        assert result.confusion is not None
        shares = result.confusion / np.maximum(result.confusion.sum(1, keepdims=True), 1)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axes.set(title=f"{result.features} ({spread(result.seeds)['accuracy']['mean']:.3f})", xlabel="predicted")
        axes.set_ylabel("label")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_ticks(range(len(classes)) if names else [], names)
        axes.tick_params(axis="x", rotation=90)
    page.savefig(path, bbox_inches="tight")
    return path


def scatter(results: Sequence[Result], path: Path) -> Path:
    """Predictions over ground truth, for each of the features, with one colour per output."""
    page, panels = figure(len(results))
    for axes, result in zip(panels, results, strict=True):
        assert result.pairs is not None
        for wanted, given in zip(result.pairs[0].T, result.pairs[1].T, strict=True):
            axes.scatter(wanted, given, s=8, alpha=0.6)
        ends = [np.nanmin(result.pairs[0]), np.nanmax(result.pairs[0])]
        axes.plot(ends, ends, color="gray", linewidth=0.8)
        axes.set(title=f"{result.features} (R^2 {spread(result.seeds)['r2']['mean']:.3f})", xlabel="label")
        axes.set_ylabel("predicted")
    page.savefig(path, bbox_inches="tight")
    return path


def curves(results: Sequence[Result], path: Path) -> Path:
    """Balanced accuracy over the number of labels per class; error bars are the standard deviation over the seeds."""
    page, (axes,) = figure(1, 1.5 * PANEL)
    most = max(result.shots or 0 for result in results)
    for key in dict.fromkeys((result.features, result.model) for result in results):
        mine = [result for result in results if (result.features, result.model) == key]
        mine.sort(key=lambda result: result.shots or np.inf)
        figures = [spread(result.seeds)[SCORES[result.kind]] for result in mine]
        places = [result.shots or 4 * most for result in mine]
        axes.errorbar(
            places, [f["mean"] for f in figures], [f["std"] for f in figures], label=" ".join(key), capsize=3,
            marker="o", linestyle="-" if key[1] == "pretrained" else "--",
        )  # fmt: skip
    ticks = sorted({result.shots or 4 * most for result in results})
    axes.set(xscale="log", xlabel="labels of each class", ylabel="balanced accuracy")
    axes.set_xticks(ticks, ["all" if tick > most else str(tick) for tick in ticks], minor=False)
    axes.minorticks_off()
    axes.legend(fontsize="small")
    page.savefig(path, bbox_inches="tight")
    return path


def missing(results: Sequence[Result], path: Path) -> Path:
    """The main figure with each stream withheld (bars), and with more and more sensors of a stream missing (curves).

    results: of the pretrained model with all labels, those with nothing withheld included.
    """
    from matplotlib.ticker import MaxNLocator

    score = SCORES[results[0].kind]
    limits = {} if score == "r2" else {"ylim": (0, 1)}
    whole = {result.features: result for result in results if result.withheld is None}
    bars = [result for result in results if result.withheld and result.sensors is None]
    lines = {(r.features, r.withheld): [whole[r.features]] for r in results if r.sensors is not None}
    for result in results:
        if result.sensors is not None:
            lines[result.features, result.withheld].append(result)
    page, panels = figure(bool(bars) + bool(lines))
    if bars:
        axes, names = panels[0], ["nothing", *dict.fromkeys(result.withheld for result in bars)]
        kinds = list(dict.fromkeys(result.features for result in bars))
        for number, kind in enumerate(kinds):
            shown = {"nothing": whole[kind]} | {result.withheld: result for result in bars if result.features == kind}
            figures = [spread(shown[name].seeds)[score] for name in names]
            places = np.arange(len(names)) + (number + 0.5) / len(kinds) * BARS - BARS / 2
            axes.bar(
                places, [f["mean"] for f in figures], BARS / len(kinds), yerr=[f["std"] for f in figures], capsize=3,
                label=kind,
            )  # fmt: skip
        axes.set_xticks(range(len(names)), names)
        axes.set(xlabel="stream withheld in the test", ylabel=CALLED[score], **limits)
        axes.legend(fontsize="small")
    for (features, stream), mine in lines.items():
        figures = [spread(result.seeds)[score] for result in mine]
        places = [0 if result.sensors is None else result.sensors[0] for result in mine]
        means, bounds = [f["mean"] for f in figures], [f["std"] for f in figures]
        panels[-1].errorbar(places, means, bounds, marker="o", capsize=3, label=features)
        panels[-1].set(xlabel=f"sensors of {stream} missing in the test", ylabel=CALLED[score], **limits)
        panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
        panels[-1].legend(fontsize="small")
    page.savefig(path, bbox_inches="tight")
    return path
