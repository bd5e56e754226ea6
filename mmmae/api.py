"""What users import: a recipe that can be built, and a model that can be saved to and loaded from a folder."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mmmae import build, example, model
from mmmae.convert import read
from mmmae.recipes.recipe import RecipeSpec
from mmmae.storage import checkpoint
from modalities.errors import InputError

if TYPE_CHECKING:
    from mmmae.data.augment import Augment
    from mmmae.data.clips import Clips
    from mmmae.data.manifest import Manifest
    from modalities.reader import Reader
    from modalities.records import Batch


Model = TypeVar("Model", bound="MaskedAutoencoder")


class Recipe(RecipeSpec):
    """A recipe, and everything that can be built from it.

    >>> model = Recipe.load("videomae", ["size=tiny"]).build()
    """

    @classmethod
    def of(cls, spec: RecipeSpec) -> Recipe:
        """A recipe that is known as data only."""
        return spec if isinstance(spec, cls) else cls(spec.tree, spec.name, spec.narrowed)

    def build(self, seed: int = 0) -> MaskedAutoencoder:
        """The model, its weights drawn from `seed` whatever else has been drawn before."""
        built = build.build(self, seed, MaskedAutoencoder)
        record = built.record()
        built.recipe = self.changed({"objectives": record}) if record else self
        return built

    def readers(self) -> dict[str, Reader]:
        """A reader for every stream."""
        return build.build_readers(self)

    def clips(self, manifest: Manifest, **settings: Any) -> Clips:
        """The dataset of a manifest's recordings as this recipe reads them; `settings` are those of Clips."""
        return build.build_clips(self, manifest, **settings)

    def augment(self) -> Augment:
        """What changes a batch on the device before the model gets it."""
        return build.build_augment(self)

    def example(self, batch_size: int = 4, seed: int = 0, ragged: bool = False) -> Batch:
        """A synthetic batch of the right shapes; `ragged` shortens streams and leaves some out."""
        return example.example(self, batch_size, seed, ragged)


class MaskedAutoencoder(model.MaskedAutoencoder):
    """A masked autoencoder that knows its recipe, and so can be saved and loaded."""

    made_by: Recipe | None = None

    @property
    def recipe(self) -> Recipe:
        """The recipe that the model was built from.

        Raises:
            InputError: it was put together without one.
        """
        if self.made_by is None:
            raise InputError(
                "this model was built without a recipe, which sets how data is read\n  build it by Recipe.build()"
            )
        return self.made_by

    @recipe.setter
    def recipe(self, recipe: Recipe) -> None:
        self.made_by = recipe

    def save_pretrained(self, folder: str | Path) -> None:
        """Write weights (safetensors) and the full recipe (JSON) to a folder."""
        checkpoint.save_model(self.state_dict(), self.recipe, Path(folder))

    @classmethod
    def from_pretrained(cls: type[Model], path: str | Path) -> Model:
        """The model that `save_pretrained` or a training run (its newest checkpoint) left in a folder.

        A folder of transformers or a checkpoint of VideoMAE's authors is recognised by its tensors and converted; what
        it lacks, such as a decoder, is named by a warning (docs/convert.md).

        Raises:
            InputError: there is no model, or a tensor is missing, unexpected or of the wrong shape.
        """
        imported = load(Path(path), cls=cls)
        for note in imported.notes:
            warnings.warn(f"{path}: {note}", stacklevel=2)
        return imported.model


def load(path: Path, overrides: Sequence[str] = (), cls: type[Model] = MaskedAutoencoder) -> read.Imported[Model]:
    """The model at a path with what its user should know; see `from_pretrained` and `mmmae.convert.read.read`."""
    imported = read.read(path, overrides, cls)
    imported.model.recipe = Recipe.of(imported.recipe)
    return imported
