"""What a checkpoint learned, on held-out data: a table that anyone can make again.

    python benchmarks/learned.py runs/RUN --data DATA [--json FILE]

1. Held-out error of every stream beside that of the best constant (the mean patch; for text the word frequencies).
2. Retrieval between every pair of streams among N held-out samples: R@1, R@5 and median rank; each is encoded alone.
3. Cross-modal prediction: the error on what is hidden of each stream when the other streams are visible, when they are
   withheld, and when they come from another sample.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from mmmae import MaskedAutoencoder
from mmmae.commands.retrieve import Encoded, digests, retrieval, vectors
from mmmae.data.loader import evaluation
from mmmae.data.source import open_data
from mmmae.objectives.prediction import Prediction
from modalities.records import Batch


def batches(model: MaskedAutoencoder, data: str | None, size: int = 32) -> Iterator[Batch]:
    """Centre windows of the held-out rows."""
    recipe = model.recipe
    rules = recipe.sections.data
    _, test = open_data(data, list(recipe.columns), outside=rules.outside).split(rules.holdout)
    return evaluation(recipe.clips(test, centre=True), size, workers=2)


class Sum:
    """Running mean over whatever is asked for."""

    def __init__(self):
        self.total, self.count = 0.0, 0.0

    def add(self, values: torch.Tensor, asked: torch.Tensor | None) -> None:
        weight = torch.ones_like(values) if asked is None else asked.to(values.dtype)
        self.total += (values * weight).sum().double().item()
        self.count += weight.sum().double().item()

    def mean(self) -> float:
        return self.total / max(self.count, 1)


def errors(model: MaskedAutoencoder, encoded: Step, names: list[str] | None = None) -> Iterator[tuple]:
    """(stream, error of every hidden patch, slots filled, target) of what the objectives predict."""
    for objective in model.objectives.values():
        if isinstance(objective, Prediction):
            for name, answer in objective.answer(encoded, everything=True).items():
                if names is None or name in names:
                    error = objective.error(encoded.tokenizers[name], encoded.patches[name], answer, name)
                    yield name, error, answer.valid, answer.target


def against_constant(model: MaskedAutoencoder, data: list[Batch]) -> dict[str, dict[str, float]]:
    """Held-out error and that of the constant that does best on the same held-out patches."""
    sums, wanted = {}, {}
    for batch in data:
        for name, error, asked, target_values in errors(model, model.encode_masked(batch)):
            sums.setdefault(name, Sum()).add(error, asked)
            keep = torch.ones_like(error, dtype=torch.bool) if asked is None else asked
            wanted.setdefault(name, []).append(target_values[keep])
    table = {}
    for name, parts in wanted.items():
        values = torch.cat(parts)
        if values.is_floating_point():
            constant = (values - values.mean(0)).square().mean().item()
        else:
            share = values.bincount().double() / len(values)
            constant = -(share[share > 0] * share[share > 0].log()).sum().item()
        table[name] = {"error": sums[name].mean(), "constant": constant, "ratio": sums[name].mean() / constant}
    return table


def cross_modal(model: MaskedAutoencoder, data: list[Batch]) -> dict[str, dict[str, float]]:
    """Error on a stream's hidden patches with the others visible, withheld, and taken from another sample.

    Everything is hidden as in training; the same patches of the stream are hidden in the three cases.
    """
    sums: dict[str, dict[str, Sum]] = {}
    for batch in data:
        plans = model.encode_masked(batch).plans
        for name in batch:
            if len(batch) == 1:
                continue
            mixed = {m: signal if m == name else signal.map(shift) for m, signal in batch.items()}
            swapped = {m: plan if m == name else plan.map(shift) for m, plan in plans.items()}
            cases = {
                "visible": (batch, plans),
                "withheld": (batch.only([name]), {name: plans[name]}),
                "shuffled": (replace(batch, signals=mixed), swapped),
            }
            for case, (kept, chosen) in cases.items():
                for stream, error, asked, _ in errors(model, model.encode_masked(kept, chosen), [name]):
                    sums.setdefault(stream, {}).setdefault(case, Sum()).add(error, asked)
    return {name: {case: total.mean() for case, total in cases.items()} for name, cases in sums.items()}


def shift(x: torch.Tensor) -> torch.Tensor:
    """Everybody's neighbour."""
    return x.roll(1, dims=0)


def show(title: str, rows: dict[str, dict[str, float]]) -> None:
    if not rows:
        return
    table = Table("", *next(iter(rows.values())), title=title)
    for name, figures in rows.items():
        table.add_row(
            name, *(f"{value:.4g}" if isinstance(value, float | int) else value for value in figures.values())
        )
    Console().print(table)


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a run or of a checkpoint")
    parser.add_argument("--data", help="as for training")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    arguments = parser.parse_args()
    model = MaskedAutoencoder.from_pretrained(arguments.run)
    data = list(batches(model, arguments.data))
    figures = {
        "held-out error": against_constant(model, data),
        "retrieval": retrieval(Encoded(vectors(model, batch), digests(batch)) for batch in data),
        "cross-modal prediction": cross_modal(model, data),
    }
    for title, rows in figures.items():
        show(title, rows)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
