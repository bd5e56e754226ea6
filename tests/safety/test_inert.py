"""The source holds nothing that could run what a file contains."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest
from places import ROOT

FILES = [
    path
    for room in ("modalities", "fusion", "mmmae", "benchmarks", "stress")
    for path in sorted((ROOT / room).rglob("*.py"))
]
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle"}
CALLS = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "os.execv", "os.execvp", "yaml.load",
    "yaml.unsafe_load", "yaml.full_load", "tarfile.open", "zipfile.ZipFile", "shutil.unpack_archive",
}  # fmt: skip
SETTINGS = {("weights_only", False), ("allow_pickle", True), ("trust_remote_code", True), ("shell", True)}
REQUIRED = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
}
ALLOWED = {
    ("mmmae/corpora/hapt.py", "pickle"): "its Unpickler makes inert records of whatever a pickle names",
    ("mmmae/convert/files.py", "pickle"): "names the error by which torch refuses a pickle that runs code",
}


def found(source: str) -> Iterator[str]:
    """What in some source could run what a file contains."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from {alias.name.partition(".")[0] for alias in node.names} & MODULES
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from {node.module.partition(".")[0]} & MODULES
            yield from {f"{node.module}.{alias.name}" for alias in node.names} & CALLS
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            given = {word.arg: getattr(word.value, "value", None) for word in node.keywords}
            if name in CALLS:
                yield name
            yield from (f"{key}={value}" for key, value in SETTINGS if given.get(key) is value)
            if name in REQUIRED and given.get(REQUIRED[name][0]) is not REQUIRED[name][1]:
                yield f"{name} without {REQUIRED[name][0]}"
            if (
                name.endswith("from_pretrained")
                and name.startswith("Auto")
                and given.get("trust_remote_code") is not False
            ):
                yield f"{name} without trust_remote_code"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_here_runs_what_a_file_contains(path):
    name = path.relative_to(ROOT).as_posix()
    assert [what for what in found(path.read_text()) if (name, what) not in ALLOWED] == []


def test_every_exception_is_still_one():
    for name, what in ALLOWED:
        assert what in found((ROOT / name).read_text())


@pytest.mark.parametrize(
    "line",
    [
        "import pickle", "from joblib import load", "eval('1')", "torch.load(x)", "torch.load(x, weights_only=False)",
        "np.load(x)", "np.load(x, allow_pickle=True)", "import os\nos.system('x')", "from os import system",
        "subprocess.run('x', shell=True)", "yaml.load(x)", "AutoModel.from_pretrained(x)",
        "AutoModel.from_pretrained(x, trust_remote_code=True)", "tarfile.open(x)",
    ],
)  # fmt: skip
def test_each_is_seen(line):
    assert list(found(line))
