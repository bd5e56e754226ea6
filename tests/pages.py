"""The pages of the docs, for tests that run, follow and read them."""

from __future__ import annotations

import re

from places import ROOT

PAGES = {page.name: page for page in [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"] if page.is_file()}
FENCED = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
