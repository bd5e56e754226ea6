"""mmmae: masked autoencoders for any mix of video, audio, IMU and text.

    import mmmae
    model = mmmae.Recipe.load("videomae", ["size=tiny"]).build()
    run = mmmae.train("videomae", "videos/", "runs/videos", ["size=tiny"], steps=1000)
    table = mmmae.predict("runs/tuned", "clips/")

Names are imported when they are first used, so that `import mmmae` stays quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from mmmae.api import MaskedAutoencoder, Recipe
    from mmmae.commands.export import export
    from mmmae.commands.predict import predict
    from mmmae.probe.features import features
    from mmmae.train import train

HOMES = {
    "MaskedAutoencoder": "mmmae.api",
    "Recipe": "mmmae.api",
    "export": "mmmae.commands.export",
    "features": "mmmae.probe.features",
    "predict": "mmmae.commands.predict",
}

__all__ = ["MaskedAutoencoder", "Recipe", "__version__", "export", "features", "predict", "train"]


def __getattr__(name: str):
    if name == "train":
        return import_module("mmmae.train")  # a module that can be called
    if name in HOMES:
        return getattr(import_module(HOMES[name]), name)
    raise AttributeError(f"module 'mmmae' has no attribute {name!r}")
