"""Synthetic batches: the right shapes and types, no files."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from mmmae.build import build_readers, build_target, build_tokenizers, build_window_targets
from mmmae.data.sample import covered
from mmmae.data.targets import Target
from mmmae.recipes.recipe import RecipeSpec
from mmmae.recipes.timing import Lag
from modalities.noise import sample_key, uniform
from modalities.reader import Reader
from modalities.records import Batch, Signal
from modalities.shapes import Tensor
from modalities.tokenizer import Tokenizer


def example(
    recipe: RecipeSpec,
    batch_size: int,
    seed: int,
    ragged: bool = False,
    tokenizers: Mapping[str, Tokenizer] | None = None,
) -> Batch:
    """Random contents in the shapes that the recipe's readers give.

    tokenizers: of the recipe's model, where it is built already.

    ragged: shorten the streams of most samples, leave one stream out of each sample in turn, none out of some, and some
        of the labels out, of which there are two.
    """
    recipe = settled(recipe)
    generator = torch.Generator().manual_seed(seed)
    if tokenizers is None:
        with torch.random.fork_rng(devices=[]):
            tokenizers = build_tokenizers(recipe)
    window = recipe.sections.window
    key = torch.tensor([sample_key(seed, 0, index) for index in range(batch_size)])

    def drawn(purpose: str) -> list[float]:
        return uniform(key, purpose, 1)[:, 0].tolist()

    signals = {}
    for number, (name, reader) in enumerate(build_readers(recipe).items()):
        stream = recipe.stream(name)
        blank = reader.blank(longest := stream.longest(window))
        values = torch.stack([contents(blank.values, tokenizers[name], generator) for _ in range(batch_size)])
        steps = values.shape[1]
        length = None
        if ragged:
            length = torch.randint(1, steps + 1, (batch_size,), generator=generator)
            length[number::3] = steps
            if len(recipe.streams) > 1:
                length[number :: len(recipe.streams) + 1] = 0
        hint = None if blank.hint is None else guided(blank.hint.expand(batch_size, *blank.hint.shape), generator)
        spans = [longest if stream.span is None else stream.span.at(share) for share in drawn(f"span/{name}")]
        duration = torch.tensor([covered(reader, longest, span) for span in spans])
        start, lag = torch.zeros(batch_size), None
        if stream.lag != Lag():
            start = lag = torch.full((batch_size,), stream.lag.at(0.5, 1.0, later=window))
        signals[name] = Signal(values, length, start, duration, lag=lag, hint=hint)
    label = labels(build_target(recipe), batch_size, generator)
    if ragged:
        label[1::3] = torch.nan if label.is_floating_point() else -1
    targets = {}
    for name, one in build_window_targets(recipe, tokenizers).items():
        found = one.target.example(batch_size, len(one.shares), generator)
        missing = torch.arange(batch_size).reshape(-1, *[1] * (found.ndim - 1)) % 3 == 2
        targets[name] = torch.where(missing, one.target.unknown(found), found) if ragged else found
    return Batch(signals, key, [f"example-{index}" for index in range(batch_size)], label, targets=targets)


def settled(recipe: RecipeSpec) -> RecipeSpec:
    """The recipe with something typical where it leaves a setting to the data."""
    typical = {}
    for name in recipe.streams:
        if recipe.stream(name).share is not None:
            continue
        reader = recipe.parts[name].reader
        kind: type[Reader] = reader.cls
        typical[name] = {key: value for key, value in kind.typical.items() if reader.settings.get(key) is None}
    return recipe.changed({"modalities": typical})


def labels(target: Target | None, count: int, generator: torch.Generator) -> Tensor:
    """One of two classes, some of several labels, or numbers of about one."""
    if target is None or target.kind == "class":
        return torch.randint(0, 2, (count,), generator=generator)
    if target.kind == "regression":
        return torch.randn(count, len(target.names), generator=generator)
    return torch.randint(0, 2, (count, len(target.names)), generator=generator).float()


def contents(blank: Tensor, tokenizer: Tokenizer, generator: torch.Generator) -> Tensor:
    """Random pixels, word ids, or numbers of about one."""
    if tokenizer.words is not None:
        return torch.randint(0, tokenizer.words, blank.shape, generator=generator)
    if blank.dtype == torch.uint8:
        return torch.randint(0, 256, blank.shape, dtype=torch.uint8, generator=generator)
    if getattr(tokenizer, "range", None) is not None:  # measurements between the ends of a stated range
        return torch.rand(blank.shape, generator=generator)
    return torch.randn(blank.shape, generator=generator)


def guided(blank: Tensor, generator: torch.Generator) -> Tensor:
    """A hint with a random value everywhere: scores and speeds up to 1, or one of eight classes."""
    if blank.is_floating_point():
        return torch.rand(blank.shape, generator=generator)
    return torch.randint(0, 8, blank.shape, generator=generator, dtype=blank.dtype)
