"""mmmae: masked autoencoders for any mix of video, audio, IMU and text.

    import mmmae
    model = mmmae.Recipe.load("videomae", ["size=tiny"]).build()
    run = mmmae.train("videomae", "films/", "runs/films", ["size=tiny"], steps=1000)
    table = mmmae.predict("runs/tuned", "clips/")

Names are imported when they are first used, so that `import mmmae` stays quick.
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from mmmae.api import MaskedAutoencoder, Recipe
    from mmmae.export import export
    from mmmae.features import features
    from mmmae.predict import predict
    from mmmae.train import train

HOMES = {"MaskedAutoencoder": "mmmae.api", "Recipe": "mmmae.api"}

CALLS = ("export", "features", "predict", "train")  # modules that are called like the function of their name

__all__ = ["MaskedAutoencoder", "Recipe", "__version__", "export", "features", "predict", "train"]


class Call(ModuleType):
    """A module that can be called: Python has one name, `mmmae.predict`, for it and for its function `predict`."""

    def __call__(self, *given: Any, **named: Any) -> Any:
        return getattr(self, self.__name__.rpartition(".")[2])(*given, **named)


def callable_module(module: ModuleType) -> None:
    """Let a module be called like its function of the same name."""
    module.__class__ = Call


def __getattr__(name: str):
    if name in CALLS:
        return import_module(f"mmmae.{name}")
    if name in HOMES:
        return getattr(import_module(HOMES[name]), name)
    raise AttributeError(f"module 'mmmae' has no attribute {name!r}")
