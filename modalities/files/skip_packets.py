"""Packets of a video that need not be decoded: those of frames that are not sampled and that no other frame refers to.

H.264 says of every picture whether others refer to it (`nal_ref_idc`, ITU-T H.264 7.4.1). Leaving out one to which none
does changes no bit of any other; encoders make nearly half of all frames so.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av import Packet
    from av.codec.context import CodecContext

SLICES = range(1, 6)  # kinds of NAL units that hold a part of a picture
PARAMETERS = 7  # the kind that may change what the others mean
SHAPED = (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135)  # profiles that tell colour and depth, too


class Sparing:
    """Decides for each packet of a video, in decoding order, whether it may be skipped.

    moments: seconds in ascending order; only what is on display at one of them is shown.
    slack: seconds by which a stamp may lie behind the moment at which its frame is shown.
    """

    def __init__(self, context: CodecContext, moments: Sequence[float], slack: float):
        self.shown = [moment + slack for moment in moments]
        self.known: list[float] = []  # seconds of all packets so far, in the order of display
        head = context.extradata if context.name == "h264" else None
        self.prefix, self.parameters = layout(head or b"")

    def spares(self, packet: Packet, time: float) -> bool:
        """Whether the frame of this packet, which is displayed from `time` on, is not needed."""
        if not self.prefix:
            return False
        insort(self.known, time)
        after = bisect_right(self.known, time)
        if after == len(self.known) or self.known[0] == time:  # it may be the last or the first of all
            return False
        moment = bisect_left(self.shown, time)
        if moment == len(self.shown) or self.shown[moment] < self.known[after]:  # after all of them, or shown
            return False
        return self.unreferred(memoryview(packet))

    def unreferred(self, data: memoryview) -> bool:
        """Whether a packet is whole and no other picture refers to the one it holds."""
        place, pictures = 0, 0
        while place + self.prefix < len(data):
            begin = place + self.prefix
            place = begin + int.from_bytes(data[place:begin], "big")
            kind, referred = data[begin] & 0x1F, data[begin] & 0x60
            if kind == PARAMETERS and data[begin:place] != self.parameters:
                self.prefix = 0  # fields may follow
                return False
            if kind in SLICES:
                if referred:
                    return False
                pictures += 1
        return pictures > 0 and place == len(data)


@lru_cache(maxsize=64)
def layout(head: bytes) -> tuple[int, bytes]:
    """Bytes that tell the length of each NAL unit, and the sequence parameters (ISO 14496-15, 5.3.3.1).

    0 bytes where it cannot be told that every packet is a whole frame: fields may share one.
    """
    if len(head) < 8 or head[0] != 1 or head[5] & 0x1F != 1:
        return 0, b""
    parameters = head[8 : 8 + int.from_bytes(head[6:8], "big")]
    try:
        return ((head[4] & 3) + 1, parameters) if frames_only(parameters) else (0, b"")
    except IndexError:  # cut off
        return 0, b""


def frames_only(parameters: bytes) -> bool:
    """Whether a sequence has no fields: `frame_mbs_only_flag` of its parameters (ITU-T H.264, 7.3.2.1.1).

    Raises:
        IndexError: they end before.
    """
    data = parameters[1:].replace(b"\0\0\3", b"\0\0")
    bits, place = f"{int.from_bytes(data, 'big'):0{8 * len(data)}b}", 24

    def number() -> int:
        nonlocal place
        zeros = 0
        while bits[place + zeros] == "0":
            zeros += 1
        begin, place = place + zeros, place + 2 * zeros + 1
        return int(bits[begin:place], 2) - 1

    def flag() -> bool:
        nonlocal place
        place += 1
        return bits[place - 1] == "1"

    number()  # its name
    if data[0] in SHAPED:
        if number() == 3:  # chroma as fine as luma
            flag()
        for _ in range(2):  # depths
            number()
        flag()  # whether lossless blocks bypass the transform
        if flag():  # scaling lists: seldom, and long
            return False
    number()  # how far frames are counted
    kind = number()  # how their order is told
    if kind == 0:
        number()
    elif kind == 1:
        flag()
        for _ in range(2):
            number()
        for _ in range(number()):
            number()
    number()  # frames kept
    flag()  # gaps in counting
    for _ in range(2):  # width, height
        number()
    return flag()
