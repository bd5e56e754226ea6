"""Pictures of what a model reconstructs: one page for the first samples of a batch.

How a stream is drawn is decided by its tokenizer's home: one of `modalities.video` by the file `video.py` here. A new
modality brings its picture as one new file with `draw(page, view)`; without one it is shown as an image of its values.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from mmmae.objectives.objective import Picture
from mmmae.panels.page import QUIET, Page, View
from modalities.records import Batch, Patches, Signal, by_value
from modalities.tokenizer import Tokenizer

if TYPE_CHECKING:
    from mmmae.api import MaskedAutoencoder

FALLBACK = "embedding"


def draw(
    model: MaskedAutoencoder,
    batch: Mapping[str, Signal],
    path: str | Path,
    *,
    title: str = "",
    vocabulary: Any = None,
    samples: int = 3,
    pictures: Mapping[str, Picture] | None = None,
) -> Path:
    """Draw input, masked input and reconstruction of every stream that the model predicts, and write them as one PNG.

    Args:
        title: what the page begins with, such as "step 200, loss 0.31"; the recipe follows.
        vocabulary: turns ids into words by its `pieces(ids)`; by default the one that the recipe names.
        samples: how many of the batch to draw, its first ones.
        pictures: what `predicted` returned for this batch, where that was called already.
    """
    batch = part(Batch.of(batch), slice(samples))
    drawn = views(model, batch, vocabulary, pictures)
    page = Page()
    recipe = [model.recipe.name.removesuffix(".yaml")]
    page.line(" · ".join([*filter(None, [title]), *recipe, ", ".join(drawn)]), size=10.5, weight="bold", height=0.24)
    for number in range(len(batch.key)):
        header(page, batch, number)
        for stream in drawn.values():
            show(page, stream[number])
    page.skip(0.04)
    guessed = [name for name, stream in drawn.items() if stream[0].predicted is not None]
    page.line(footnote(model, guessed), size=6.5, colour=QUIET, height=0.14)
    return page.save(Path(path))


@torch.no_grad()
def predicted(model: MaskedAutoencoder, batch: Batch) -> dict[str, Picture]:
    """What the model reconstructs in evaluation mode, by stream; it stays in the mode that it was in."""
    training = model.training
    model.eval()
    pictures = model.reconstruct(batch)
    model.train(training)
    return pictures


def views(
    model: MaskedAutoencoder, batch: Batch, vocabulary: Any = None, pictures: Mapping[str, Picture] | None = None
) -> dict[str, list[View]]:
    """What there is to draw of each stream, for every sample: of one that is not predicted, how it was."""
    pictures = predicted(model, batch) if pictures is None else pictures
    readers = model.recipe.readers()
    tokenizers = cast("Mapping[str, Tokenizer]", model.tokenizers)
    return {
        name: seen(name, tokenizers[name], batch[name], readers.get(name), pictures.get(name), vocabulary)
        for name in batch
    }  # fmt: skip


def seen(
    name: str, tokenizer: Tokenizer, signal: Signal, reader: Any, picture: Picture | None = None, vocabulary: Any = None
) -> list[View]:
    """A stream, sample by sample; without a picture as the tokenizer sees it, nothing hidden."""
    patches = tokenizer.patchify(signal)
    nowhere = torch.zeros(patches.time.shape, dtype=torch.bool, device=patches.time.device)
    original = tokenizer.unpatchify(patches.values, patches.grid) if picture is None else picture.original
    hidden = spread(tokenizer, patches, nowhere if picture is None else picture.hidden)
    valid = spread(tokenizer, patches, ~nowhere if patches.valid is None else patches.valid)
    predicted = None if picture is None else picture.predicted.cpu().numpy()
    original, hidden, valid, seconds = (x.cpu().numpy() for x in (original, hidden, valid, patches.duration))
    vocabulary = vocabulary or getattr(reader, "vocabulary", None)
    names = [name] * len(original) if signal.lag is None else [f"{name} ({lag:+.2f} s)" for lag in signal.lag.tolist()]
    return [
        View(
            names[i], tokenizer, original[i], None if predicted is None else predicted[i], hidden[i], valid[i],
            float(seconds[i]), reader, vocabulary,
        )
        for i in range(len(original))
    ]  # fmt: skip


def spread(tokenizer: Tokenizer, patches: Patches, marked: torch.Tensor) -> torch.Tensor:
    """Marks on patches (b, n) as marks on every element of the assembled signal that exists."""
    values = marked[..., None].expand(patches.values.shape)
    if patches.observed is not None:
        values = values & by_value(patches.observed, values.shape[-1])
    return tokenizer.unpatchify(values.to(patches.values.dtype), patches.grid).bool()


def show(page: Page, view: View) -> None:
    """Draw a stream with the panel of its modality, or note that the sample lacks it."""
    if view.valid.any():
        import_module(f"{__name__}.{kind(view.tokenizer)}").draw(page, view)
    else:
        page.heading(view.name)
        page.absent()
    page.skip(0.07)


def kind(tokenizer: Tokenizer) -> str:
    """The file here that draws what this tokenizer, or the nearest class it inherits from, cuts."""
    for cls in type(tokenizer).__mro__:
        package, *rest = cls.__module__.split(".")
        if package == "modalities" and len(rest) > 1 and find_spec(f"{__name__}.{rest[0]}"):
            return rest[0]
    return FALLBACK


def header(page: Page, batch: Batch, number: int) -> None:
    """Which sample follows and which seconds of it."""
    signal = next(iter(batch.values()))
    start = 0.0 if signal.start is None else float(signal.start[number])
    name = batch.ids[number] if batch.ids else f"sample {number + 1}"
    page.rule()
    page.line(f"{name} · {start:.2f} – {start + float(signal.seconds()[number]):.2f} s", size=8.0, colour=QUIET)


def footnote(model: MaskedAutoencoder, streams: list[str]) -> str:
    """Where what is shown as a prediction has its mean and scale from."""
    if not streams:
        return "nothing is predicted"
    norms = {}
    for objective in model.objectives.values():
        norms |= getattr(objective, "norms", {})
    normalised = [name for name in streams if norms.get(name, "none") != "none"]
    if not normalised:
        return "targets are not normalised"
    which = "" if normalised == [name for name in streams if name in norms] else f"{', '.join(normalised)}: "
    return f"{which}predictions de-normalised with mean and scale of visible neighbours"


def part(batch: Batch, rows: slice) -> Batch:
    """Some of the samples of a batch."""
    some = batch.map(lambda x: x[rows])
    return Batch(some.signals, some.key, list(batch.ids[rows]), some.label)
