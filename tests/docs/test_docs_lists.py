"""What the docs list is all there is: parts and their keys, sections, recipes, sizes, columns, corpora."""

from __future__ import annotations

import json
import re

import pytest
from pages import FENCED, PAGES

from fusion.projector import Projector
from fusion.sizes import SIZES
from mmmae import Recipe, corpora
from mmmae.data import cells
from mmmae.data.kinds import HOUSE
from mmmae.objectives import Objective
from mmmae.recipes import files as recipes
from mmmae.recipes.lookup import find, names, signature
from mmmae.recipes.sections import SIZED, Data, Optimizer, Section, Training


def section(page: str, title: str) -> str:
    """What stands below a heading, up to the next one of its rank or above."""
    text = FENCED.sub("", PAGES[page].read_text(encoding="utf-8"))
    ahead, _, below = text.partition(f"# {title}\n")
    rank = len(ahead) - len(ahead.rstrip("#")) + 1
    return re.split(rf"^#{{1,{rank}}} ", below, maxsplit=1, flags=re.MULTILINE)[0]


def table(page: str, title: str) -> dict[str, str]:
    """The rows below a heading by each name (in backticks) that their first cell holds."""
    lines = re.findall(r"^\| (.*?) \|(.*)$", section(page, title), re.MULTILINE)
    return {name: rest for cell, rest in lines for name in re.findall(r"`(\w+)`", cell)}


def written(value: object) -> str:
    """A setting as the recipe's YAML has it."""
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(map(written, value))}]"
    return f"{value:.4g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)


def require_keys(kind: str, name: str, cell: str) -> None:
    """Every setting of a part stands in a cell of the docs, with its default if it has one of its own."""
    told = re.findall(r"`([^`]+)`", cell)
    for key, parameter in signature(find(kind, name, name)).items():
        if key == "maskings":  # the house gives them
            continue
        sized = kind in ("trunk", "decoder") and key in SIZED
        assert (key if sized or parameter.default is parameter.empty else f"{key}={written(parameter.default)}") in told


@pytest.mark.parametrize("kind", ["masking", "joint masking", "trunk", "decoder", "codes", "teacher", "objective"])
def test_every_part_and_every_key_of_it_is_listed(kind):
    known = table("recipes.md", kind.capitalize())
    assert sorted(known) == names(kind)
    for name in names(kind):
        require_keys(kind, name, known[name])


def test_every_key_of_a_projector_is_listed():
    told = re.findall(r"`([^`]+)`", section("recipes.md", "Projector"))
    for key, parameter in signature(Projector).items():
        assert f"{key}={written(parameter.default)}" in told


def test_everything_that_an_objective_may_declare_is_listed():
    public = {name for name in vars(Objective) if not name.startswith("_")} - {"forward", "weigh"}
    assert set(table("adding.md", "What an objective may declare")) - {"optimizer"} == public


def test_every_modality_and_every_key_of_it_is_listed():
    for title, kinds in {"Modalities": ("reader", "tokenizer"), "Augment": ("augmentation",)}.items():
        known = table("recipes.md", title)
        assert sorted(known) == names(kinds[0])
        for name in known:
            columns = known[name].strip(" |").split("|")
            for kind, cell in zip(kinds, columns, strict=True):
                require_keys(kind, name, cell)


@pytest.mark.parametrize("model", [Data, Optimizer, Training])
def test_every_key_of_a_section_is_listed(model: type[Section]):
    told = re.findall(r"`([^`]+)`", section("recipes.md", model.__name__))
    for name, field in model.model_fields.items():
        assert f"{name}={written(field.default)}" in told


def test_every_recipe_is_listed():
    known = table("recipes.md", "The recipes")
    assert sorted(known) == recipes.names()
    for name, row in known.items():
        assert f"| {', '.join(Recipe.load(name).streams)} |" in row


def test_sizes_columns_and_corpora_are_listed():
    known = table("recipes.md", "Anatomy")
    assert {name: row.strip(" |").split(" | ") for name, row in known.items()} == {
        name: [", ".join(map(str, numbers)) for numbers in both] for name, both in SIZES.items()
    }
    assert set(table("data.md", "Manifest")) == {column for column in cells.cells_of(tuple(HOUSE.values()))}
    assert sorted(table("data.md", "Corpora")) == sorted(corpora.names())
