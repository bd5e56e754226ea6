"""Which frames of a video the decoder may skip: those that are not shown, if no other frame refers to them.

FFmpeg knows which these are (`AVDISCARD_NONREF`); encoders make nearly half of all frames so, and leaving one out
changes no bit of any other.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av.codec.context import CodecContext


class Skipping:
    """Tells the decoder for each packet, in the order of decoding, whether its frame may be skipped.

    moments: seconds in ascending order; only what is on display at one of them is shown.
    slack: seconds by which a stamp may lie behind the moment at which its frame is shown.
    lasts: seconds of a whole frame; a packet that lasts clearly less holds a field, whose frame another one completes.
    """

    def __init__(self, context: CodecContext, moments: Sequence[float], slack: float, lasts: float):
        self.context, self.lasts = context, lasts
        self.shown = [moment + slack for moment in moments]
        self.known: list[float] = []  # seconds of all packets so far, in the order of display
        self.skips = True
        self.set(False)  # an attempt from another place may have left it so

    def may_skip(self, time: float, lasts: float) -> bool:
        """Whether the frame of the next packet, displayed from `time` on, comes only if others refer to it."""
        insort(self.known, time)
        self.set(not self.is_shown(time) and lasts > 0.75 * self.lasts)
        return self.skips

    def is_shown(self, time: float) -> bool:
        """Whether a frame is shown, as far as is known; the first and the last one always are."""
        after = bisect_right(self.known, time)
        if after == len(self.known) or self.known[0] == time:
            return True
        moment = bisect_left(self.shown, time)
        return moment == len(self.shown) or self.shown[moment] < self.known[after]

    def set(self, skips: bool) -> None:
        if skips != self.skips:
            self.skips = skips
            self.context.skip_frame = "NONREF" if skips else "DEFAULT"
