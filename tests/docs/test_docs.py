"""What the docs show is run, and what they quote is parsed."""

from __future__ import annotations

import argparse
import doctest
import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import media
import numpy as np
import pytest
import torch
from pages import FENCED, PAGES, ROOT
from torch.nn.functional import relu
from torch.testing import assert_close

from mmmae import Recipe, corpora
from mmmae.__main__ import COMMANDS, main
from mmmae.api import MaskedAutoencoder
from mmmae.data import cells, kinds, rows
from mmmae.data.clips import Clips
from mmmae.data.loader import Loader
from mmmae.data.manifest import Manifest
from mmmae.data.open_settings import fit
from mmmae.data.source import open_for
from mmmae.launch import listed, overrides_of, training_parser
from mmmae.recipes import files as recipes
from mmmae.recipes.lookup import RecipeError
from modalities.errors import InputError
from modalities.imu.table import load
from modalities.records import Batch, take

LINK = re.compile(r"\]\(([^)\s]+)\)")
every_page = pytest.mark.parametrize("page", PAGES)


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a page in a language."""
    return [text for kind, text in FENCED.findall(PAGES[page].read_text(encoding="utf-8")) if kind.strip() == language]


# Every example of adding.md is a file of one package: its first line says which.


@pytest.fixture(scope="module")
def mylab(tmp_path_factory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("outside")
    for text in blocks("adding.md", "python") + blocks("adding.md", "yaml"):
        path = folder / text.partition("\n")[0].removeprefix("# ")
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(text, encoding="utf-8")
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))
    for name in [name for name in sys.modules if name.partition(".")[0] == "mylab"]:
        del sys.modules[name]


def learn(model: MaskedAutoencoder, batch: Mapping) -> None:
    """One training step that reaches every parameter."""
    weights = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(weights.values())
    losses = model(batch)
    losses.total.backward()
    assert losses.total.isfinite()
    assert not [name for name, p in weights.items() if p.grad is None or not p.grad.isfinite().all()]
    optimizer.step()
    model.after_step(0.0, taken=True)


def labelled(batch: Batch) -> Batch:
    return replace(batch, label=torch.tensor([2, -1, 0, 4]))


@pytest.mark.parametrize("name", ["foveal", "radar"])
@pytest.mark.parametrize("ragged", [False, True])
def test_a_recipe_from_outside_trains(mylab, name, ragged):
    recipe = Recipe.load(mylab / "mylab" / f"{name}.yaml", ["modalities.imu.sensors=3"] if name == "foveal" else [])
    learn(recipe.build(), labelled(recipe.example(batch_size=4, ragged=ragged)))


def test_a_dense_head_from_outside_learns_a_column_of_its_own(mylab, tmp_path):
    file = mylab / "mylab" / "gaze.yaml"
    recipe = Recipe.load(file)
    learn(recipe.build(), recipe.example(batch_size=4, ragged=True))
    media.write_film(tmp_path / "a.mp4", [media.coded(i) for i in range(64)], rate=16)
    rows = [{"video": "a.mp4", "gaze": [[0, 0.0, 1.0], [4, 1.0, 0.0]]}, {"video": "a.mp4"}]
    listing = tmp_path / "manifest.jsonl"
    listing.write_text("".join(json.dumps(row) + "\n" for row in rows))
    clips = recipe.clips(open_for(recipe, listing))
    samples = [clips[0, index][0] for index in range(2)]
    moments = samples[0].start + 2.0 * (torch.arange(4) + 0.5) / 4  # tubes of two frames
    torch.testing.assert_close(samples[0].targets["gaze"], torch.stack([moments / 4, 1 - moments / 4], 1).float())
    assert samples[1].targets["gaze"].isnan().all()
    learn(recipe.build(), next(iter(Loader(clips, 2))))
    listing.write_text(json.dumps(rows[0] | {"gaze": [[0, 0.5]]}) + "\n")
    with pytest.raises(InputError, match=r"line 1: column 'gaze' takes a list of \[second, across, down\]"):
        open_for(recipe, listing)


def test_a_folder_of_a_modality_from_outside_needs_no_manifest(mylab, tmp_path):
    for name in ("a", "b"):
        np.save(tmp_path / f"{name}.npy", np.zeros((40, 64)))
    (tmp_path / "a.txt").write_text("a car")
    recipe = Recipe.load(mylab / "mylab" / "radar.yaml")
    rows = list(open_for(recipe, tmp_path))
    assert [(row.id, Path(row.sources["radar"]).name, row.sources.get("text")) for row in rows] == [
        ("a", "a.npy", "a car"), ("b", "b.npy", None),
    ]  # fmt: skip


def test_the_masking_from_outside_hides_the_middle_and_more_as_training_goes(mylab):
    recipe = Recipe.load(mylab / "mylab" / "foveal.yaml", modalities=["video", "text"])
    model, batch = recipe.build(), labelled(recipe.example(batch_size=4))
    for progress, ratio in ((0.0, 0.6), (1.0, 0.85)):
        model.advance(progress)
        encoded = model.encode_masked(batch)
        plan, patches = encoded.plans["video"], encoded.patches["video"]
        assert plan.hidden.shape[1] == int(ratio * 512) and plan.visible.shape[1] == 512 - int(ratio * 512)
        assert torch.cat([plan.visible, plan.hidden], 1).sort(1).values.equal(torch.arange(512).expand(4, -1))
        away = (patches.coords[:, 1:] - 3.5).abs().sum(1)
        assert (away[plan.hidden].mean(1) < away[plan.visible].mean(1)).all()


def test_the_objective_with_a_teacher_from_outside_compares_cosines_with_one_that_follows(mylab):
    recipe = Recipe.load(mylab / "mylab" / "foveal.yaml", ["objectives.relations.margin=0"], ["video", "text"])
    model, batch = recipe.build(), labelled(recipe.example(batch_size=4))
    relations, encoded = model.objectives["relations"], model.encode_masked(batch)
    teacher = relations.teacher.encode(encoded)
    at = {name: take(t.x, encoded.plans[name].visible) for name, t in teacher.items()}
    turn = torch.linalg.qr(torch.randn(at["video"].shape[-1], at["video"].shape[-1]))[0]
    turned = {name: replace(encoded.tokens[name], x=3 * x @ turn) for name, x in at.items()}
    for loss in relations(replace(encoded, tokens=turned)).values():
        assert loss < 1e-5  # any rotation and scale of the teacher's own tokens
    assert relations(encoded)["video"] > 0.01
    before = relations.teacher.trunk.norm.weight.clone()
    learn(model, batch)
    assert torch.equal(relations.teacher.trunk.norm.weight, 0.99 * before + (1 - 0.99) * model.trunk.norm.weight)


def test_samples_without_a_label_cost_nothing(mylab):
    recipe = Recipe.load(mylab / "mylab" / "foveal.yaml", modalities=["video", "text"])
    model, batch = recipe.build(), replace(recipe.example(batch_size=4), label=None)
    with torch.no_grad():
        assert model(batch)["label/label"] == 0
        assert model(labelled(batch))["label/label"] > 0


def test_a_pair_objective_from_outside_is_the_formula_of_its_paper(mylab):
    recipe = Recipe.load(mylab / "mylab" / "foveal.yaml", modalities=["video", "text"])
    model, batch = recipe.build(), replace(recipe.example(batch_size=6, ragged=True), label=None)
    objective, encoded = model.objectives["vicreg"], model.encode_masked(batch)
    parts = objective(encoded)
    both = encoded.tokens["video"].present() & encoded.tokens["text"].present()
    assert 1 < both.sum() < 6
    a, b = (objective.project[name](encoded.alone(name).mean())[both] for name in ("video", "text"))
    assert_close(parts["invariance"], (a - b).square().mean())
    assert_close(parts["variance"], torch.stack([relu(1 - (x.var(0) + 1e-4).sqrt()).mean() for x in (a, b)]).mean())
    off = [(x.T.cov() - x.T.cov().diagonal().diag()).square().sum() / x.shape[1] for x in (a, b)]
    assert_close(parts["covariance"], off[0] + off[1])


def test_a_modality_from_outside_is_checked_and_trained_from_files(mylab, tmp_path, capsys):
    for number in range(6):
        np.save(tmp_path / f"{number}.npy", np.random.default_rng(number).normal(-40, 20, (30 + 10 * number, 64)))
    lines = [{"radar": f"{number}.npy", "text": f"a car, {number} lanes away"} for number in range(5)]
    lines.append({"text": "rain"})
    listing = tmp_path / "manifest.jsonl"
    listing.write_text("".join(json.dumps(line) + "\n" for line in lines))
    file = mylab / "mylab" / "radar.yaml"
    command = ["check", str(listing), "--recipe", str(file), "--modalities", "radar,text", "--workers", "0"]
    assert main(command) == 0, capsys.readouterr().err
    assert "5 of 6" in capsys.readouterr().out

    recipe = Recipe.load(file)
    manifest = Manifest.open(listing, modalities=recipe.streams)
    recipe = fit(recipe, manifest, tmp_path)
    clips = Clips(manifest, recipe.readers(), window=recipe.sections.window)
    batch = next(iter(Loader(clips, 6)))
    assert sorted(batch["radar"].length.tolist()) == [0, 30, 40, 40, 40, 40]
    model = recipe.build()
    patches = model.tokenizers["radar"].patchify(batch["radar"])
    whole = model.tokenizers["radar"].unpatchify(patches.values, patches.grid)
    assert torch.equal(whole, batch["radar"].silenced().values)
    learn(model, batch)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("masking.radar.use=mylab.masks", "a car is"),
        ("masking.radar.use=mylab.trunks.Looped", "is not a subclass of Masking"),
        ("masking.radar.use=mylab.nowhere.Spiral", "cannot import the masking of 'mylab.nowhere.Spiral'"),
        ("masking.radar.use=mylab.trunks", "mylab.trunks must define one masking, it has 0"),
        ("modalities.radar.use=mylab.masks", "name a package with a module reader.py"),
        ("modalities.radar.use=mylab.radar.reader.RadarReader", "is not a subclass of Tokenizer"),
        ("modalities.radar.bins=a", "modalities.radar.bins"),
        ("modalities.radar.bin=64", "did you mean 'bins'?"),
    ],
)
def test_a_dotted_name_of_the_wrong_kind_is_refused(mylab, change, told):
    def load() -> Recipe:
        return Recipe.load(mylab / "mylab" / "radar.yaml", [change])

    if told == "a car is":  # a module stands for the one class of the kind that it defines
        assert type(load().build().masking.maskings["radar"]).__name__ == "Fovea"
        return
    with pytest.raises(RecipeError, match=re.escape(told)):
        load()


# What the other pages show


@pytest.mark.parametrize("page", [page for page in PAGES if page != "adding.md" and not page.startswith("guide-")])
def test_the_python_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    text = "\n".join(blocks(page, "python"))
    if "runs/default-video-text" in text:
        Recipe.load("default", modalities=["video", "text"]).build().save_pretrained("runs/default-video-text")
    if '"clips"' in text:
        Path("clips").mkdir()
        media.write_film(Path("clips/one.mp4"), [media.coded(i) for i in range(40)], rate=16)
    if "mmmae.train(" in text:
        for number in range(3):
            shutil.copy("clips/one.mp4", f"clips/{number}.mp4")
    if ">>>" not in text:
        exec(compile(text, page, "exec"), {"__name__": page})
        return
    told: list[str] = []
    session = doctest.DocTestParser().get_doctest(text, {}, page, str(PAGES[page]), 0)
    assert doctest.DocTestRunner().run(session, out=told.append).failed == 0, "".join(told)


@pytest.mark.parametrize("text", blocks("recipes.md", "yaml"))
def test_a_recipe_that_is_shown_builds(text, tmp_path):
    file = tmp_path / "shown.yaml"
    file.write_text(text)
    recipe = Recipe.load(file, ["modalities.imu.sensors=3"])
    assert recipe.build()(recipe.example(batch_size=2)).total.isfinite()


def test_rows_that_are_shown_are_read(tmp_path):
    for language in ("jsonl", "csv"):
        (text,) = blocks("data.md", language)
        file = tmp_path / f"manifest.{language}"
        file.write_text(text)
        found = [cells.check(row, kinds.HOUSE, place) for place, row in rows.read(*rows.locate(file))]
        assert len(found) > 1 and all(found)
    (text,) = blocks("data.md", "csv imu")
    file = tmp_path / "imu.csv"
    file.write_text(text)
    shown = load(str(file))
    assert shown.names == ["wrist", "hip"] and shown.channels == ["ax", "ay", "az", "gx", "gy", "gz"]
    assert {len(group.times): {sensor for sensor, _ in group.places} for group in shown.groups} == {2: {0}, 1: {1}}


# What pages quote


def quoted(page: str) -> list[str]:
    """The commands of a page or of a recipe's header."""
    if page.endswith(".yaml"):
        lines = (ROOT / "configs" / page).read_text().splitlines()
        return [line.strip("# ") for line in lines if "mmmae/train.py" in line]
    return "\n".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()


@pytest.mark.parametrize("page", [*PAGES, *(f"{name}.yaml" for name in recipes.names())])
def test_the_commands_of_a_page_are_understood(page, mylab, monkeypatch):
    monkeypatch.chdir(mylab)
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for line in quoted(page):
        words = shlex.split(line, comments=True)
        while words and re.match(r"[A-Z_]+=", words[0]):
            words.pop(0)
        if "mmmae/train.py" in words:
            understand("train", words[words.index("mmmae/train.py") + 1 :])
        elif words[:1] == ["mmmae"]:
            understand(words[1], words[2:])
        elif words[:1] == ["make"]:
            assert words[1] in targets, line


def understand(command: str, words: list[str]) -> None:
    """Parse a command as it would be, and load the recipe that it names."""
    if command == "train":
        arguments = training_parser().parse_intermixed_args(words)
        Recipe.load(arguments.recipe, overrides_of(arguments), listed(arguments.modalities))
        return
    parser = argparse.ArgumentParser(exit_on_error=False)
    import_module(COMMANDS[command][0]).add_arguments(parser)
    arguments = parser.parse_intermixed_args(words)
    if command == "check":
        overrides = [word for word in arguments.overrides if "=" in word]
        Recipe.load(arguments.recipe, overrides, listed(arguments.modalities))
    if command == "corpus" and arguments.name:
        assert arguments.name in corpora.names()


@every_page
def test_links_lead_somewhere(page):
    text = FENCED.sub("", PAGES[page].read_text(encoding="utf-8"))
    for link in LINK.findall(text):
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (PAGES[page].parent / path).resolve() if path else PAGES[page]
        assert target.exists(), link
        if anchor:
            titles = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles], link
