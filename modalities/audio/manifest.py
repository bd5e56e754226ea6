"""Audio in a manifest: the column `audio`, the sounds of a folder, and where it is empty the sound of a video."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

from modalities.files.suffixes import SOUNDS, has_sound
from modalities.manifest.columns import Columns, Files, Keep, fingerprint

LOUDEST = 8.0  # of samples as floats, whose full scale is 1: above it they are integers in disguise
TRACKS = 32  # of sound in one array; the other axis is time


class AudioColumns(Columns):
    """The path of a sound, or of a video that has one."""

    rates = ("audio_rate",)
    files: ClassVar[Mapping[str, Files]] = {"audio": Files(SOUNDS, "sound", "sounds", certain=True)}
    borrows = "video"
    same: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("audio_path", "audio_file", "audio_filename", "audio_filepath", "wav", "wav_path"), "audio"
    )

    def lent(self, row: Mapping[str, Any]) -> str | None:
        """The video whose sound is that of the row."""
        lent = row.get(self.lender) if self.lender and row.get(self.name) is None else None
        return lent if has_sound(lent) else None

    def present(self, row: Mapping[str, Any]) -> bool:
        return super().present(row) or self.lent(row) is not None

    def source(self, row: Mapping[str, Any], path: Callable[[str], str]) -> str | None:
        lent = self.lent(row)
        return super().source(row, path) if lent is None else path(lent)

    def named(self, row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        lent = self.lent(row)
        return super().named(row) if lent is None else iter([(str(self.lender), lent)])

    def stored(self, array: Any, rate: Any, keep: Keep) -> str:
        """A .wav file of samples (samples,), (channels, samples) or (samples, channels); floats have full scale 1.

        Raises:
            ValueError: their rate or range is not known.
        """
        import numpy as np

        if not isinstance(rate, (int, float)) or not 1 <= rate <= 1e6:
            raise ValueError(
                f"samples with a rate in Hz as {{'array', 'sampling_rate'}} or `audio_rate` (here {rate!r})"
            )
        if array.ndim == 2 and min(array.shape) <= TRACKS:
            array = array.T if array.shape[0] < array.shape[1] else array
        elif array.ndim != 1:
            raise ValueError(f"samples of shape (samples,) or (channels, samples), not {array.shape}")
        if array.dtype.kind == "f":
            array = array.astype(np.float32)
            loudest = float(np.abs(array).max(initial=0.0))
            if loudest > LOUDEST:
                raise ValueError(f"samples as floats from -1 to 1, or int16 (the largest here is {loudest:g})")
        elif array.dtype not in (np.int16, np.int32, np.uint8):
            raise ValueError(f"samples as floats from -1 to 1, or int16, not {array.dtype}")

        def wav() -> bytes:
            from scipy.io import wavfile

            file = io.BytesIO()
            wavfile.write(file, round(rate), array)
            return file.getvalue()

        return keep(fingerprint(array, round(rate)), ".wav", wav)
