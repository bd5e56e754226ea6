"""Laws of augmentation: a sample is changed by its key alone, and repeated with a key of its own."""

from __future__ import annotations

import pytest
import torch

from mmmae.data.augment import Augment, repeat, repeat_key
from modalities.noise import sample_key
from modalities.records import Batch, Signal
from modalities.video.augmentation import VideoAugmentation


def film(b=3, t=4, c=3, h=24, w=24, still=False):
    frames = torch.randint(0, 256, (b, 1 if still else t, c, h, w), generator=torch.Generator().manual_seed(0))
    return Signal(frames.to(torch.uint8).expand(b, t, c, h, w).contiguous())


KEY = torch.tensor([sample_key(0, 0, i) for i in range(3)])
WHOLE = {"scale": (1.0, 1.0), "ratio": (1.0, 1.0)}


def test_a_whole_crop_is_bit_identical_and_flipping_twice_is_too():
    signal = film()
    assert torch.equal(VideoAugmentation(**WHOLE, flip=0.0)(signal, KEY).values, signal.values)
    flip = VideoAugmentation(**WHOLE, flip=1.0)
    assert torch.equal(flip(signal, KEY).values, signal.values.flip(-1))
    assert torch.equal(flip(flip(signal, KEY), KEY).values, signal.values)


@pytest.mark.parametrize("size", [None, 16, 32])
def test_a_still_clip_stays_still(size):
    values = VideoAugmentation(size=size)(film(still=True), KEY).values
    assert values.dtype == torch.uint8 and values.shape == (3, 4, 3, size or 24, size or 24)
    assert torch.equal(values, values[:, :1].expand_as(values))


def test_each_sample_is_cropped_by_its_key_alone():
    signal, augment = film(), VideoAugmentation()
    together = augment(signal, KEY).values
    order = torch.tensor([2, 0, 1])
    assert torch.equal(augment(signal.map(lambda x: x[order]), KEY[order]).values, together[order])
    same = Signal(signal.values[:1].expand(3, -1, -1, -1, -1))
    crops = augment(same, KEY).values
    assert not torch.equal(crops[0], crops[1]) and not torch.equal(crops[1], crops[2])


def test_half_of_the_clips_are_flipped():
    keys = torch.tensor([sample_key(0, 0, i) for i in range(400)])
    ramp = Signal(torch.arange(8, dtype=torch.uint8).expand(400, 1, 1, 8, 8))
    flipped = VideoAugmentation(**WHOLE)(ramp, keys).values[:, 0, 0, 0, 0] == 7
    assert 160 < flipped.sum() < 240


@pytest.mark.parametrize("size", [7, 24, 40])
def test_resizing_agrees_with_torch(size):
    signal = film(b=1)
    ours = VideoAugmentation(**WHOLE, flip=0.0, size=size)(signal, KEY[:1]).values[0].float()
    torchs = torch.nn.functional.interpolate(signal.values[0].float(), (size, size), mode="bilinear", antialias=True)
    assert (ours - torchs).abs().max() <= 0.51


def test_crops_have_the_area_and_shape_asked_for_and_lie_anywhere():
    b, h, w = 200, 48, 64
    keys = torch.tensor([sample_key(1, 0, i) for i in range(b)])
    across, down = torch.arange(w).expand(h, w), torch.arange(h)[:, None].expand(h, w)
    signal = Signal(torch.stack([across, down]).to(torch.uint8).expand(b, 1, 2, h, w))
    x, y = (
        VideoAugmentation(size=12, scale=(0.25, 0.25), ratio=(4 / 3, 4 / 3), flip=0.0)(signal, keys)
        .values[:, 0]
        .unbind(1)
    )
    left, right, top, bottom = x[:, 0, 0].int(), x[:, 0, -1].int(), y[:, 0, 0].int(), y[:, -1, 0].int()
    assert ((right - left) * 12 / 11 - 32).abs().max() <= 2  # 12 pixels stand for a quarter of the area: 32 x 24
    assert ((bottom - top) * 12 / 11 - 24).abs().max() <= 2
    assert left.min() <= 3 and right.max() >= 60 and top.min() <= 3 and bottom.max() >= 44


@pytest.mark.parametrize("setting", [{"size": 0}, {"scale": (0.0, 1.0)}, {"ratio": (2.0, 1.0)}, {"flip": 1.5}])
def test_augmentation_settings_are_checked(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        VideoAugmentation(**setting)


def test_repeated_samples_have_keys_of_their_own():
    batch = Batch({"video": film()}, KEY, ["a", "b", "c"], torch.tensor([0, 1, 2]))
    twice = repeat(batch, 2)
    assert twice.ids == ["a", "a", "b", "b", "c", "c"] and twice.label.tolist() == [0, 0, 1, 1, 2, 2]
    assert torch.equal(twice["video"].values[::2], batch["video"].values)
    assert twice.key.tolist() == [repeat_key(key, i) for key in KEY.tolist() for i in range(2)]
    assert len(set(twice.key.tolist())) == 6 and torch.equal(twice.key[::2], KEY)
    assert repeat(batch, 1) is batch


def test_modalities_without_augmentation_are_left_alone():
    sound = Signal(torch.randn(3, 5))
    batch = Batch({"video": film(), "audio": sound}, KEY)
    augmented = Augment({"video": VideoAugmentation(), "depth": VideoAugmentation()})(batch)
    assert augmented["audio"] is sound and not torch.equal(augmented["video"].values, batch["video"].values)
    assert list(augmented) == ["video", "audio"]
