"""What is read along with a film reaches the masking that follows it: MGM, MGMAE and MARLIN at work."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import tiny
import torch
from einops import reduce
from media import write_film
from torch.nn.functional import interpolate
from torch.testing import assert_close

from fusion.masking import Noise
from fusion.masking.flow import Flow
from fusion.masking.motion import Motion
from fusion.masking.random import Random
from fusion.masking.regions import Regions
from mmmae import Recipe
from mmmae.corpora.writing import write_manifest, write_regions
from mmmae.data.clips import Clips
from mmmae.data.manifest import Manifest
from mmmae.data.sample import collate
from mmmae.recipes.lookup import RecipeError
from modalities.errors import SampleError
from modalities.records import Patches, Signal, lattice
from modalities.video import VideoReader, VideoTokenizer
from modalities.video.augmentation import VideoAugmentation
from modalities.video.framing import Framing

RATE, COUNT, SIDE = 24, 48, 24  # of the film: pictures per second, pictures; of the square: pixels


def texture(size: int, seed: int) -> np.ndarray:
    """Soft spots of random colours, (size, size, 3)."""
    spots = torch.rand(1, 3, size // 6, size // 6, generator=torch.Generator().manual_seed(seed)) * 200
    return interpolate(spots, (size, size), mode="bicubic").clamp(0, 255)[0].permute(1, 2, 0).byte().numpy()


GROUND, SQUARE = texture(64, 0), texture(SIDE, 1)


def corner(picture: float) -> tuple[float, float]:
    """Where the square is: it goes 4 pixels to the right and then back in 3 pictures, and 1 down."""
    return 4 + picture / 3, 2 + 4 / 3 * min(picture, COUNT - picture)


def film(path: Path) -> str:
    pictures = [GROUND.copy() for _ in range(COUNT)]
    for i, picture in enumerate(pictures):
        top, left = (round(x) for x in corner(i))
        picture[top : top + SIDE, left : left + SIDE] = SQUARE
    return str(write_film(path, pictures, rate=RATE))


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("films")
    return {name: film(folder / name) for name in ("square.mp4", "square.webm")}


def cut(path: object, hint: str, batch: int = 1) -> Patches:
    """The film's patches, 8 steps of 8 x 8, with their hint."""
    reading = VideoReader(size=64, hint=hint).read(path, 0.0, 2.0)
    assert reading.hint is not None
    signal = Signal(reading.values[None], duration=torch.tensor([2.0]), hint=reading.hint[None])
    return VideoTokenizer(16, patch=8).patchify(signal.map(lambda x: x.repeat_interleave(batch, 0)))


def covered(share: float = 0.5) -> torch.Tensor:
    """Which of the patches show the square for so much of their pixels, (8, 64)."""
    pixels = torch.zeros(16, 64, 64)
    for i in range(16):
        top, left = (round(x) for x in corner((i + 0.5) / 16 * COUNT))
        pixels[i, top : top + SIDE, left : left + SIDE] = 1
    return reduce(pixels, "(t p) (h q) (w r) -> t (h w)", "mean", p=2, q=8, r=8) >= share


def hidden(masking, patches: Patches, seed: int = 0) -> torch.Tensor:
    """What is hidden, (b, steps, places)."""
    b, n = patches.time.shape
    plan = masking.plan(patches, Noise(tiny.keys(b, seed))("mask/video", n))
    return tiny.chosen(plan.hidden, plan.hidden_valid, n).reshape(b, patches.grid[0], -1)


def likeness(one: torch.Tensor, other: torch.Tensor) -> float:
    """Intersection over union."""
    return float((one & other).sum() / (one | other).sum())


# MGM: motion


@pytest.mark.parametrize("name", ["square.mp4", "square.webm"])  # motion vectors; VP8 has none, differences instead
def test_the_hidden_block_follows_what_moves(films, name):
    patches, truth = cut(films[name], "motion"), covered()
    hide = hidden(Motion(ratio=0.25), patches)[0]
    assert hide.sum(1).tolist() == [16] * 8
    for step, block in enumerate(hide.reshape(8, 8, 8)):  # one square in every step, its middle on that of the film's
        for axis, start in enumerate(corner((step + 0.5) / 8 * COUNT)):
            line = block.any(1 - axis).nonzero()[:, 0]
            assert line[-1] - line[0] == 3 and abs(line.float().mean() + 0.5 - (start + SIDE / 2) / 8) <= 1.5
    by_chance = np.mean([likeness(hidden(Random(ratio=0.25), patches, seed)[0], truth) for seed in range(20)])
    assert likeness(hide, truth) > 0.45 > 2.5 * by_chance
    assert (hidden(Motion(), patches)[0] & truth).sum() == truth.sum()  # as the recipe has it


def test_a_key_frame_holds_the_motion_before_it(films):
    with av.open(films["square.mp4"]) as container:
        keys = [i for i, frame in enumerate(container.decode(video=0)) if frame.key_frame]
    maps = VideoReader(frames=COUNT, size=64, hint="motion").read(films["square.mp4"], 0.0, 2.0).hint
    assert len(keys) > 2 and maps.amax((1, 2)).min() > 0
    assert all(torch.equal(maps[i], maps[i - 1]) for i in keys[1:])


def test_nothing_moves_and_the_block_stays_where_chance_put_it():
    patches = replace(still(), hint=torch.zeros(30, 128))
    hide = hidden(Motion(ratio=0.25), patches)
    assert (hide == hide[:, :1]).all() and len(hide[:, 0].unique(dim=0)) > 10


# MGMAE: optical flow


def still(batch: int = 30) -> Patches:
    """Two steps of 8 x 8 patches in a second: contents do not matter."""
    coords = lattice((2, 8, 8))
    time = (coords[:, 0] / 2 + 0.25).expand(batch, -1)
    return Patches(torch.zeros(batch, 128, 1), coords, time, (2, 8, 8), torch.ones(batch))


def test_flow_carries_what_is_shown(films):
    across = torch.tensor([2 / 8 / 0.5, -1 / 8 / 0.5]).expand(30, 128, 2)  # two patches right, one up, in a step
    shown = ~hidden(Flow(ratio=0.8), replace(still(), hint=across)).reshape(30, 2, 8, 8)
    assert (shown.sum((2, 3)) == 64 - int(0.8 * 64)).all()
    assert likeness(shown[:, 1, :-1, 2:], shown[:, 0, 1:, :-2]) > 0.7  # all but what leaves and enters
    shown = ~hidden(Flow(ratio=0.8), replace(still(), hint=torch.zeros(30, 128, 2)))
    assert torch.equal(shown[:, 0], shown[:, 1])


def test_flow_is_read_from_a_film(films):
    pytest.importorskip("cv2")
    patches, truth = cut(films["square.mp4"], "flow"), covered(0.95)
    speed = patches.hint[0].reshape(8, 64, 2)  # in widths and heights of 64 pixels, at 8 times 3 pictures a second
    for step, direction in ((1, 1), (6, -1)):
        assert_close(speed[step][truth[step]].mean(0), torch.tensor([direction * 32, 8]) / 64, atol=0.06, rtol=0)
        assert speed[step][~covered(0.01)[step]].abs().mean() < 0.03
    origin = Flow().origins(patches, lattice((8, 8)).float())[0].reshape(8, 64, 2)
    for step in (5, 6):  # where the square's patches were in the middle step, 4
        shift = torch.tensor([step - 4, -4 * (step - 4)]) * 2 / 8
        assert_close(origin[step][truth[step]], (lattice((8, 8)) - shift)[truth[step]], atol=0.3, rtol=0)


# MARLIN: regions


def segmented(folder: Path) -> dict[str, str]:
    """The film with a segmentation at another size and frame rate: 6 is the square, 0 the wall behind it, 1 a floor."""
    maps = np.zeros((COUNT // 2, 32, 32), dtype=np.uint8)
    maps[:, 24:] = 1
    for i, drawn in enumerate(maps):
        top, left = (round(x / 2) for x in corner(2 * i))
        drawn[top : top + SIDE // 2, left : left + SIDE // 2] = 6
    return {"path": film(folder / "clip.mp4"), "regions": str(write_regions(folder / "r.mkv", maps, RATE / 2))}


def test_what_matters_is_hidden_patch_by_patch(tmp_path):
    patches, truth = cut(segmented(tmp_path), "regions", batch=10), covered()
    assert set(patches.hint.unique().tolist()) == {0, 1, 6}
    assert likeness(patches.hint[0].reshape(8, 64) == 6, truth) > 0.7
    hide = hidden(Regions(ratio=0.75), patches)
    assert (hide.sum((1, 2)) == 384).all()
    assert hide[patches.hint.reshape(10, 8, 64) == 6].all() and not torch.equal(hide[:, 0], hide[:, 1])
    assert float((hide & truth).sum() / 10 / truth.sum()) > 0.8


def test_regions_are_shown_in_the_order_of_their_priority():
    number = torch.arange(128) % 8  # 16 patches of each class
    patches = replace(still(), hint=number.float().expand(30, 128))
    masking = Regions(ratio=0.5, first=(7,), parts=((1, 2), (3,), (4, 5)))  # 0 and 6 are named nowhere
    hide = hidden(masking, patches).reshape(30, 128)
    shown = torch.stack([(~hide & (number == c)).sum(1) for c in range(8)], 1)
    assert (shown.sum(1) == 64).all() and (shown[:, 7] == 16).all() and (shown[:, [0, 6]] == 0).all()
    parts = torch.stack([shown[:, 1] + shown[:, 2], 2 * shown[:, 3], shown[:, 4] + shown[:, 5]], 1)  # of 32
    assert (parts == 32).any(1).all() and len(parts.argmin(1).unique()) == 3  # whole parts, in any order


def test_a_segmentation_that_cannot_be_trusted_is_refused(tmp_path, films):
    lossy = {"path": films["square.mp4"], "regions": films["square.webm"]}
    for source, says in ((films["square.mp4"], "column `regions`"), (lossy, "changes grey levels")):
        with pytest.raises(SampleError, match=says):
            VideoReader(hint="regions").read(source, 0.0, 2.0)


# All of them


def test_a_hint_is_cropped_and_flipped_with_the_picture():
    ramp = torch.arange(64.0)
    pictures = torch.stack([ramp[:, None] + 2 * ramp, 180 - 2 * ramp[:, None] + ramp])[:, None, None]
    signal = Signal(pictures.to(torch.uint8), hint=reduce(pictures, "b t 1 (h q) (w r) -> b t h w", "mean", q=4, r=4))
    after = VideoAugmentation(scale=(0.3, 0.6))(signal.map(lambda x: x.repeat(4, *[1] * (x.ndim - 1))), tiny.keys(8))
    seen = reduce(after.values.float(), "b t 1 (h q) (w r) -> b t h w", "mean", q=4, r=4)
    assert_close(after.hint[..., 2:-2, 2:-2], seen[..., 2:-2, 2:-2], atol=3, rtol=0)
    classes = (torch.arange(16) // 8).expand(2, 1, 16, 16).to(torch.uint8)
    mirror = VideoAugmentation(scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=1.0)
    assert torch.equal(mirror(replace(signal, hint=classes), tiny.keys(2)).hint, 1 - classes)
    velocity = torch.tensor([3.0, 5.0])[:, None, None].expand(2, 1, 2, 16, 16)
    closer = VideoAugmentation(scale=(0.25, 0.25), ratio=(1.0, 1.0), flip=1.0)  # half the height and the width
    found = closer(replace(signal, hint=velocity), tiny.keys(2)).hint
    assert_close(found, velocity * torch.tensor([-2.0, 2.0])[:, None, None])


@pytest.mark.parametrize("turns", [0, 1, 3])
def test_a_field_is_framed_as_the_picture_is(turns):
    levels = np.kron(np.arange(128, dtype=np.uint8).reshape(8, 16), np.ones((8, 8), dtype=np.uint8))  # 64 x 128
    frame = av.VideoFrame.from_ndarray(levels, format="gray")
    framing = replace(Framing.of(frame, 1, 32, 32, "crop"), turns=turns)
    picture = framing.picture(frame, "gray")[..., 0]
    for field in (levels, levels[::8, ::8]):
        assert np.array_equal(framing.cells(field, 4), picture[1::4, 1::4])
    assert np.allclose(framing.cells(levels.astype(np.float32), 4), picture[1::4, 1::4], atol=2.5)  # soft at the rim


def test_a_hint_travels_from_the_manifest_to_the_masking(tmp_path):
    sources = {name: Path(path) for name, path in segmented(tmp_path).items()}
    manifest = Manifest.open(write_manifest(tmp_path, [{"video": sources["path"], "regions": sources["regions"]}]))
    recipe = Recipe.load("marlin", ["size=tiny", "window=1.0", "modalities.video.size=32", "modalities.video.patch=8"])
    clips = Clips(manifest, recipe.readers(), window=1.0)
    assert 6 in collate([clips[0, 0]])["video"].hint
    blank = replace(clips[0, 0][0], readings={"video": clips.readers["video"].blank(1.0)})
    batch = collate([clips[0, 0], [blank]])
    plan = recipe.build().encode_masked(batch).plans["video"]
    assert plan.hidden_valid.sum(1).tolist() == [int(0.9 * 128), 0]


@pytest.mark.parametrize("masking", [Motion(), Flow(), Regions()], ids=lambda masking: masking.follows)
def test_a_masking_without_its_hint_says_what_to_set(masking):
    with pytest.raises(ValueError, match=f"hint: {masking.follows}"):
        hidden(masking, still())
    with pytest.raises(RecipeError, match=rf"masking.video: set modalities.video.hint={masking.follows}"):
        Recipe.load("videomae", [f"masking.video.use={masking.follows}"])


def test_an_unknown_hint_is_refused_with_the_nearest():
    with pytest.raises(RecipeError, match="did you mean 'motion'"):
        Recipe.load("videomae", ["modalities.video.hint=motoin"]).readers()
