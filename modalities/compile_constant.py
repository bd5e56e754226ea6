"""Functions of constants: torch.compile evaluates them once, at trace time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable)


def constant(function: F) -> F:
    """Mark a function whose arguments are constants of the code or of a shape: its result is compiled in as it is.

    What `torch.compiler.assume_constant_result` does after importing the compiler, which would take every command a
    second.
    """
    marked: Any = function
    marked._dynamo_marked_constant = True
    return function
