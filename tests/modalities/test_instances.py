"""Instances: which boxes a window gets, and that each picture shows what its box holds."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pytest
import torch

from mmmae import Recipe
from mmmae.data.loader import Loader
from mmmae.data.manifest import Manifest
from mmmae.data.source import open_for
from modalities.errors import InputError, SampleError
from modalities.video import VideoReader
from modalities.video.manifest import encoded

LEFT, RIGHT = [0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 1.0]
BOXES = [
    {"time": 0.5, "box": LEFT, "id": "a"},
    {"time": 1.0, "box": RIGHT, "id": 7},
    {"time": 1.0, "box": [0.0, 0.5, 0.25, 1.0]},
    {"time": 2.0, "box": LEFT},
]


@pytest.fixture
def film(tmp_path):
    """4 s at 10 frames per second: frame n is n on the left, 100 + n on the right, 200 in the corner below left."""
    frames = []
    for number in range(40):
        frame = np.full((64, 96, 3), number, dtype=np.uint8)
        frame[:, 48:] = 100 + number
        frame[32:, :24] = 200
        frames.append(frame)
    (tmp_path / "a.mkv").write_bytes(encoded(np.stack(frames), Fraction(10), ".mkv"))
    return str(tmp_path / "a.mkv")


def listed(film, boxes):
    return Manifest.open([{"video": film, "boxes": boxes}], outside=True)[0].sources["video"]


def test_each_picture_is_of_its_box_in_the_nearest_marked_frame(film):
    reader = VideoReader(frames=3, size=16, boxes=True)
    source = listed(film, BOXES)
    reading = reader.read(source, 0.3, 2.0)  # the middle is 1.3 s
    assert reading.length == 2 and reading.values.shape == (3, 3, 16, 16)
    assert [set(picture.unique().tolist()) for picture in reading.values] == [{110}, {200}, {0}]
    early = reader.read(source, 0.0, 1.0)  # 1.0 s is no longer in it
    assert early.length == 1 and early.values[0, :, :6].unique().tolist() == [5]
    assert reader.read(source, 2.5, 1.0) is None
    both = reader.read_windows(source, [1.5, 0.0], 1.0)
    assert torch.equal(both[1].values, early.values) and both[0].values[0, :, :6].unique().tolist() == [20]


def test_pixels_of_a_stated_picture_are_the_same_boxes(film):
    pixels = [{"time": 1, "box": [48, 0, 96, 64], "of": [96, 64]}]
    assert listed(film, pixels)["boxes"] == listed(film, [{"time": 1.0, "box": RIGHT}])["boxes"]
    assert listed(film, json.dumps(pixels)) == listed(film, pixels)


@pytest.mark.parametrize(
    ("box", "says"),
    [
        ({"time": 1, "box": [48, 0, 96, 64]}, "in pixels with `of`"),
        ({"time": 1, "box": [0.5, 0, 0.2, 1]}, "left, top, right, bottom"),
        ({"time": 1, "box": [0, 0, 1]}, "box 2 is"),
        ({"box": LEFT}, "a list of boxes such as"),
        ({"time": -1, "box": LEFT}, "box 2 is"),
    ],
)
def test_a_wrong_box_is_named(film, box, says):
    with pytest.raises(InputError) as error:
        listed(film, [BOXES[0], box])
    assert "row 0: column 'boxes'" in str(error.value) and says in str(error.value)


def test_more_boxes_than_there_is_room_for_are_a_bad_sample(film):
    with pytest.raises(SampleError, match=r"2 boxes mark one frame, the recipe reads 1\n  set `frames=2`"):
        VideoReader(frames=1, size=16, boxes=True).read(listed(film, BOXES), 0.3, 2.0)


def test_two_streams_of_instances_train(film, tmp_path):
    recipe = Recipe.load(
        {
            "size": "tiny", "window": 1.0, "trunk": {"use": "joint"},
            "modalities": {
                "first": {
                    "use": "video", "source": "video", "boxes": True, "frames": 3, "size": 16, "patch": 8, "tube": 1,
                },
                "second": {"share": "first", "lag": 1.0},
            },
            "masking": {name: {"use": "random", "ratio": 0.5} for name in ("first", "second")},
            "objectives": {"reconstruction": {}},
        }
    )  # fmt: skip
    boxes = [{"time": tick / 2, "box": box} for tick in range(8) for box in (LEFT, RIGHT)]
    manifest = open_for(recipe, [{"video": film, "boxes": boxes}])
    batch = next(iter(Loader(recipe.clips(manifest), 1)))
    assert batch["first"].length.tolist() == batch["second"].length.tolist() == [2]
    model = recipe.build()
    tokens = model.encode(batch)["first"]
    assert tokens.filled(0).tolist() == [[True, True, False]] and tokens.means(0).shape == (1, 3, 128)
    model(batch).total.backward()
