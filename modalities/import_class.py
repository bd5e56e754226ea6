"""Import of classes that a recipe names by dotted path, from packages that the user installed, never Python's own."""

from __future__ import annotations

import pkgutil
import sys
from typing import Any


def resolve(name: str) -> Any:
    """The module or object of a dotted name, `package.module`, `package.module.Class` or `package.module:Class`.

    A recipe may come from anybody, and importing runs a module: names of the standard library, where nothing that a
    recipe could mean lies, are refused before anything is imported.

    Raises:
        ValueError: it is of the standard library, or no dotted name.
        ImportError, AttributeError: nothing is called so.
    """
    package = name.partition(":")[0].partition(".")[0]
    if package in sys.stdlib_module_names or package in sys.builtin_module_names or package == "__main__":
        raise ValueError("it is part of Python itself, which is never imported for a recipe")
    return pkgutil.resolve_name(name)
