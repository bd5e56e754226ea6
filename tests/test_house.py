"""The house stays in order: which room may import which, what starts quickly, what no step may do."""

from __future__ import annotations

import ast
import doctest
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import tiny
import torch
from no_sync import NoSync
from places import ROOT

from mmmae.recipes import files as recipes
from mmmae.recipes.lookup import names

ROOMS = ("modalities", "fusion", "mmmae")
FILES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
every_file = pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))


def imported(path: Path) -> set[str]:
    """Every package whose name a file imports, anywhere in it."""
    return packages(ast.parse(path.read_text()))


def packages(tree: ast.AST) -> set[str]:
    nodes = list(ast.walk(tree))
    found = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    found |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    return {name.partition(".")[0] for name in found}


def used(path: Path) -> set[str]:
    """Every package that a file imports for more than the names of types."""
    tree = ast.parse(path.read_text())
    typed = [node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    for node in typed:
        node.body = [ast.Pass()]
    return packages(tree)


def module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def import_graph(files: Mapping[str, str]) -> dict[str, set[str]]:
    """Which files (module: source) each of them imports, anywhere in it: in functions and for types, too."""
    graph: dict[str, set[str]] = {name: set() for name in files}
    for name, source in files.items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                graph[name] |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                graph[name] |= inner if inner & files.keys() else {node.module}
        graph[name] &= files.keys()
    return graph


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """The files of a circle of imports; none where there is none."""
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        return error.args[1]
    return []


def requirements() -> set[str]:
    """The import names of the dependencies that pyproject.toml names."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    wanted = {line.partition(">")[0].strip().lower().replace("_", "-") for line in wanted}
    homes = packages_distributions().items()
    found = {package for package, owners in homes for owner in owners if owner.lower().replace("_", "-") in wanted}
    assert {"torch", "av", "sklearn", "torch_geometric"} <= found
    return found


# Arrows and names


def test_no_circle_of_imports():
    assert not circle(import_graph({module(path): path.read_text() for path in FILES}))


@pytest.mark.parametrize(
    "back",
    [
        "from mmmae.b import f",
        "from mmmae import b",
        "import mmmae.b",
        "def f():\n    from mmmae.b import f",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from mmmae.b import F",
    ],
)
def test_a_circle_is_seen_wherever_it_is_imported(back):
    files = {"mmmae": "", "mmmae.b": "from mmmae.c import x", "mmmae.c": "import torch\n" + back}
    assert set(circle(import_graph(files))) == {"mmmae.b", "mmmae.c"}
    assert not circle(import_graph(files | {"mmmae.c": "import torch"}))


@every_file
def test_arrows_point_downwards(path):
    room = path.relative_to(ROOT).parts[0]
    above = set(ROOMS[ROOMS.index(room) + 1 :])
    assert not imported(path) & above
    if room != "mmmae":
        assert not imported(path) & {"accelerate"}


def test_only_where_processes_meet_is_accelerate_known():
    users = {p.relative_to(ROOT).as_posix() for p in FILES if "accelerate" in used(p)}
    # the training loop; the evaluations; the doctor, which tries every dependency
    assert users <= {"mmmae/train.py", "mmmae/parallel/ranks.py", "mmmae/commands/doctor.py"}


@every_file
def test_a_file_is_short_and_has_a_name_of_its_own(path):
    assert path.stem not in ("utils", "common", "misc", "helpers")
    assert len(path.read_text().splitlines()) <= 300


def test_no_file_beside_the_trainer_shadows_a_library():
    """`accelerate launch mmmae/train.py` puts mmmae/ first on the path."""
    beside = {
        path.stem for path in (ROOT / "mmmae").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert not beside & (set(sys.stdlib_module_names) | requirements())


@pytest.mark.parametrize(
    "path",
    [
        *(ROOT / "mmmae" / name for name in ("model.py", "build.py", "example.py", "probe/splits.py")),
        *(p for p in FILES if p.parent.name in ("objectives", "data", "recipes", "training") or "fusion" in p.parts),
    ],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_no_code_path_asks_which_modalities_there_are(path):
    known = set(names("tokenizer"))
    tree = ast.parse(path.read_text())
    assert not {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)} & known
    assert not imported(path) - {"modalities"} & known
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {
        module for module in modules if module and module.startswith(tuple(f"modalities.{name}" for name in known))
    }


# What starts quickly


def fresh(code: str) -> str:
    """What a new interpreter prints."""
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert run.returncode == 0, run.stderr
    return run.stdout


def loaded(code: str, packages: tuple[str, ...]) -> set[str]:
    """Which of some packages are in memory after running a line of code."""
    return set(fresh(f"import sys\n{code}\nprint(*(p for p in {packages!r} if p in sys.modules))").split())


HEAVY = ("torch", "transformers", "torch_geometric", "librosa", "datasets", "accelerate", "av", "matplotlib", "sklearn")


def test_import_mmmae_is_light():
    assert not loaded("import mmmae", HEAVY)
    seconds = float(fresh("import time; t = time.process_time(); import mmmae; print(time.process_time() - t)"))
    assert seconds < 1


@pytest.mark.parametrize("name", names("tokenizer"))
def test_a_modality_stands_alone(name):
    """Its tokenizer needs torch and its own libraries, neither the rest of the house nor those of its neighbours."""
    others = {"mmmae", "fusion", *(f"modalities.{other}" for other in names("tokenizer") if other != name)}
    cls = next(c for c in import_module(f"modalities.{name}").__all__ if c.endswith("Tokenizer"))
    code = f"from modalities.{name} import {cls}; {cls}(32)"
    assert not loaded(code, (*others, "transformers", "torch_geometric", "librosa", "datasets", "accelerate", "av"))


def test_only_who_has_a_body_graph_loads_torch_geometric():
    code = "from mmmae import Recipe; r = Recipe.load('default', ['size=tiny'], {}); r.build()"
    heavy = ("torch_geometric", "librosa", "datasets", "transformers")
    assert not loaded(code.format(["video", "text"]), heavy)


# What is written down works


@pytest.mark.parametrize("name", names("tokenizer"))
def test_the_example_of_a_tokenizer_runs(name):
    module = import_module(f"modalities.{name}.tokenizer")
    context = {"torch": torch, "Signal": import_module("modalities.records").Signal}
    result = doctest.testmod(module, extraglobs=context)
    assert result.attempted and not result.failed


# What no step may do


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize(
    "name", [*recipes.names(), "masking budget", "masking synchronous", "masking block", "objective matching"]
)
def test_a_step_never_waits_for_the_device(name, ragged):
    recipe = tiny.tiny(*tiny.SYSTEMS[name])
    model, batch = recipe.build(), recipe.example(batch_size=3, ragged=ragged)
    with NoSync():
        model(batch).total.backward()


def test_a_forbidden_operation_is_seen():
    for operation in (lambda x: x.sum().item(), lambda x: x[x > 0], lambda x: x.nonzero()):
        with pytest.raises(AssertionError), NoSync():
            operation(torch.ones(3))
