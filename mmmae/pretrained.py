"""The model of a run, by its folder or as it is in memory, and how it reads data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mmmae.api import MaskedAutoencoder
from modalities.errors import InputError

if TYPE_CHECKING:
    from mmmae.data.clips import Clips
    from mmmae.data.manifest import Manifest


def loaded(run: Any) -> MaskedAutoencoder:
    """The model of a run, of one of its checkpoints or of a saved model, on the GPU if there is one; or a model itself.

    Raises:
        InputError: it is neither, or a model that was built without a recipe.
    """
    if isinstance(run, (str, Path)):
        return MaskedAutoencoder.from_pretrained(run).to("cuda" if torch.cuda.is_available() else "cpu")
    if not isinstance(run, MaskedAutoencoder):
        raise InputError(f"expected the folder of a run or a model of mmmae, got {type(run).__name__}")
    return run


@contextmanager
def evaluating(model: MaskedAutoencoder) -> Iterator[None]:
    """Inside, the model is evaluated; outside it stays in the mode that it was in."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def reading(
    model: MaskedAutoencoder, manifest: Manifest, names: Sequence[str] | None = None, windows: int = 1
) -> Clips:
    """The streams of a model that the data has, or those named, over the middle windows of equal parts of a recording.

    Of streams that share a tokenizer the first represents all, unless they are named.

    Raises:
        InputError: the model or the data has none of them.
    """
    from mmmae.data.clips import Clips

    recipe = model.recipe
    streams = {name: recipe.stream(name) for name in recipe.streams}
    if unknown := [name for name in names or () if name not in streams]:
        raise InputError(f"--modalities {unknown[0]}: the run has {', '.join(streams)}")
    if absent := [name for name in names or () if not manifest.has(streams[name].source)]:
        raise InputError(f"{manifest.path}: no row has {absent[0]}\n  name others with --modalities")
    wanted = names or [name for name, stream in streams.items() if stream.share is None]
    chosen = {name: streams[name] for name in wanted if manifest.has(streams[name].source)}
    if not chosen:
        raise InputError(f"{manifest.path}: has none of {', '.join(streams)}, which the run reads")
    readers = {name: reader for name, reader in recipe.readers().items() if name in chosen}
    return Clips(
        manifest, {name: readers[name] for name in chosen}, window=recipe.sections.window, streams=chosen, centre=True,
        repeats=windows, repeat="windows",
    )  # fmt: skip
