"""Colour, blur and solarisation of clips, drawn once for each clip and the same in all of its frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from modalities.noise import uniform
from modalities.records import constant_like
from modalities.shapes import Bool, Float, Int, Tensor
from modalities.video.resampling import blurring, resample

LUMA = (0.299, 0.587, 0.114)  # of red, green and blue in grey (ITU-R BT.601)


@dataclass(frozen=True)
class Blur:
    """Gaussian blur of a share `p` of the clips (SimCLR, arXiv:2002.05709).

    sigma: range of the standard deviation in pixels, drawn uniformly. kernel: height and width in pixels, odd; one
    number means a square, None a tenth of the picture's height, made odd.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}  # a recipe's typing error is no setting

    p: float = 1.0
    sigma: tuple[float, float] = (0.1, 2.0)
    kernel: int | tuple[int, int] | None = None

    def __post_init__(self):
        require_probability("blur.p", self.p)
        if not 0 < self.sigma[0] <= self.sigma[1]:
            raise ValueError(f"blur.sigma is a range of pixels above 0, smaller first, got {list(self.sigma)}")
        sides = (self.kernel,) if isinstance(self.kernel, int) else self.kernel or ()
        if any(side < 1 or side % 2 == 0 for side in sides):
            raise ValueError(f"blur.kernel counts pixels about the middle one, an odd number, got {self.kernel}")

    def sides(self, height: int) -> tuple[int, int]:
        """Height and width of the kernel for pictures of this height."""
        kernel = height // 10 // 2 * 2 + 1 if self.kernel is None else self.kernel
        return (kernel, kernel) if isinstance(kernel, int) else kernel

    def __call__(self, x: Float[Tensor, "b t c h w"], key: Int[Tensor, " b"]) -> Float[Tensor, "b t c h w"]:
        drawn = uniform(key, "blur", 2)
        sigma = self.sigma[0] + (self.sigma[1] - self.sigma[0]) * drawn[:, 1]
        rows, columns = (
            blurring(sigma, side, pixels) for side, pixels in zip(self.sides(x.shape[3]), x.shape[3:], strict=True)
        )
        blurred = resample(x.flatten(1, 2), rows, columns).view_as(x).clamp(0, 1)  # weights sum to 1 but for rounding
        return torch.where(each(drawn[:, 0] < self.p), blurred, x)


@dataclass(frozen=True)
class Jitter:
    """Brightness, contrast, saturation and hue of a share `p` of the clips, in an order that each clip draws.

    brightness, contrast, saturation: largest distance of their factor from 1; hue: largest turn, in whole turns of the
    colour circle. Colours are clipped to [0, 1] after each. A frame's contrast is about its own mean.
    """

    brightness: float
    contrast: float
    saturation: float
    hue: float
    p: float

    def __post_init__(self):
        require_probability("jitter_p", self.p)
        if min(self.brightness, self.contrast, self.saturation) < 0 or not 0 <= self.hue <= 0.5:
            given = [self.brightness, self.contrast, self.saturation, self.hue]
            raise ValueError(
                f"jitter is [brightness, contrast, saturation, hue], from 0 up and the hue at most 0.5, got {given}"
            )

    def __call__(self, x: Float[Tensor, "b t c h w"], key: Int[Tensor, " b"]) -> Float[Tensor, "b t c h w"]:
        drawn = uniform(key, "jitter", 5)
        reach = constant_like((self.brightness, self.contrast, self.saturation), drawn)
        least = (1 - reach).clamp(min=0)
        factors = least + (1 + reach - least) * drawn[:, 1:4]
        turn = self.hue * (2 * drawn[:, 4] - 1)
        order = uniform(key, "jitter/order", 4).argsort(dim=1, stable=True)
        y = x
        for place in order.unbind(1):
            y = self.change(y, place, factors, turn)
        return torch.where(each(drawn[:, 0] < self.p), y, x)

    def change(
        self, x: Float[Tensor, "b t c h w"], kind: Int[Tensor, " b"], factors: Float[Tensor, "b 3"], turn: Tensor
    ) -> Float[Tensor, "b t c h w"]:
        """Each clip changed in one way: its brightness (kind 0), contrast (1), saturation (2) or hue (3)."""
        factor = each(factors.gather(1, kind.clamp(max=2)[:, None])[:, 0])
        light = luma(x)
        away = torch.where(each(kind == 0), 0.0, torch.where(each(kind == 1), light.mean((3, 4), keepdim=True), light))
        mixed = (factor * x + (1 - factor) * away).clamp(0, 1)
        if self.hue and x.shape[2] == 3:
            return torch.where(each(kind == 3), turned(x, each(turn)), mixed)
        return torch.where(each(kind == 3), x, mixed)


@dataclass(frozen=True)
class Colour:
    """What happens to the colours of a clip: jitter, then grey, blur and solarisation (BYOL, arXiv:2006.07733).

    grey, solarise: share of the clips that lose their colours, or whose levels above the middle are inverted.
    """

    jitter: Jitter | None
    grey: float
    blur: Blur | None
    solarise: float

    def __post_init__(self):
        require_probability("grey", self.grey)
        require_probability("solarise", self.solarise)

    @property
    def changes(self) -> bool:
        """Whether it does anything at all."""
        return bool(self.jitter or self.grey or self.blur or self.solarise)

    def __call__(self, x: Float[Tensor, "b t c h w"], key: Int[Tensor, " b"]) -> Float[Tensor, "b t c h w"]:
        """Clips of levels in [0, 1], one or three channels, changed as their keys draw.

        Raises:
            ValueError: another number of channels.
        """
        if x.shape[2] not in (1, 3):
            raise ValueError(
                f"colours are those of 3 channels (red, green, blue) or of grey, got {x.shape[2]} channels"
            )
        if self.jitter:
            x = self.jitter(x, key)
        if self.grey:
            x = torch.where(chosen(key, "grey", self.grey), luma(x), x)
        if self.blur:
            x = self.blur(x, key)
        if self.solarise:
            x = torch.where(chosen(key, "solarise", self.solarise) & (x >= 0.5), 1 - x, x)
        return x


def luma(x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b t 1 h w"]:
    """The pictures in grey."""
    if x.shape[2] == 1:
        return x
    red, green, blue = x.split(1, dim=2)
    return LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue


def turned(x: Float[Tensor, "b t 3 h w"], turn: Float[Tensor, "b 1 1 1 1"]) -> Float[Tensor, "b t 3 h w"]:
    """Colours with their hue turned (in whole turns), at the same saturation and value of HSV."""
    value, least = x.amax(2, keepdim=True), x.amin(2, keepdim=True)
    chroma = value - least
    red, green, blue = ((value - channel) / chroma.clamp(min=1e-12) for channel in x.split(1, dim=2))
    first, second = x[:, :, :1] == value, x[:, :, 1:2] == value
    hue = torch.where(first, blue - green, torch.where(second, 2 + red - blue, 4 + green - red)) + 6 * turn
    sectors = torch.cat([(hue + shift) % 6 for shift in (5, 3, 1)], 2)
    return value - chroma * torch.minimum(sectors, 4 - sectors).clamp(0, 1)


def each(x: Tensor) -> Tensor:
    """x (b,) for clips (b, t, c, h, w)."""
    return x[:, None, None, None, None]


def chosen(key: Int[Tensor, " b"], purpose: str, share: float) -> Bool[Tensor, "b 1 1 1 1"]:
    """Which clips are among a share that their keys draw."""
    return each(uniform(key, purpose, 1)[:, 0] < share)


def require_probability(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} is a probability in [0, 1], got {value}")
