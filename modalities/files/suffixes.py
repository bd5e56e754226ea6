"""Endings of the names of media files: whatever PyAV opens counts."""

from __future__ import annotations

import os

VIDEOS = (
    ".mp4", ".m4v", ".mov", ".qt", ".mkv", ".webm", ".avi", ".divx", ".ogv", ".ogm", ".mpg", ".mpeg", ".mpe", ".m1v",
    ".m2v", ".vob", ".ts", ".mts", ".m2ts", ".m2t", ".mxf", ".flv", ".f4v", ".wmv", ".asf", ".3gp", ".3gpp", ".3g2",
    ".nut", ".dv", ".rm", ".rmvb", ".h264", ".264", ".h265", ".265", ".hevc", ".ivf", ".obu", ".mjpeg", ".mjpg", ".y4m",
    ".vc1", ".wtv", ".gif", ".apng",
)  # fmt: skip
IMAGES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pam", ".jp2",
    ".j2k", ".jxl", ".exr", ".dpx", ".psd", ".hdr", ".qoi",
)  # fmt: skip
SOUNDS = (  # in the order of preference: of several sounds of one name, the first is read
    ".wav", ".wave", ".bwf", ".rf64", ".w64", ".flac", ".aif", ".aiff", ".aifc", ".caf", ".au", ".snd", ".wv", ".tta",
    ".tak", ".ape", ".voc", ".sph", ".nist", ".sox", ".iff", ".8svx", ".dsf", ".dff", ".opus", ".ogg", ".oga", ".spx",
    ".weba", ".mka", ".m4a", ".m4b", ".m4r", ".aac", ".adts", ".ac3", ".eac3", ".ec3", ".mp3", ".mp2", ".mpga", ".wma",
    ".amr", ".awb", ".dts", ".thd", ".mpc",
)  # fmt: skip
MUTE = (*IMAGES, ".gif", ".apng", ".y4m", ".h264", ".264", ".h265", ".265", ".hevc", ".mjpeg", ".mjpg", ".ivf", ".obu")


def ending(path: str | os.PathLike) -> str:
    """The ending of a file's name in small letters, with its dot."""
    return os.path.splitext(path)[1].lower()


def has_sound(video: str | None) -> bool:
    """Whether a video's file may have a sound track."""
    return video is not None and ending(video) not in MUTE
