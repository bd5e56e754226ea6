"""The modality of a file by its extension, for all formats that PyAV opens."""

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
SENSORS = (".csv", ".tsv")
CAPTIONS = (".txt",)
KINDS = {"video": VIDEOS, "image": IMAGES, "audio": SOUNDS, "imu": SENSORS, "text": CAPTIONS}
OF = {ending: kind for kind, endings in KINDS.items() for ending in endings}
MUTE = (*IMAGES, ".gif", ".apng", ".y4m", ".h264", ".264", ".h265", ".265", ".hevc", ".mjpeg", ".mjpg", ".ivf", ".obu")


def ending(path: str | os.PathLike) -> str:
    """The ending of a file's name in small letters, with its dot."""
    return os.path.splitext(path)[1].lower()


def kind(path: str | os.PathLike) -> str | None:
    """video, image, audio, imu or text; None where the ending tells nothing."""
    return OF.get(ending(path))


def media(path: str | os.PathLike) -> str | None:
    """The column of a manifest that a recording belongs into: video (images, too) or audio; None if neither."""
    found = kind(path)
    return "video" if found == "image" else found if found in ("video", "audio") else None


def has_sound(video: str | None) -> bool:
    """Whether a file in the column `video` may have a sound track."""
    return video is not None and ending(video) not in MUTE
