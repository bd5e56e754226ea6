"""Where tests find the repository, and the recordings of people that once were read wrongly."""

from pathlib import Path

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
CASES = TESTS / "cases"
