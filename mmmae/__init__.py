"""mmmae: masked autoencoders for any mix of video, audio, IMU and text.

    import mmmae
    model = mmmae.Recipe.load("videomae", ["size=tiny"]).build()
    run = mmmae.train("videomae", "films/", "runs/films", ["size=tiny"], steps=1000)

Names are imported when they are first used, so that `import mmmae` stays quick.
"""

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from mmmae.model import MaskedAutoencoder
    from mmmae.recipe import Recipe
    from mmmae.train import train

HOMES = {"MaskedAutoencoder": "mmmae.model", "Recipe": "mmmae.recipe"}

__all__ = ["MaskedAutoencoder", "Recipe", "__version__", "train"]


def __getattr__(name: str):
    from importlib import import_module

    if name in HOMES:
        return getattr(import_module(HOMES[name]), name)
    if name == "train":  # a module that can be called, so that `mmmae.train` means the same whoever imported what
        return import_module("mmmae.train")
    raise AttributeError(f"module 'mmmae' has no attribute {name!r}")
