"""Hints: maps for guided masking, read with a video."""

from __future__ import annotations

import inspect
import pkgutil

from modalities.errors import did_you_mean
from modalities.import_class import resolve
from modalities.video.hints.hint import CELL, DecodedWindows, Hint, pooled

__all__ = ["CELL", "DecodedWindows", "Hint", "find", "pooled"]


def names() -> list[str]:
    """The hints there are: every file here but the base's."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "hint")


def find(name: str) -> type[Hint]:
    """The hint that a file here defines, or a class of another package by its dotted name.

    Raises:
        ValueError: there is none.
    """
    outside = "." in name
    if not outside and name not in names():
        raise ValueError(f"video hint={name!r}: {did_you_mean(name, names()) or f'known: {names()}'}")
    try:
        found = resolve(name if outside else f"{__name__}.{name}")
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"video hint={name!r} cannot be imported ({error}); is it on the path?") from error
    if outside:
        classes = [found]
    else:
        classes = [cls for cls in vars(found).values() if inspect.isclass(cls) and cls.__module__ == found.__name__]
    if len(classes) != 1 or not (inspect.isclass(classes[0]) and issubclass(classes[0], Hint)):
        raise ValueError(f"video hint={name!r} is not a subclass of Hint")
    return classes[0]
