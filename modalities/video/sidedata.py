"""What a decoder attaches to a frame: motion vectors, and the matrix by which a player turns and mirrors it."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from av import VideoFrame


def side_data(frame: VideoFrame, name: str) -> Any:
    """The side data of a frame that PyAV calls `name`; None where it has none."""
    admit_unknown_types()
    return frame.side_data.get(name)


@cache
def admit_unknown_types() -> None:
    """Let PyAV list side data of types that it has no name for.

    Where a frame has one (EXIF of images in FFmpeg 8.1), PyAV 18.1 refuses to list any, and the matrix with it.
    """
    from av.sidedata.sidedata import Type

    def unnamed(cls: Any, value: int) -> Any:
        member = object.__new__(cls)
        member._name_, member._value_ = f"UNNAMED_{value}", value
        return member

    Type._missing_ = classmethod(unnamed)  # type: ignore[assignment]
