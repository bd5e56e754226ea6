"""The error for unusable input; commands print it without a traceback and exit with code 2."""

from collections.abc import Iterable


class InputError(ValueError):
    """A file, a manifest row or a recipe key that cannot be used; the message names it and the remedy.

    Names of files that are no UTF-8 are escaped: a message can be printed whatever it names.
    """

    def __init__(self, message: object = ""):
        super().__init__(printable(message))


def printable(text: object) -> str:
    return str(text).encode("utf-8", "backslashreplace").decode()


class SampleError(InputError):
    """One sample that cannot be read.

    Args:
        path: the file (or manifest row) at fault.
        reason: what is wrong with it, in one phrase.
        remedy: what the user can do about it.
        modality: which of the sample's modalities it is; filled in where it is known.
    """

    def __init__(self, path: object, reason: str, remedy: str, modality: str | None = None):
        super().__init__(f"{path}: {reason}\n  {remedy}")
        self.path, self.reason, self.remedy, self.modality = printable(path), reason, remedy, modality

    def __reduce__(self):  # exceptions pickle by their message only; loader workers hand these over whole
        return type(self), (self.path, self.reason, self.remedy, self.modality)


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """A question that names the known name nearest in spelling; empty where none is near."""
    from difflib import get_close_matches

    close = get_close_matches(str(name).strip(), list(known), n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else ""
