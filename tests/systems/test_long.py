"""Long recordings: masked models of embedding sequences (LV-MAE), and the command that writes the embeddings."""

from __future__ import annotations

import json
import time
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection
from pathlib import Path

import media
import numpy as np
import pytest
import tiny
import torch
from torch.nn.functional import cosine_similarity, normalize
from torch.testing import assert_close

from fusion.masking import Noise
from fusion.masking.novelty import Novelty
from mmmae import Recipe
from mmmae.__main__ import main
from mmmae.api import MaskedAutoencoder
from mmmae.commands.embed import reading
from mmmae.data.clips import Clips
from mmmae.data.manifest import Manifest
from mmmae.data.open_settings import fit
from mmmae.data.sample import collate
from mmmae.data.segments import Segments
from mmmae.storage import atomic as durable
from mmmae.storage.embeddings import damage
from modalities.embedding import EmbeddingReader, EmbeddingTokenizer
from modalities.embedding.reader import load
from modalities.records import Batch, Signal, take
from modalities.video import VideoReader


def turning(batch: int, steps: int, seed: int) -> torch.Tensor:
    """Films (batch, steps, 16) whose embedding turns in a plane, each at a speed of its own."""
    generator = torch.Generator().manual_seed(seed)
    plane = torch.linalg.qr(torch.randn(16, 2, generator=torch.Generator().manual_seed(0)))[0]
    start, speed = torch.rand(2, batch, 1, generator=generator)
    angle = 6.3 * start + (0.5 + 0.4 * speed) * torch.arange(steps)
    return torch.stack([angle.cos(), angle.sin()], -1) @ plane.T


def small(*overrides: str):
    sizes = ["trunk.width=32", "trunk.depth=1", "trunk.heads=4", "objectives.reconstruction.decoder.depth=1"]
    shape = ["modalities.embedding.width=16", "modalities.embedding.length=20"]
    return Recipe.load("lv_mae", ["size=tiny", *sizes, *shape, *overrides]).build()


def test_a_trained_model_knows_more_than_the_nearest_segment():
    model = small()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(70):
        optimizer.zero_grad()
        model(Batch({"embedding": Signal(turning(32, 20, seed=step))}, tiny.keys(32, seed=step))).total.backward()
        optimizer.step()
    films = turning(64, 20, seed=1000)
    with torch.no_grad():
        encoded = model.encode_masked({"embedding": Signal(films)})
        predicted = model.objectives["reconstruction"].answer(encoded)["embedding"].values
    plan = encoded.plans["embedding"]
    nearest = (plan.hidden[:, :, None] - plan.visible[:, None, :]).abs().argmin(2)
    copied = take(films, plan.visible.gather(1, nearest))
    says, copies = (cosine_similarity(x, take(films, plan.hidden), dim=-1).mean() for x in (predicted, copied))
    assert says > 0.8 > copies + 0.1


@torch.no_grad()
def test_padding_is_no_segment():
    model, film = small(), turning(1, 12, seed=1)
    exact = model(Batch({"embedding": Signal(film)}, tiny.keys(1)))
    padded = Signal(torch.cat([film, torch.full((1, 8, 16), 9.0)], 1), torch.tensor([12]))
    assert_close(model(Batch({"embedding": padded}, tiny.keys(1))).total, exact.total)
    tokens = model.encode({"embedding": padded})["embedding"]
    assert_close(tokens.mean(), model.encode({"embedding": Signal(film)})["embedding"].mean())


def test_the_cosine_asks_for_directions_and_the_squared_error_for_lengths():
    films = Batch({"embedding": Signal(turning(4, 20, seed=2))}, tiny.keys(4))
    for distance, same in {"cosine": True, "mse": False}.items():
        model = small(f"objectives.reconstruction.distance={distance}")
        before = model(films).total
        head = model.objectives["reconstruction"].decoder.ends.heads["embedding"]
        with torch.no_grad():
            head.weight *= 3
            head.bias *= 3
        assert torch.isclose(model(films).total, before) == same


def test_novelty_shows_exactly_where_a_film_changes():
    scenes = normalize(torch.randn(2, 10, 16, generator=torch.Generator().manual_seed(0)), dim=-1)
    which = torch.tensor([[0, 0, 1, 1, 1, 2, 3, 3, 3, 4, 4, 4], [0, 1, 2, 3, 3, 3, 0, 0, 0, 0, 0, 0]])
    length = torch.tensor([12, 6])
    patches = EmbeddingTokenizer(8, width=16).patchify(Signal(take(scenes, which), length))
    for seed in range(5):  # among equals chance decides, elsewhere nothing
        noise = Noise(tiny.keys(2, seed))("mask", 12)
        plan = Novelty(ratio=0.55).plan(patches, noise)
        shown = tiny.chosen(plan.visible, plan.visible_valid, 12)
        assert shown.sum(1).tolist() == [12 - int(0.55 * 12), 6 - int(0.55 * 6)]
        assert shown[0, [0, 2, 5, 6, 9]].all() and shown[1, 0] and not shown[1, 4:].any()


# mmmae embed


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> Path:
    """Films of 2.6 s and 1 s, one that is cut off, and the run of a model of 0.5-s windows."""
    folder = tmp_path_factory.mktemp("films")
    for name, seconds in {"long": 2.6, "scenes/short": 1.0, "cut": 2.0}.items():
        path = folder / f"{name}.mp4"
        path.parent.mkdir(exist_ok=True)
        media.write_film(path, [media.coded(number % 256) for number in range(round(25 * seconds))])
    (folder / "cut.mp4").write_bytes((folder / "cut.mp4").read_bytes()[:900])
    said = {"long": [{"text": "it ends", "start": 2.0, "end": 2.5}], "cut": "a film", "scenes/short": "a film"}
    rows = ({"id": n, "video": f"{n}.mp4", "label": n[0], "text": text} for n, text in said.items())
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = tiny.tiny("default", ["window=0.5"], modalities=["video"])
    recipe.build().save_pretrained(folder / "run")
    return folder


def embed(films: Path, out: Path, *more: str) -> int:
    known = ["embed", str(films / "run"), "--data", str(films), "--out", str(out), "--workers", "0"]
    return main([*known, "--batch-size", "4", *more])


@pytest.mark.parametrize("ending", ["safetensors", "parquet"])
@pytest.mark.parametrize("stride", [0.5, 0.2, 0.9])
def test_every_segment_is_embedded_with_its_seconds(films, tmp_path, capsys, ending, stride):
    assert embed(films, tmp_path, "--format", ending, "--stride", str(stride)) == 1  # of the film that is cut off
    says = capsys.readouterr().out
    assert "row 'cut'" in says and "2 embedded, 1 bad" in says
    model = MaskedAutoencoder.from_pretrained(films / "run")
    known = {
        0.5: {"long": 6, "scenes/short": 2},
        0.2: {"long": 12, "scenes/short": 4},
        0.9: {"long": 3, "scenes/short": 2},
    }
    for name, seconds in {"long": 2.6, "scenes/short": 1.0}.items():
        found = load(tmp_path / f"{name}.{ending}")
        assert len(found.features) == known[stride][name]
        assert np.allclose(found.start, np.arange(len(found.start)) * stride)
        assert np.allclose(found.end, np.minimum(found.start + 0.5, seconds))
        assert (seconds - found.end[-1]) <= max(0.05, stride - 0.5 + 0.05) + 1e-6  # nothing else is left out
        reader = model.recipe.readers()["video"]
        for start, end, row in zip(*(x.tolist() for x in (found.start, found.end)), found.features, strict=True):
            clip = reader.read(str(films / f"{name}.mp4"), start, end - start).values[None]
            with torch.no_grad():
                tokens = model.encode({"video": Signal(clip, duration=torch.tensor([end - start]).float())})["video"]
            assert_close(tokens.mean()[0], row)


def test_what_a_recipe_always_changes_is_embedded_changed(films, tmp_path):
    recipe = tiny.tiny("default", ["window=0.5", "augment={video: {flip: 1.0, always: true}}"], modalities=["video"])
    model = recipe.build()
    model.save_pretrained(tmp_path / "run")
    words = ["embed", str(tmp_path / "run"), "--data", str(films), "--out", str(tmp_path / "out"), "--workers", "0"]
    assert main(words) == 1  # of the film that is cut off
    clip = recipe.readers()["video"].read(str(films / "scenes" / "short.mp4"), 0.0, 0.5).values[None]
    batch = Batch({"video": Signal(clip, duration=torch.tensor([0.5]))}, torch.tensor([0]))
    changed = recipe.augment().eval()(batch)
    assert not torch.equal(changed["video"].values, clip)
    with torch.no_grad():
        tokens = model.encode(changed)["video"]
    assert_close(load(tmp_path / "out" / "scenes" / "short.safetensors").features[0], tokens.mean()[0])


def test_what_is_embedded_stays_and_what_is_missing_or_damaged_is_made(films, tmp_path, capsys):
    for ending in ("safetensors", "parquet"):
        out = tmp_path / ending
        long, short = (out / f"{name}.{ending}" for name in ("long", "scenes/short"))
        embed(films, out, "--format", ending)
        before, kept = long.stat().st_mtime_ns, short.read_bytes()
        for harmed in (None, kept[:-20], flipped(kept)):
            if harmed is None:
                short.unlink()
            else:
                short.write_bytes(harmed)
            capsys.readouterr()
            assert embed(films, out, "--format", ending) == 1
            says = capsys.readouterr().out
            assert "1 known, 1 embedded, 1 bad" in says
            assert ("damaged: " + str(short) in says) == (harmed is not None)
            assert long.stat().st_mtime_ns == before and short.read_bytes() == kept
        assert not list(out.rglob(".*"))
    for wish, says in {("--segment", "1"): "segment 0.5, not 1.0", ("--stride", "1"): "stride 0.5, not 1.0"}.items():
        assert embed(films, tmp_path / "safetensors", *wish) == 2
        assert says in capsys.readouterr().err
    (tmp_path / "safetensors" / "embedded.json").write_text("{")
    assert embed(films, tmp_path / "safetensors") == 2 and "embedded.json: is damaged" in capsys.readouterr().err


def flipped(contents: bytes) -> bytes:
    """The same with another bit among its numbers."""
    middle = len(contents) // 2
    return contents[:middle] + bytes([contents[middle] ^ 1]) + contents[middle + 1 :]


def test_a_window_of_a_recording_is_read_by_its_seconds(films, tmp_path):
    embed(films, tmp_path, "--stride", "0.25")
    path = str(tmp_path / "long.safetensors")
    rows, reader = load(path), EmbeddingReader(length=4, width=128, rate=7.0)  # the file knows better
    assert reader.seconds(path) == pytest.approx(2.6)
    middle = (rows.start + rows.end) / 2
    for start in (0.0, 0.6, 1.3, 2.0):
        here = (middle >= start) & (middle < start + 0.8)
        reading = reader.read(path, start, 0.8)
        assert reading.length == here.sum() >= 2
        assert reading.values[: reading.length].equal(rows.features[here])
    assert reader.read(path, 3.0, 0.8) is None


def slowly(words: list[str], tell: Connection) -> None:
    """The command in a process of its own; it tells of each file that is half there, and takes its time over it."""
    own = durable.written

    def written(path: Path, content: durable.Content) -> dict:
        if ".safetensors" in path.name:
            whole = b"".join(content.chunks)
            path.write_bytes(whole[: len(whole) // 2])
            tell.send(path.name)
            time.sleep(0.1)
            path.unlink()
            content = durable.Content.of(whole)
        return own(path, content)

    durable.written = written
    main(words)


def test_a_killed_command_goes_on_to_the_same_bytes(films, tmp_path):
    """Killed while it writes: what is there is whole, and launched again it makes what nobody disturbed would have."""
    data = [
        {"id": f"{n:02}", "video": "long.mp4", "start": round(0.04 * n, 2), "end": round(0.04 * n + 2, 2)}
        for n in range(12)
    ]
    listing = films / "parts.jsonl"
    listing.write_text("".join(json.dumps(row) + "\n" for row in data))
    known = ["embed", str(films / "run"), "--data", str(listing), "--workers", "0", "--out"]
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    assert main([*known, str(undisturbed)]) == 0
    there, inside = Pipe(duplex=False)
    process = get_context("fork").Process(target=slowly, args=([*known, str(killed)], inside))
    process.start()
    inside.close()
    for _ in range(4):
        there.recv()
    process.kill()  # while it writes the fourth
    process.join()
    files = sorted(killed.glob("*.safetensors"))
    assert len(files) == 3 and not any(damage(path) for path in files)
    assert main([*known, str(killed)]) == 0
    names = {path.name for path in undisturbed.iterdir()}
    assert len(names) == 14 and names == {path.name for path in killed.iterdir()}
    for name in names:
        assert (undisturbed / name).read_bytes() == (killed / name).read_bytes()


def test_a_masked_model_trains_on_what_was_embedded(films, tmp_path):
    embed(films, tmp_path)
    manifest = Manifest.open(tmp_path, modalities=["embedding"])
    assert [(row.id, manifest.target.names[row.label]) for row in manifest] == [("long", "l"), ("scenes/short", "s")]
    assert [row.sources["text"] for row in Manifest.open(tmp_path)][1] == "a film"
    assert Manifest.open(tmp_path)[0].sources["text"][0] == {"text": "it ends", "start": 2.0, "end": 2.5}
    recipe = Recipe.load("lv_mae", ["size=tiny", "modalities.embedding.length=8", "window=40"])
    recipe = fit(recipe, manifest, tmp_path)
    clips = Clips(manifest, recipe.readers(), window=40.0)
    batch = collate([clips[0, index] for index in range(2)])
    assert batch["embedding"].values.shape == (2, 8, 128) and batch["embedding"].length.tolist() == [6, 2]
    assert recipe.build()(batch).total.isfinite()


def test_no_more_than_a_segment_is_read_at_a_time(films, monkeypatch):
    asked, read = [], VideoReader.read_windows
    record = lambda self, source, starts, duration: asked.extend(starts) or read(self, source, starts, duration)  # noqa: E731
    monkeypatch.setattr(VideoReader, "read_windows", record)
    clips = reading(MaskedAutoencoder.from_pretrained(films / "run"), Manifest.open(films), 0.5)
    pieces = iter(Segments(clips, [0]))
    for number in range(3):
        assert next(pieces).found.start == number * 0.5
        assert asked == [count * 0.5 for count in range(number + 1)]


def test_an_impossible_wish_is_refused(films, tmp_path, capsys):
    for wish, says in {
        ("--modalities", "sound"): "the run has video",
        ("--segment", "0"): "above 0",
        ("--stride", "-1"): "above 0",
    }.items():
        assert embed(films, tmp_path, *wish) == 2 and says in capsys.readouterr().err
