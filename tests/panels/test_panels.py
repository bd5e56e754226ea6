"""Panels: one page per call, covered exactly where patches are hidden; guesses know nothing of what they hide."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.image import imread
from media import coded, tone, write_film
from tiny import chosen, make_tokenizer, poisoned, record, tiny, tokenizers

from mmmae.commands import inspect_ as look
from mmmae.objectives.objective import Picture
from mmmae.panels import audio, draw, embedding, footnote, kind, part, seen, show, spread, text, video, views
from mmmae.panels.page import COVER, DOTS, WIDTH, Page, View
from mmmae.recipes.lookup import names
from modalities.errors import InputError
from modalities.tokenizer import Tokenizer
from modalities.video.tokenizer import VideoTokenizer

PLAIN = ["modalities.imu.graph=null"]  # torch_geometric takes seconds to import and changes no picture


def frames(view: View, cover: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The colours of all frames of a clip, and which pixels are to be covered."""
    drawn = [video.picture(*frame) for frame in zip(view.original, cover, view.valid, strict=True)]
    return np.stack(drawn), cover[:, 0]


def image(picture: Callable) -> Callable:
    """The same of a stream that is drawn as one image."""
    return lambda view, cover: (picture(view.original, view.original[view.valid], cover, view.valid), cover)


PAINT = {"video": frames, "audio": image(audio.picture), "imu": image(embedding.picture)}


@pytest.fixture(scope="module")
def example():
    """A model of all streams of the default recipe and a batch in which samples are short or lack streams."""
    recipe = tiny("default", PLAIN)
    return recipe.build(), recipe.example(batch_size=4, seed=1, ragged=True)


def inspect(*words: object) -> int:
    parser = argparse.ArgumentParser()
    look.add_arguments(parser)
    return look.run(parser.parse_intermixed_args([str(word) for word in words]))


def size(path: Path) -> tuple[int, int]:
    height, width = imread(path).shape[:2]
    return height, width


def test_a_page_is_as_wide_as_it_says_and_longer_for_more_samples(example, tmp_path):
    model, batch = example
    whole = model.recipe.example(batch_size=3)
    pages = [draw(model, whole, tmp_path / "new" / f"{n}.png", title="$5_loss", samples=n) for n in (1, 2, 3)]
    (one, width), (two, _), (three, _) = map(size, pages)
    assert width == WIDTH * DOTS
    assert three - two == pytest.approx(two - one, abs=2) and two - one > 0.8 * one
    assert size(draw(model, batch, tmp_path / "ragged.png", samples=3))[0] < three
    assert not model.eval().training and draw(model.train(), part(batch, slice(1)), pages[0]) and model.training


def test_every_modality_has_a_picture_and_strangers_a_fallback():
    assert {kind(make_tokenizer(name, settings)) for name, settings in tokenizers()} == set(names("tokenizer"))

    class Mine(VideoTokenizer):
        """A tokenizer from outside the house is drawn as what it inherits from."""

    class Stranger(Tokenizer):
        patchify = embed_values = unpatchify = None

    assert kind(Mine(8)) == "video"
    assert kind(Stranger(8)) == "embedding"


@pytest.mark.parametrize("name, settings", tokenizers())
def test_every_tokenizer_can_be_drawn(name, settings, tmp_path):
    tokenizer = make_tokenizer(name, settings)
    signal = record(name, settings, tokenizer, batch=3, seed=0, ragged=True)
    patches = tokenizer.patchify(signal)
    whole = tokenizer.unpatchify(patches.values, patches.grid)
    hidden = (torch.rand(patches.time.shape) < 0.5) & patches.valid
    page = Page()
    for view in seen(name, tokenizer, signal, None, Picture(whole, whole.flip(0), hidden)):
        show(page, view)
    height, _ = size(page.save(tmp_path / "page.png"))
    assert height > 0.5 * DOTS


def test_what_is_covered_is_what_was_hidden(example):
    """The masked row differs from the input in hidden patches, all of them grey, and nowhere else."""
    model, batch = example
    hidden = {name: picture.hidden for name, picture in model.eval().reconstruct(batch).items()}
    for name, samples in views(model, batch).items():
        patches = model.tokenizers[name].patchify(batch[name])
        for number, view in enumerate(samples):
            assert view.hidden.sum() == hidden[name][number].sum() * patches.values.shape[-1]
            assert view.valid[view.hidden].all()
            if name not in PAINT or not view.valid.any():
                continue
            (_, before, nothing), (_, after, cover), (_, _, last) = view.rows()
            assert before is after and not nothing.any() and not last.any()
            (whole, _), (masked, here) = PAINT[name](view, nothing), PAINT[name](view, cover)
            assert (whole[~here] == masked[~here]).all()
            assert np.allclose(masked[here], to_rgb(COVER)) and not np.allclose(whole[here], to_rgb(COVER))


def test_hidden_words_are_blanks_and_shown_ones_stay(example):
    model, batch = example
    for view in views(model, batch)["text"]:
        words = text.laid_out(view, width=2.0)
        places = view.valid.nonzero()[0]
        assert [word.guess is not None for word in words] == [bool(view.hidden[place]) for place in places]
        assert [word.true for word in words] == [str(view.original[place]) for place in places]
        assert all(word.left + word.width <= 2.0 or word.left == 0 for word in words)


@pytest.mark.parametrize("norm", ["none", "patch_channel", "patch"])
def test_the_reconstruction_shown_knows_nothing_of_what_is_hidden(norm, monkeypatch):
    """Other contents in hidden patches: the same bits in their place on the page."""
    recipe = tiny("default", [*PLAIN, f"objectives.reconstruction.normalise={norm}"])
    model, batch = recipe.build().eval(), recipe.example(batch_size=3, seed=2, ragged=True)
    encoded = model.encode_masked(batch)
    before = model.reconstruct(batch, encoded.plans)
    for name, plan in encoded.plans.items():
        patches = encoded.patches[name]
        other = poisoned(patches, chosen(plan.visible, plan.visible_valid, patches.time.shape[1]))
        monkeypatch.setattr(model.tokenizers[name], "patchify", lambda signal, other=other: other)
    after = model.reconstruct(batch, encoded.plans)
    for name, picture in before.items():
        guessed = spread(model.tokenizers[name], encoded.patches[name], picture.hidden)
        assert picture.hidden.any() and torch.equal(picture.hidden, after[name].hidden)
        assert torch.equal(picture.predicted[guessed], after[name].predicted[guessed])
        assert not torch.equal(picture.original[guessed], after[name].original[guessed])
    told = footnote(model, list(before))
    assert ("not normalised" in told) == (norm == "none") and ("visible neighbours" in told) == (norm != "none")


@pytest.fixture(scope="module")
def recording(tmp_path_factory) -> list[Path]:
    """A film with sound, what a sensor measured meanwhile, and a caption."""
    folder = tmp_path_factory.mktemp("recording")
    film = write_film(folder / "walk.mp4", [coded(n) for n in range(50)], sound=tone(2), rate=25)
    table = ["time,wrist.ax,wrist.ay,wrist.az,wrist.gx,wrist.gy,wrist.gz"]
    table += [f"{n / 50},{np.sin(n / 5)},9.8,0,0,0,{n / 50}" for n in range(100)]
    (folder / "walk.csv").write_text("\n".join(table))
    (folder / "walk.txt").write_text("a red ball rolls\n\na ball rolls to the wall\n")
    return [film, folder / "walk.csv", folder / "walk.txt"]


def test_inspect_draws_files_as_they_are_read(recording, tmp_path, capsys):
    assert inspect(*recording, "size=tiny", *PLAIN, "window=1.6", "--start", 0.4, "--output", tmp_path) == 0
    printed = capsys.readouterr().out
    for word in ("walk.mp4", "walk.csv", "walk.txt", "video", "audio", "imu", "text", "2.00 s"):
        assert word in printed
    assert str(tmp_path / "walk.png") in printed
    assert [path.name for path in tmp_path.iterdir()] == ["walk.png"]
    assert size(tmp_path / "walk.png")[1] == WIDTH * DOTS


def test_inspect_reconstructs_with_a_checkpoint(recording, tmp_path):
    recipe = tiny("default", [*PLAIN, "modalities.imu.sensors=1"], ["video", "audio", "imu"])
    recipe.build().save_pretrained(tmp_path / "model")
    assert inspect(recording[0], "--checkpoint", tmp_path / "model", "--output", tmp_path / "out") == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"walk.png", "walk-reconstruction.png"}
    with pytest.raises(InputError, match="own recipe"):
        inspect(recording[0], "size=tiny", "--checkpoint", tmp_path / "model")


def test_inspect_says_what_is_wrong_with_a_file(recording, tmp_path):
    (tmp_path / "walk.doc").write_text("?")
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "broken.mp4").write_bytes(b"no film")
    cases = {
        "missing.mp4: no such file": [tmp_path / "missing.mp4"],
        "walk.doc: no modality of recipe": [tmp_path / "walk.doc"],
        "empty.txt: holds no caption": [tmp_path / "empty.txt"],
        "broken.mp4: cannot be decoded": [tmp_path / "broken.mp4"],
        "walk.mp4: lasts 2.00 s": [recording[0], "--start", 1],
        "--start -1": [recording[0], "--start=-1"],
    }
    for message, words in cases.items():
        with pytest.raises(InputError, match=message):
            inspect(*words, "size=tiny", *PLAIN, "--output", tmp_path / "out")
    assert not (tmp_path / "out").exists()
