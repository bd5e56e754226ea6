"""Laws of colour: each change is that of Pillow or of the formula of torchvision, drawn once a clip, on the device."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
import tiny
import torch
from no_sync import NoSync
from PIL import Image, ImageEnhance, ImageOps
from scipy.ndimage import convolve1d

from mmmae.recipes.lookup import RecipeError
from modalities.noise import fold_in, uniform
from modalities.records import Signal
from modalities.video.augmentation import VideoAugmentation
from modalities.video.colour import Blur, Jitter, luma, turned

PLAIN = {"scale": (1.0, 1.0), "ratio": (1.0, 1.0), "flip": 0.0}
ALL = {"jitter": (0.8, 0.8, 0.8, 0.2), "grey": 0.2, "blur": Blur(p=0.5), "solarise": 0.2}


def clip(b=1, t=2, c=3, h=20, w=20, still=False):
    """Smooth colours with some noise, of all levels."""
    generator = torch.Generator().manual_seed(3)
    rough = torch.rand(b * (1 if still else t), c, 5, 6, generator=generator)
    x = torch.nn.functional.interpolate(rough, (h, w), mode="bilinear").unflatten(0, (b, -1)).expand(b, t, c, h, w)
    return Signal((255 * x).round().to(torch.uint8).contiguous())


def picture(frame):
    return Image.fromarray(frame.permute(1, 2, 0).numpy())


def pixels(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float()


def changed(kind, factor, signal):
    """One change of the jitter at a factor that all clips share, in levels of 0..255."""
    x = signal.values.float() / 255
    factors = torch.full((len(x), 3), factor)
    turn = torch.full((len(x),), factor)
    return Jitter(0.4, 0.4, 0.4, 0.5, p=1.0).change(x, torch.full((len(x),), kind), factors, turn) * 255


@pytest.mark.parametrize("factor", [0.3, 0.8, 1.0, 1.6])
@pytest.mark.parametrize("kind", ["Brightness", "Contrast", "Color"])
def test_brightness_contrast_and_saturation_are_those_of_pillow(kind, factor):
    signal = clip()
    ours = changed(["Brightness", "Contrast", "Color"].index(kind), factor, signal)
    for frame, values in zip(signal.values[0], ours[0], strict=True):
        theirs = pixels(getattr(ImageEnhance, kind)(picture(frame)).enhance(factor))
        assert (values - theirs).abs().max() <= 1.5  # Pillow rounds the mean and the grey to whole levels


@pytest.mark.parametrize("turn", [-0.5, -0.2, 0.0, 0.13, 0.4])
def test_hue_turns_as_in_the_colour_circle(turn):
    signal = clip(h=6, w=6)
    ours = changed(3, turn, signal) / 255
    for values, before in zip(ours.permute(0, 1, 3, 4, 2).reshape(-1, 3).tolist(),
                              signal.values.permute(0, 1, 3, 4, 2).reshape(-1, 3).tolist(), strict=True):  # fmt: skip
        hue, saturation, value = colorsys.rgb_to_hsv(*(level / 255 for level in before))
        assert values == pytest.approx(colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value), abs=2e-5)
    grey = torch.full((1, 1, 3, 2, 2), 0.4)
    assert torch.equal(turned(grey, torch.full((1, 1, 1, 1, 1), 0.3)), grey)


def test_grey_and_solarised_clips_are_those_of_pillow():
    signal, key = clip(), tiny.keys(1)
    grey = VideoAugmentation(**PLAIN, grey=1.0)(signal, key).values[0]
    inverted = VideoAugmentation(**PLAIN, solarise=1.0)(signal, key).values[0]
    for frame, ours, solarised in zip(signal.values[0], grey, inverted, strict=True):
        theirs = pixels(ImageOps.grayscale(picture(frame)).convert("RGB"))
        assert (ours.float() - theirs).abs().max() <= 1
        assert torch.equal(solarised.float(), pixels(ImageOps.solarize(picture(frame), 128)))


@pytest.mark.parametrize("kernel", [None, 5, (5, 9)])
def test_blur_is_a_gaussian_on_a_mirrored_picture(kernel):
    signal, keys = clip(b=3, h=40, w=30), tiny.keys(3)
    blur = Blur(sigma=(0.5, 2.0), kernel=kernel)
    ours = VideoAugmentation(**PLAIN | {"ratio": (0.75, 0.75)}, blur=blur)(signal, keys).values
    for values, before, u in zip(ours, signal.values, uniform(keys, "blur", 2)[:, 1].tolist(), strict=True):
        x = before.double().numpy()
        for axis, side in zip((2, 3), blur.sides(40), strict=True):
            line = np.exp(-0.5 * (np.linspace(-(side - 1) / 2, (side - 1) / 2, side) / (0.5 + 1.5 * u)) ** 2)
            x = convolve1d(x, line / line.sum(), axis=axis, mode="mirror")
        assert (values.double() - torch.from_numpy(x)).abs().max() <= 0.51
    assert Blur().sides(224) == (23, 23) and Blur(kernel=(5, 9)).sides(224) == (5, 9)


def test_changes_come_in_an_order_that_each_clip_draws_and_are_clipped_after_each():
    signal, keys = clip(b=24), tiny.keys(24)
    jitter = Jitter(0.8, 0.8, 0.8, 0.2, p=1.0)
    ours = jitter(signal.values.float() / 255, keys)
    drawn = uniform(keys, "jitter", 5).tolist()
    orders = uniform(keys, "jitter/order", 4).argsort(dim=1, stable=True).tolist()
    assert len(set(map(tuple, orders))) > 12
    for number, order in enumerate(orders):
        x = signal.values[number : number + 1].float() / 255
        brightness, contrast, saturation = (0.2 + 1.6 * u for u in drawn[number][1:4])
        for kind in order:
            if kind == 0:
                x = brightness * x
            elif kind == 1:
                x = contrast * x + (1 - contrast) * luma(x).mean((3, 4), keepdim=True)
            elif kind == 2:
                x = saturation * x + (1 - saturation) * luma(x)
            else:
                x = turned(x, torch.full((1, 1, 1, 1, 1), 0.2 * (2 * drawn[number][4] - 1)))
            x = x.clamp(0, 1)
        torch.testing.assert_close(ours[number : number + 1], x, atol=1e-5, rtol=0)


def test_a_still_clip_stays_still_and_a_sample_is_changed_by_its_key_alone():
    signal, keys, augment = clip(b=16, still=True), tiny.keys(16), VideoAugmentation(**ALL)
    values = augment(signal, keys).values
    assert values.dtype == torch.uint8 and torch.equal(values, values[:, :1].expand_as(values))
    order = torch.arange(16).flip(0)
    assert torch.equal(augment(signal.map(lambda x: x[order]), keys[order]).values, values[order])
    same = Signal(signal.values[:1].expand_as(signal.values).contiguous())
    colours = VideoAugmentation(**PLAIN, jitter=(0.4, 0.4, 0.4, 0.1), jitter_p=1.0)(same, keys).values
    assert len({tuple(x.flatten().tolist()) for x in colours}) == 16
    assert not torch.equal(augment(signal, fold_in(keys, "other")).values, values)


@pytest.mark.parametrize(
    "setting",
    [
        {"jitter": (0.4, 0.4, 0.4, 0.1), "jitter_p": 0.3},
        {"grey": 0.3},
        {"solarise": 0.3},
        {"blur": Blur(p=0.3, sigma=(1.0, 2.0), kernel=5)},
    ],
)
def test_a_probability_is_the_share_of_the_clips_that_change_and_the_others_keep_their_bits(setting):
    signal, keys = clip(b=400, t=1, h=8, w=8), tiny.keys(400)
    changed = (VideoAugmentation(**PLAIN, **setting)(signal, keys).values != signal.values).flatten(1).any(1)
    assert 90 < changed.sum() < 150


def test_colours_leave_hints_alone_crops_included():
    signal, keys = clip(b=4), tiny.keys(4)
    signal = Signal(signal.values, hint=torch.rand(4, 2, 20, 20))
    plain, coloured = VideoAugmentation()(signal, keys), VideoAugmentation(**ALL)(signal, keys)
    assert torch.equal(plain.hint, coloured.hint)
    assert not torch.equal(plain.values, coloured.values)


def test_grey_video_and_measurements_stay_in_their_range():
    keys = tiny.keys(8)
    grey = VideoAugmentation(**ALL)(clip(b=8, c=1), keys).values
    assert grey.dtype == torch.uint8 and grey.shape == (8, 2, 1, 20, 20)
    depth = VideoAugmentation(**ALL)(Signal(torch.rand(8, 2, 1, 20, 20)), keys).values
    assert depth.dtype == torch.float32 and depth.min() >= 0 and depth.max() <= 1
    with pytest.raises(ValueError, match="2 channels"):
        VideoAugmentation(**ALL)(Signal(torch.rand(8, 2, 2, 20, 20)), keys)


def test_no_change_of_colour_waits_for_the_device():
    signal, keys, augment = clip(b=4), tiny.keys(4), VideoAugmentation(**ALL)
    with NoSync():
        augment(signal, keys)


def test_a_recipe_sets_colours_and_names_what_is_wrong():
    ok = "augment.video={jitter: [0.4, 0.4, 0.2, 0.1], grey: 0.2, blur: {p: 0.1, kernel: [5, 9]}, solarise: 0.2}"
    augment = tiny.tiny("videomae", [ok]).augment().augmentations["video"]
    assert augment.colour.blur == Blur(p=0.1, kernel=(5, 9)) and augment.colour.jitter.hue == 0.1
    for wrong, named in [
        ("{blur: {q: 0.1}}", "blur"), ("{blur: {kernel: 4}}", "odd"), ("{jitter: [1, 1, 1, 0.7]}", "0.5"),
        ("{grey: 2}", "grey"), ("{solarise: -1}", "solarise"), ("{jitter: [1, 1, 1, 0], jitter_p: 3}", "jitter_p"),
    ]:  # fmt: skip
        with pytest.raises(RecipeError, match=named):
            tiny.tiny("videomae", [f"augment.video={wrong}"]).augment()
