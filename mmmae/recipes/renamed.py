"""Names that recipes had before: they still load, with a warning that gives the new one."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

OBJECTIVES = {"sampling": "mask_policy", "guidance": "mask_guidance"}
NORMS = {"n0": "none", "n1": "patch_channel", "n2": "patch"}


def renamed(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe with today's names; every older one is warned of."""
    objectives = tree.get("objectives")
    if not isinstance(objectives, Mapping):
        return dict(tree)
    found: dict[Any, Any] = {}
    for name, settings in objectives.items():
        if (new := OBJECTIVES.get(name, name)) != name:
            warn(f"objectives.{name}", f"objectives.{new}")
        if isinstance(settings, Mapping) and "normalise" in settings:
            norms = settings["normalise"]
            key = f"objectives.{new}.normalise"
            settings = {**settings, "normalise": norm(norms, key) if not isinstance(norms, Mapping) else {
                stream: norm(one, f"{key}.{stream}") for stream, one in norms.items()
            }}  # fmt: skip
        found[new] = settings
    return {**tree, "objectives": found}


def norm(name: Any, key: str) -> Any:
    new = NORMS.get(name, name) if isinstance(name, str) else name
    if new != name:
        warn(f"{key}={name}", f"{key}={new}")
    return new


def warn(old: str, new: str) -> None:
    warnings.warn(f"recipe: `{old}` is now called `{new}`", FutureWarning, stacklevel=4)
