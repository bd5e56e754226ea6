"""mmmae: masked autoencoders for any mix of video, audio, IMU and text.

    import mmmae
    model = mmmae.Recipe.load("videomae", ["size=tiny"]).build()

Names are imported when they are first used, so that `import mmmae` stays quick.
"""

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from mmmae.api import MaskedAutoencoder, Recipe

HOMES = {"MaskedAutoencoder": "mmmae.api", "Recipe": "mmmae.api"}

__all__ = ["MaskedAutoencoder", "Recipe", "__version__"]


def __getattr__(name: str):
    if name in HOMES:
        from importlib import import_module

        return getattr(import_module(HOMES[name]), name)
    raise AttributeError(f"module 'mmmae' has no attribute {name!r}")
