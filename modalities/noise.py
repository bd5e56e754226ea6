"""Counter-based random numbers: every number is a hash of integers, so there is no generator state.

Whatever is random about sample i (its window, crop, mask) is a function of (seed, epoch, i) and of a purpose such as
"mask/video". So it does not depend on worker count, world size or batch order, needs no state in a checkpoint, and on
a device it is a few integer operations without a sync. The mixer is the finaliser of SplitMix64 (Steele et al. 2014).
"""

from __future__ import annotations

import math
import zlib

import torch

from modalities.compile_constant import constant
from modalities.shapes import Float, Int, Tensor

GOLDEN = 0x9E3779B97F4A7C15
FIRST, SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
WORD = (1 << 64) - 1


def signed(x: int) -> int:
    """The 64-bit word x as the two's complement integer that an int64 tensor holds."""
    x &= WORD
    return x - (1 << 64) if x >> 63 else x


def mix(x: int) -> int:
    """Scramble one unsigned 64-bit word."""
    x = (x + GOLDEN) & WORD
    x = ((x ^ (x >> 30)) * FIRST) & WORD
    x = ((x ^ (x >> 27)) * SECOND) & WORD
    return x ^ (x >> 31)


def mix_tensor(x: Tensor) -> Tensor:
    """Scramble every word of an int64 tensor, bit for bit as `mix` does (int64 arithmetic wraps around)."""

    def shift(x: Tensor, bits: int) -> Tensor:  # a logical shift: int64 would drag the sign along
        return (x >> bits) & ((1 << (64 - bits)) - 1)

    x = x + signed(GOLDEN)
    x = (x ^ shift(x, 30)) * signed(FIRST)
    x = (x ^ shift(x, 27)) * signed(SECOND)
    return x ^ shift(x, 31)


def sample_key(seed: int, epoch: int, index: int) -> int:
    """The key from which everything random about one sample in one epoch is drawn (fits an int64)."""
    return signed(mix(mix(mix(seed & WORD) ^ (epoch & WORD)) ^ (index & WORD)))


def uniform_scalar(key: int, purpose: str, count: int = 1) -> list[float]:
    """`count` uniform numbers in [0, 1) for one sample; equals `uniform` on a tensor of one key."""
    base = mix((key & WORD) ^ word(purpose))
    return [(mix((base + i) & WORD) >> 40) / (1 << 24) for i in range(count)]


@constant
def word(purpose: str) -> int:
    """The number of a purpose (CRC-32)."""
    return zlib.crc32(purpose.encode())


def uniform(key: Int[Tensor, " b"], purpose: str, count: int) -> Float[Tensor, "b count"]:
    """`count` uniform numbers in [0, 1) for every sample, drawn on the key's device."""
    return uniform_at(key, purpose, torch.arange(count, device=key.device)[None])


def uniform_at(key: Int[Tensor, " b"], purpose: str, index: Int[Tensor, "#b count"]) -> Float[Tensor, "b count"]:
    """The numbers of `uniform` at `index`, without drawing the others."""
    base = mix_tensor(key ^ word(purpose))
    words = mix_tensor(base[:, None] + index)
    return ((words >> 40) & ((1 << 24) - 1)).float() / (1 << 24)  # 24 bits: exact in float32


def normal(u: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Standard normal numbers from uniform ones, by the inverse of the distribution function; none is beyond 5.5."""
    return math.sqrt(2) * torch.erfinv(2 * u - 1 + 2**-24)  # the middle of each 2^-24: never the infinite ends


def fold_in(key: Int[Tensor, " b"], name: str) -> Int[Tensor, " b"]:
    """New keys, one for each sample and name, whose random numbers are independent of those of the old keys."""
    return mix_tensor(key ^ word(name))


def permutation(seed: int, epoch: int, count: int) -> Int[Tensor, " count"]:
    """The order in which an epoch visits `count` samples."""
    words = mix_tensor(torch.arange(count) ^ sample_key(seed, epoch, -1))
    return words.argsort(stable=True)
