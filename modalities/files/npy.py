"""Arrays in .npy files, mapped and not read; whatever a damaged header makes numpy raise is one error."""

from __future__ import annotations

from pathlib import Path
from tokenize import TokenError

import numpy as np

from modalities.errors import SampleError

DAMAGED = (ValueError, TypeError, AttributeError, OSError, EOFError, OverflowError, SyntaxError, TokenError)


def mapped(path: Path) -> np.ndarray:
    """The array in a .npy file: its header may claim more than the file holds, so that nothing is read yet.

    Raises:
        SampleError: it is no array.
    """
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except DAMAGED as error:  # numpy parses the header as Python, whose tokenizer has errors of its own
        raise SampleError(path, f"is no .npy array of numbers ({error})", "save it with numpy.save") from error
    if not isinstance(values, np.ndarray):
        raise SampleError(path, "is an archive of arrays", "save one array with numpy.save")
    return values
