"""Two views of one recording: read at two times, cut by one tokenizer, cropped alike or one from the other."""

from __future__ import annotations

import json
from dataclasses import replace

import media
import numpy as np
import pytest
import tiny
import torch

from mmmae import MaskedAutoencoder, Recipe
from mmmae.data.manifest import Manifest
from mmmae.data.sample import collate
from mmmae.recipes.lookup import RecipeError
from mmmae.training.optim import adamw
from modalities.records import Batch, Signal
from modalities.video.reader import VideoReader

RATE, FRAMES = 25, 100
SMALL = ["modalities.past.size=64", "window=0.04"]


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Manifest:
    """A recording whose every frame shows its number."""
    folder = tmp_path_factory.mktemp("views")
    media.write_film(folder / "film.mp4", [media.coded(number) for number in range(FRAMES)], rate=RATE)
    rows = [{"video": "film.mp4"}, {"video": "film.mp4", "start": 1.0, "end": 3.0}]
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Manifest.open(folder)


def shown(batch: Batch, stream: str) -> list[int]:
    return [media.number(clip[0].numpy()) for clip in batch[stream].values]


def test_a_later_view_lags_by_what_its_key_draws(film):
    clips = Recipe.load("siam_mae", SMALL).clips(film)
    batch = collate([clips[epoch, 0] for epoch in range(24)])
    past, future = np.array(shown(batch, "past")), np.array(shown(batch, "future"))
    assert np.abs(future - past - batch["future"].lag.numpy() * RATE).max() <= 1  # frames are whole
    assert (future - past).min() >= 3 and (future - past).max() <= 40 and np.ptp(future - past) > 20
    assert batch["past"].lag is None and past.min() < 15 and future.max() > 80
    torch.testing.assert_close(batch["future"].start, batch["past"].start + batch["future"].lag)
    again = collate([clips[epoch, 0] for epoch in (5, 3)])
    assert shown(again, "future") == [future[5], future[3]]
    part = collate([clips[epoch, 1] for epoch in range(12)])
    assert min(shown(part, "past")) >= 25 and max(shown(part, "future")) < 75


def test_evaluation_takes_the_middle_and_one_decode_serves_both(film, monkeypatch):
    decodes = []
    read = VideoReader.read_windows
    monkeypatch.setattr(VideoReader, "read_windows", lambda *a: decodes.append(a) or read(*a))
    batch = collate([Recipe.load("siam_mae", SMALL).clips(film, centre=True)[0, 0]])
    assert batch["future"].lag.item() == pytest.approx((0.13 + 1.6) / 2)
    assert len(decodes) == 1 and len(decodes[0][2]) == 2


def test_views_have_their_places_on_the_clock_of_the_sample():
    recipe = tiny.tiny("siam_mae")
    encoded = recipe.build().encode_masked(recipe.example(batch_size=2))
    torch.testing.assert_close(encoded.patches["future"].time, encoded.patches["past"].time + (0.13 + 1.6) / 2)


# One tokenizer


def test_a_shared_tokenizer_is_held_counted_and_saved_once(tmp_path):
    model = tiny.tiny("siam_mae").build()
    assert model.tokenizers["past"] is model.tokenizers["future"] and list(model.tokenizers) == ["past", "future"]
    own = [name for name in model.state_dict() if name.startswith("tokenizers.")]
    assert own and all(name.startswith("tokenizers.past.") for name in own)
    groups = adamw(model, model.recipe.sections.optimizer).param_groups
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    model.save_pretrained(tmp_path)
    other = MaskedAutoencoder.from_pretrained(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
    assert other.tokenizers["future"] is other.tokenizers["past"]


def test_a_view_left_alone_keeps_the_tokenizer():
    tree = Recipe.load("vatt", modalities=["video", "text_2", "text_4"]).tree["modalities"]
    assert tree["text_2"]["length"] == 16 and tree["text_2"]["use"] == tree["text_2"]["source"] == "text"
    assert tree["text_2"]["lag"] == -3.2 and "share" not in tree["text_2"] and tree["text_4"]["share"] == "text_2"
    both = Recipe.load("siam_mae")
    alone, shared = both.narrow(["future"]).parts["future"], both.parts["future"]
    assert (alone.reader, alone.tokenizer) == (shared.reader, shared.tokenizer)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("modalities.future.share=pats", "'past'"),
        ("modalities.future.patch=8", "belongs to the tokenizer"),
        ("modalities.future.lag=[2.0,1.0]", "smaller end"),
        ("modalities.future.span=0", "span"),
        ("augment.past.after=future", "must come before"),
        ("augment.past.after=futur", "'future'"),
    ],
)
def test_a_mistake_about_streams_is_named(override, says):
    with pytest.raises(RecipeError, match=says):
        Recipe.load("siam_mae", [override])


# Crops


def compass(b: int, size: int = 64) -> Signal:
    """Pictures whose red tells the row and whose green tells the column, in levels."""
    level = torch.linspace(0, 255, size).round()
    picture = torch.stack([level[:, None].expand(size, size), level.expand(size, size), torch.zeros(size, size)])
    return Signal(picture.to(torch.uint8).expand(b, 1, 3, size, size).clone())


def extent(signal: Signal) -> torch.Tensor:
    """The rows and columns of the original that each picture shows (b, 2, ends)."""
    x = signal.values[:, 0, :2].flatten(2).float() / 255
    return torch.stack([x.amin(2), x.amax(2)], 2)


@pytest.mark.parametrize("training", [True, False])
def test_the_local_crop_lies_inside_the_global_one(training):
    augment = Recipe.load("crop_mae").augment().train(training)
    batch = Batch({"global": compass(64), "local": compass(64)}, tiny.keys(64))
    views = augment(batch)
    whole, part = extent(views["global"]), extent(views["local"])
    assert (part[..., 0] >= whole[..., 0] - 0.02).all() and (part[..., 1] <= whole[..., 1] + 0.02).all()
    share = (part[..., 1] - part[..., 0]).prod(1) / (whole[..., 1] - whole[..., 0]).prod(1)
    assert 0.22 < share.min() < 0.35 and 0.5 < share.max() < 0.65


def test_streams_are_augmented_alike_unless_they_draw_apart():
    batch = Batch({"past": compass(8), "future": compass(8)}, tiny.keys(8))
    alike = Recipe.load("siam_mae").augment()(batch)
    assert torch.equal(alike["past"].values, alike["future"].values)
    other = Recipe.load("siam_mae", ["augment.future.draw=future"]).augment()(batch)
    assert torch.equal(alike["past"].values, other["past"].values)
    assert all(not torch.equal(a, b) for a, b in zip(other["past"].values, other["future"].values, strict=True))
    resting = Recipe.load("siam_mae").augment().eval()(batch)
    assert torch.equal(resting["past"].values, batch["past"].values)


# One view told from the other


def quarters(b: int, seed: int) -> torch.Tensor:
    """Pictures (b, 1, 3, 32, 32) of which each quarter has stripes of its own direction."""
    wave = (torch.arange(8) % 4 < 2).float() * 255
    across, down = wave.expand(8, 8), wave[:, None].expand(8, 8)
    kinds = torch.stack([across, down, 255 - across, 255 - down])
    kind = torch.randint(0, 4, (b, 2, 2), generator=torch.Generator().manual_seed(seed))
    picture = kinds[kind].repeat(1, 1, 1, 2, 2)  # (b, 2, 2, 16, 16)
    picture = picture.permute(0, 1, 3, 2, 4).reshape(b, 1, 1, 32, 32)
    return picture.expand(b, 1, 3, 32, 32).to(torch.uint8)


@pytest.mark.parametrize(("name", "views"), [("siam_mae", ("past", "future")), ("crop_mae", ("global", "local"))])
def test_another_samples_first_view_raises_the_loss(name, views):
    first, second = views
    model = tiny.tiny(name, ["trunk.width=64", "trunk.depth=1", "trunk.heads=4"]).build()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)

    def batch(seed: int) -> Batch:
        picture = quarters(16, seed)
        return Batch({first: Signal(picture), second: Signal(picture)}, tiny.keys(16, seed))

    for step in range(45):
        loss = model(batch(step)).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    test = batch(1000)
    swapped = replace(test, signals=test.signals | {first: test[first].map(lambda x: x.roll(1, 0))})
    with torch.no_grad():
        right, wrong = model(test).total.item(), model(swapped).total.item()
    assert right < 0.85 and wrong > 1.3 * right, (right, wrong)


@torch.no_grad()
def test_only_the_second_view_is_predicted():
    recipe = tiny.tiny("siam_mae")
    model, batch = recipe.build(), recipe.example(batch_size=2)
    assert set(model.reconstruct(batch)) == {"future"} and set(model(batch).parts) == {"reconstruction/future"}
    plans = model.encode_masked(batch).plans
    shown = {name: (plan.visible.shape[1], plan.hidden.shape[1]) for name, plan in plans.items()}
    assert shown == {"past": (64, 0), "future": (3, 61)}
