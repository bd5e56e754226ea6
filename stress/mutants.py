"""Change the source in one small place at a time and see whether the tests notice (mutation testing).

    python stress/mutants.py [FILE ...] [--each 12] [--seed 0] [--seconds 60] [--output mutants.json]
    python stress/mutants.py --report mutants.json

Works in a copy of the tracked files. First the tests run once under a tracer, which notes the lines that each of them
runs and how long it takes. Then `--each` mutants of every file, drawn at random, are tested by the tests that run their
statement, one of each function and the quickest first, until one fails or hangs (killed), all have passed (survived) or
`--seconds` are over (limit). Processes are forked from one that has loaded the libraries. Mutated are operators,
comparisons, constants, conditions, returned values, keyword arguments and statements; not annotations, docstrings,
messages of errors, assertions or imports.
"""

from __future__ import annotations

import argparse
import ast
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "HYPOTHESIS_STORAGE_DIRECTORY": tempfile.mkdtemp(prefix="hypothesis-")}
ROOT = Path(__file__).resolve().parents[1]
FILES = ["fusion", "mmmae/objectives", "mmmae/training/optim.py", "mmmae/probe/metrics.py"]
TESTS = [
    "tests/fusion", "tests/objectives", "tests/training/test_optim.py", "tests/probe/test_metrics.py",
    "tests/test_laws.py", "tests/test_parity.py", "tests/systems",
]  # fmt: skip
TIMES = itertools.count(1)  # seconds
SLOW = 20.0  # seconds of a test that is left out
COMPARED = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
COMPUTED = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One change of one file.

    span: first and last line of the statement; of the function for its defaults and decorators; 0 for the module.
    place: the fields and indices that lead from the module to the node that is replaced.
    """

    file: str
    line: int
    span: tuple[int, int]
    place: tuple[Any, ...]
    node: ast.AST | None  # None: the field is emptied, or the statement becomes `pass`
    change: str

    def source(self, root: Path) -> str:
        tree = ast.parse((root / self.file).read_text())
        holder: Any = tree
        for step in self.place[:-1]:
            holder = holder[step] if isinstance(step, int) else getattr(holder, step)
        last = self.place[-1]
        if isinstance(last, int) and self.node is None:
            del holder[last]
        elif isinstance(last, int):
            holder[last] = self.node
        else:
            setattr(holder, last, self.node)
        return ast.unparse(ast.fix_missing_locations(tree))


def replacements(node: ast.AST, known: set[str]) -> Iterator[ast.AST]:
    """What may stand in the place of a node; `known` are the names that its function has assigned before."""
    match node:
        case ast.Compare(left, [operator], right):
            yield ast.Compare(left, [COMPARED[type(operator)]()], right)
        case ast.BinOp(left, operator, right) if type(operator) in COMPUTED:
            yield ast.BinOp(left, COMPUTED[type(operator)](), right)
        case ast.AugAssign(target, operator, value):
            if type(operator) in COMPUTED:
                yield ast.AugAssign(target, COMPUTED[type(operator)](), value)
            yield ast.Pass()
        case ast.UnaryOp(ast.Not() | ast.USub() | ast.Invert(), operand):
            yield operand
        case ast.BoolOp(operator, values):
            yield ast.BoolOp(ast.Or() if isinstance(operator, ast.And) else ast.And(), values)
        case ast.Constant(bool() as value):
            yield ast.Constant(not value)
        case ast.Constant(int() as value):
            yield ast.Constant(value + 1)
        case ast.Constant(float() as value):
            yield ast.Constant(value * 2 if value else 1.0)
        case ast.IfExp(_, body, other):
            yield body
            yield other
        case ast.If(test, body, other):
            yield ast.If(ast.UnaryOp(ast.Not(), test), body, other)
        case ast.Return(value) if value is not None and not (isinstance(value, ast.Constant) and value.value is None):
            yield ast.Return(ast.Constant(None))
        case ast.Expr(ast.Call() | ast.Await()) | ast.Raise():
            yield ast.Pass()
        case ast.Assign([ast.Name(name)]) if name in known:
            yield ast.Pass()


def mutants(file: str, source: str) -> list[Mutant]:
    """Every change of a file that is tried."""
    found: list[Mutant] = []

    def visit(node: ast.AST, place: tuple[Any, ...], known: set[str], span: tuple[int, int], inside: bool) -> None:
        if isinstance(node, (ast.Assert, ast.Import, ast.ImportFrom)) or getattr(node, "name", "") == "__repr__":
            return
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):  # a docstring
            return
        if isinstance(node, ast.FunctionDef):
            known = {argument.arg for argument in node.args.args + node.args.kwonlyargs}
            span, inside = (node.lineno, node.end_lineno or node.lineno), True
        elif isinstance(node, ast.stmt) and inside:
            body = getattr(node, "body", None)
            span = node.lineno, max(node.lineno, body[0].lineno - 1) if body else node.end_lineno or node.lineno
        for other in replacements(node, known):
            found.append(Mutant(file, node.lineno, span, place, other, describe(node, other)))  # type: ignore[attr-defined]
        if isinstance(node, ast.Raise):  # nothing in its message
            return
        if isinstance(node, ast.Call):
            for index, keyword in enumerate(node.keywords):
                if keyword.arg and ast.unparse(node.func) not in ("dataclass", "replace"):
                    change = f"{ast.unparse(node)[:60]}: without {keyword.arg}"
                    found.append(Mutant(file, keyword.lineno, span, (*place, "keywords", index), None, change))
        for field, value in ast.iter_fields(node):
            if field in ("annotation", "returns", "type_params"):
                continue
            if isinstance(value, ast.AST):
                visit(value, (*place, field), known, span, inside)
            elif isinstance(value, list):
                for index, one in enumerate(value):
                    if isinstance(one, ast.AST):
                        visit(one, (*place, field, index), known, span, inside)
        if isinstance(node, ast.Assign):
            known |= {inner.id for target in node.targets for inner in ast.walk(target) if isinstance(inner, ast.Name)}

    visit(ast.parse(source), (), set(), (0, 0), False)
    return found


def describe(node: ast.AST, other: ast.AST) -> str:
    if isinstance(node, ast.If) and isinstance(other, ast.If):
        node, other = node.test, other.test
    before, after = (" ".join(ast.unparse(one).split())[:100] for one in (node, other))
    return f"{before}  ->  {after}"


# Running tests in forked processes


def load_libraries() -> None:
    """Import what tests need, but nothing of the house."""
    import accelerate  # noqa: F401
    import scipy.stats  # noqa: F401
    import torch
    from transformers import BertConfig, BertModel, VideoMAEForPreTraining, ViTMAEForPreTraining  # noqa: F401

    torch.set_num_threads(1)
    house = [name for name in sys.modules if name.partition(".")[0] in ("mmmae", "fusion", "modalities")]
    assert not house, house


class Traced:
    """A plugin of pytest: the lines of some files that each test runs, and its seconds."""

    def __init__(self, tree: Path, files: list[str]):
        self.known = {str(tree / file): file for file in files}
        self.lines: dict[str, dict[str, list[int]]] = {}
        self.seconds: dict[str, float] = {}
        self.failed: list[str] = []

    def pytest_runtest_protocol(self, item, nextitem) -> None:
        self.current: dict[str, set[int]] = defaultdict(set)
        self.began = time.monotonic()
        sys.settrace(self.call)

    def call(self, frame, event, argument):
        file = self.known.get(frame.f_code.co_filename)
        if file is None:
            return None
        lines = self.current[file]

        def line(frame, event, argument):
            lines.add(frame.f_lineno)
            return line

        lines.add(frame.f_lineno)
        return line

    def pytest_runtest_logreport(self, report) -> None:
        if report.failed:
            self.failed.append(report.nodeid)

    def pytest_runtest_logfinish(self, nodeid, location) -> None:
        sys.settrace(None)
        self.seconds[nodeid] = time.monotonic() - self.began
        self.lines[nodeid] = {file: sorted(lines) for file, lines in self.current.items()}


class Limits:
    """A plugin of pytest: write down which test runs, and begin none some seconds after the first."""

    def __init__(self, note: Path, seconds: float):
        self.note, self.seconds, self.end = note, seconds, float("inf")

    def pytest_configure(self, config) -> None:  # after conftest.py, before the tests are imported
        from hypothesis import Phase, settings

        settings.register_profile("mutants", settings.default, phases=[Phase.explicit, Phase.generate])  # no shrinking
        settings.load_profile("mutants")

    def pytest_collection_finish(self, session) -> None:
        self.end = time.monotonic() + self.seconds

    def pytest_runtest_logstart(self, nodeid, location) -> None:
        self.note.write_text(nodeid)

    def pytest_runtest_protocol(self, item, nextitem):
        if time.monotonic() > self.end:
            os._exit(0)


def forked(tree: Path, arguments: list[str], plugin: Any, finish: Any, log: Path, seconds: float) -> int | None:
    """Exit code of pytest in a process of its own; None when it had to be killed."""
    process = os.fork()
    if not process:
        code = 3
        try:
            os.setsid()
            os.chdir(tree)
            sys.path[:0] = [str(tree), str(tree / "tests")]
            os.environ["PYTHONPATH"] = str(tree)
            out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(out, 1)
            os.dup2(out, 2)
            import pytest

            options = ["-x", "-q", "--tb=line", "--assert=plain", "-p", "no:cacheprovider", "-p", "no:xdist"]
            code = int(pytest.main([*options, *arguments], plugins=[plugin]))
            finish(plugin)
        finally:
            os._exit(code)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.killpg(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return None


def copied(folder: Path) -> Path:
    """A copy of the tracked files, as they are now."""
    tree = folder / "tree"
    for name in subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines():
        if (ROOT / name).exists():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tree / name, follow_symlinks=False)
    return tree


def coverage(tree: Path, files: list[str], tests: list[str], folder: Path) -> dict[str, Any]:
    kept = folder / "coverage.json"

    def finish(plugin: Traced) -> None:
        kept.write_text(json.dumps({"lines": plugin.lines, "seconds": plugin.seconds, "failed": plugin.failed}))

    code = forked(tree, [*tests, "--maxfail=100"], Traced(tree, files), finish, folder / "coverage.log", 3600)
    if not kept.exists():
        sys.exit(f"the tests did not run (exit {code}):\n{(folder / 'coverage.log').read_text()[-3000:]}")
    found = json.loads(kept.read_text())
    if found["failed"]:
        print("fail without any change, and are left out:", *found["failed"], sep="\n  ")
    return found


def judged(one: Mutant, tree: Path, covered: dict[str, Any], folder: Path, seconds: float) -> dict[str, Any]:
    """What became of a mutant: `killed` (by which test), `survived`, `limit` (tests were left over) or `not run`."""
    costs, out = covered["seconds"], set(covered["failed"])
    first, last = one.span if one.span[1] else (0, sys.maxsize)
    tests = [t for t, lines in covered["lines"].items() if any(first <= n <= last for n in lines.get(one.file, ()))]
    tests = sorted((t for t in tests if costs[t] < SLOW and t not in out), key=lambda test: costs[test])
    record = {"file": one.file, "line": one.line, "change": one.change, "tests": len(tests), "by": ""}
    if not tests:
        return record | {"state": "not run"}
    # Several tests of one parametrised function seldom see different things: one of each first.
    each: dict[str, str] = {}
    for test in tests:
        each.setdefault(test.partition("[")[0], test)
    tests = [*each.values(), *(test for test in tests if test not in set(each.values()))]
    path, note = tree / one.file, folder / "running"
    before = path.read_text()
    try:
        write(path, one.source(tree))
        limits, ended = Limits(note, seconds), folder / "ended"
        code = forked(tree, tests, limits, lambda plugin: ended.touch(), folder / "mutant.log", seconds + 3 * SLOW)
    finally:
        write(path, before)
    if code == 0:
        ended = (folder / "ended").exists()
        (folder / "ended").unlink(missing_ok=True)
        return record | {"state": "survived" if ended else "limit"}
    (folder / "ended").unlink(missing_ok=True)
    by = note.read_text() if note.exists() else "collection"
    note.unlink(missing_ok=True)
    return record | {"state": "killed", "by": by + (" (hangs)" if code is None else "")}


def write(path: Path, source: str) -> None:
    """Change a file, with a time that no version of it had before, so that no compiled one is taken for this."""
    path.write_text(source)
    os.utime(path, (now := next(TIMES), now))


def report(results: list[dict[str, Any]]) -> None:
    """A table in Markdown, and every mutant that was not killed."""
    print("| file | mutants | killed | survived | no test runs the line |\n|---|---|---|---|---|")
    files = sorted({one["file"] for one in results})
    for file in [*files, ""]:
        states = [one["state"] for one in results if not file or one["file"] == file]
        lived = sum(state in ("survived", "limit") for state in states)
        name = f"`{file}`" if file else "all"
        print(f"| {name} | {len(states)} | {states.count('killed')} | {lived} | {states.count('not run')} |")
    for one in results:
        if one["state"] != "killed":
            print(f"{one['file']}:{one['line']} {one['state']} ({one['tests']} tests)  {one['change']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="*", default=FILES)
    parser.add_argument("--tests", nargs="*", default=TESTS)
    parser.add_argument("--each", type=int, default=12, help="mutants of each file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=60, help="for the tests of one mutant")
    parser.add_argument("--only", default="", help="only mutants whose FILE:LINE CHANGE contains this")
    parser.add_argument("--output", type=Path, default=Path("mutants.json"))
    parser.add_argument(
        "--coverage", type=Path, help="take from this folder what an earlier run found, or leave it there"
    )
    parser.add_argument("--report", type=Path, help="print the table of an earlier run")
    arguments = parser.parse_args()
    if arguments.report:
        return report(json.loads(arguments.report.read_text()))
    paths = [ROOT / name for name in arguments.files]
    files = [
        str(p.relative_to(ROOT)) for path in paths for p in (sorted(path.rglob("*.py")) if path.is_dir() else [path])
    ]
    load_libraries()
    folder = Path(tempfile.mkdtemp(prefix="mutants-"))
    tree, results = copied(folder), []
    try:
        notes = arguments.coverage or folder
        notes.mkdir(parents=True, exist_ok=True)
        kept = notes / "coverage.json"
        covered = json.loads(kept.read_text()) if kept.exists() else coverage(tree, files, arguments.tests, notes)
        chosen: list[Mutant] = []
        for file in files:
            every = mutants(file, (tree / file).read_text())
            drawn = random.Random(f"{arguments.seed} {file}").sample(every, len(every))
            chosen += [m for m in drawn if arguments.only in f"{m.file}:{m.line} {m.change}"][: arguments.each]
        random.Random(arguments.seed).shuffle(chosen)
        for number, one in enumerate(chosen):
            began = time.monotonic()
            results.append(judged(one, tree, covered, folder, arguments.seconds))
            what = f"{results[-1]['state']:8} {time.monotonic() - began:5.1f} s"
            print(
                f"{number + 1}/{len(chosen)} {what} {one.file}:{one.line} {one.change} {results[-1]['by']}", flush=True
            )
            arguments.output.write_text(json.dumps(results, indent=1))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    report(results)


if __name__ == "__main__":
    main()
