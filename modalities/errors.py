"""The error for unusable input; commands print it without a traceback and exit with code 2."""


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
