"""Mutants: one constant or comparison of the files that judge is changed at a time, and the tests have to notice.

    python -m tests.mutate                                    every mutant: hours
    python -m tests.mutate kernels/replay --sample 60         sixty of one file
    python -m tests.mutate findings causes --sample 60 --seed 2
    python -m tests.mutate --again                            once more those that survived, after new tests

What judges are the kernels behind ``track`` and ``replay``, the rules and the causes. A mutant is tried in a process of
its own, in which the changed text stands in the place of the file; a kernel's mutant runs uncompiled, so nothing is
built. The tests that cover the file run up to the first that fails: of rules and causes those about its kinds, and of
all only those that need no fixture. What was tried stands in ``build/mutants.jsonl``, and is not tried again.
"""

from __future__ import annotations

import argparse
import ast
import fnmatch
import importlib
import inspect
import json
import os
import re
import resource
import signal
import sys
import time
from collections import Counter, defaultdict
from importlib.machinery import SourceFileLoader
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

import hypothesis  # noqa: F401  once, not in each process; so are the tests' other needs
import pytest

from tcptrace_fsm.causes import CAUSES
from tcptrace_fsm.core import engine  # noqa: F401
from tcptrace_fsm.findings import CATALOGUE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "tcptrace_fsm"
RESULTS = ROOT / "build" / "mutants.jsonl"

# Kernels that others call and that judge nothing.
CARRIERS = {"memory", "moving", "sequence", "table", "wireshark", "zeek"}
# Kernels that are reached from ``track`` and have tests of their own.
APART = {
    "waits": ("test_waits", "test_waits_windows"),
    "turns": ("test_waits", "test_waits_windows"),
    "intervals": ("test_waits", "test_waits_windows"),
}
# What only says how tables and pages are made of it, or runs it.
RUNNERS = {"__init__", "groups", "keys", "rule", "running", "survey", "view", "whole_capture", "case", "cause", "world"}

KERNEL_TESTS = {
    "replay": (
        *("test_fingerprint", "test_stack_truth", "test_stacks", "test_kernel_truth"),  # the quickest first
        *("test_at_the_host", "test_kernel_judgement", "test_microlab", "test_replay"),
    ),
    "track": ("test_track", "test_marks", "test_copies", "test_microlab", "test_kernel_judgement"),
}
RULE_TESTS = ("test_rule_limits", "test_anomalies", "test_surveys")
CAUSE_TESTS = (
    *("test_causes", "test_causes_kinds", "test_causes_opening"),
    *("test_causes_leaving", "test_causes_company", "test_talks"),
)

PAIRS = (("<", "<="), (">", ">="), ("==", "!="), ("in", "not in"), ("is", "is not"))
SWAPPED = {**dict(PAIRS), **{other: one for one, other in PAIRS}}
OPERATORS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq, ast.In, ast.NotIn, ast.Is, ast.IsNot)
WORDS = dict(zip(OPERATORS, (word for pair in PAIRS for word in pair), strict=True))
BITS = (ast.LShift, ast.RShift, ast.BitAnd, ast.BitOr, ast.BitXor)
NAMED = {*CATALOGUE, *CAUSES}  # every kind of finding and every cause
DECLARED = {"RULES", "SURVEYS", "CAUSES", "__all__"}  # their texts and examples judge nothing


class Mutant(NamedTuple):
    """A change to one place of one file.

    Attributes
    ----------
    file : str
        Its path in the package, without suffix.
    line, column : int
    was, becomes : str
    code : str
        The line as it stands.
    """

    file: str
    line: int
    column: int
    was: str
    becomes: str
    code: str

    @property
    def key(self) -> str:
        """What it is known by from one run to the next: not by its line, which moves."""
        return f"{self.file}|{self.code}|{self.column}|{self.was}|{self.becomes}"


# --- places -----------------------------------------------------------------------------------------------------------


def judged(node: ast.AST, *, constants: bool = True) -> Iterator[tuple[ast.expr, ast.expr | None, str]]:
    """Places below a node: a constant; or the left and right sides of a comparison, with its operator.

    Which word of a record is meant, what is only shown, and masks and shifts are no judgement.
    """
    if isinstance(node, ast.Compare):
        left = node.left
        for operator, right in zip(node.ops, node.comparators, strict=True):
            # No two segments have one frame: "before" is "before or at".
            if not all(ast.unparse(side).endswith(".frame") for side in (left, right)):
                yield left, right, WORDS[type(operator)]
            left = right
    if isinstance(node, ast.Constant) and constants and type(node.value) in (int, float) and node.value > 1:
        yield node, None, ""
    if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in DECLARED):
        return
    for name, value in ast.iter_fields(node):
        if name in {"annotation", "returns", "decorator_list"}:
            continue
        inner = constants and not (isinstance(node, ast.Subscript) and name == "slice")
        inner = inner and not (isinstance(node, ast.BinOp) and isinstance(node.op, BITS))
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from judged(child, constants=inner)


def mutants_of(file: str) -> list[Mutant]:
    """Every mutant of one file."""
    text = (PACKAGE / f"{file}.py").read_text(encoding="utf-8")
    lines = text.splitlines()
    found = []
    for node, right, operator in judged(ast.parse(text)):
        if right is None:
            value = node.value
            grown = value + max(1, value // 4) if isinstance(value, int) else value * 1.25
            at, was, becomes = (node.lineno, node.col_offset), ast.unparse(node), str(grown)
            was = lines[node.lineno - 1][node.col_offset : node.end_col_offset]
        else:
            place = operator_between(lines, node, right, operator)
            if place is None:
                continue
            at, was, becomes = place, operator, SWAPPED[operator]
        found.append(Mutant(file, at[0], at[1], was, becomes, lines[at[0] - 1].strip()))
    return found


def operator_between(lines: list[str], left: ast.expr, right: ast.expr, operator: str) -> tuple[int, int] | None:
    """Line and column of the operator between two operands; None where a line break parts its words."""
    pattern = rf"\b{operator}\b" if operator[0].isalpha() else rf"(?<![<>=!]){re.escape(operator)}(?![<>=])"
    for line in range(left.end_lineno or 0, right.lineno + 1):
        begin = left.end_col_offset or 0 if line == left.end_lineno else 0
        end = right.col_offset if line == right.lineno else len(lines[line - 1])
        match = re.search(pattern, lines[line - 1][:end][begin:].split("#")[0])
        if match:
            return line, begin + match.start()
    return None


def changed(mutant: Mutant) -> str:
    """The text of the file with the change."""
    lines = (PACKAGE / f"{mutant.file}.py").read_text(encoding="utf-8").splitlines(keepends=True)
    line = lines[mutant.line - 1]
    assert line[mutant.column :].startswith(mutant.was), mutant
    lines[mutant.line - 1] = line[: mutant.column] + mutant.becomes + line[mutant.column + len(mutant.was) :]
    return "".join(lines)


# --- what covers a file -----------------------------------------------------------------------------------------------


def imported_kernels(kernel: str, seen: set[str] | None = None) -> set[str]:
    """A kernel and all that it calls."""
    seen = set() if seen is None else seen
    if kernel not in seen:
        seen.add(kernel)
        text = (PACKAGE / "kernels" / f"{kernel}.py").read_text(encoding="utf-8")
        for other in re.findall(r"^from tcptrace_fsm\.kernels\.(\w+) import", text, re.MULTILINE):
            if other != "layout":
                imported_kernels(other, seen)
    return seen


def judging_files() -> list[str]:
    """The files that judge, in the order of their names."""
    kernels = imported_kernels("replay") | imported_kernels("track")
    return [
        *(f"kernels/{name}" for name in sorted(kernels - CARRIERS)),
        *(
            f"{folder}/{path.stem}"
            for folder in ("findings", "causes")
            for path in sorted((PACKAGE / folder).glob("*.py"))
            if path.stem not in RUNNERS
        ),
    ]


def tests_for(file: str) -> tuple[list[str], set[str]]:
    """The test files that cover a file, and the kinds or causes that it declares; none for a kernel."""
    folder, name = file.split("/")
    if folder == "kernels":
        return existing(APART.get(name) or KERNEL_TESTS[group_of(file).split("/")[1]]), set()
    text = (PACKAGE / f"{file}.py").read_text(encoding="utf-8")
    declared = re.findall(r'(?:\bkind=|\bname=|\bfault\(\s*|\bflag_scan\(\s*)"(\w+)"', text)
    return existing(RULE_TESTS if folder == "findings" else CAUSE_TESTS), NAMED.intersection(declared)


def existing(names: tuple[str, ...]) -> list[str]:
    """Test files by their names or patterns."""
    there = sorted(path.stem for path in (ROOT / "tests").glob("test_*.py"))
    return [stem for name in names for stem in there if fnmatch.fnmatch(stem, name)]


# --- one trial --------------------------------------------------------------------------------------------------------


def stand_in(path: Path, text: str) -> None:
    """Whoever loads this file from now on, in this process, gets the text."""
    original = SourceFileLoader.get_code

    def get_code(self: SourceFileLoader, fullname: str) -> Any:
        if Path(self.path) == path:
            return compile(text, str(path), "exec", dont_inherit=True)
        return original(self, fullname)

    SourceFileLoader.get_code = get_code  # type: ignore[method-assign]


def forget(*names: str) -> None:
    """Have modules imported again that are there already: these, and what is below them."""
    for name in list(sys.modules):
        if any(name == n or name.startswith(n + ".") for n in names):
            del sys.modules[name]


def run_uncompiled(kernel: str) -> None:
    """Put those compiled kernels that call a kernel back to what their sources say."""
    prefix = "tcptrace_fsm.kernels."
    compiled = sys.modules.get(prefix + "_compiled")
    if compiled is None:
        return
    package = sys.modules[prefix[:-1]]
    saved = {name: sys.modules.pop(prefix + name) for name in compiled.KERNELS}
    plain = {name: importlib.import_module(prefix + name) for name in saved if kernel in imported_kernels(name)}
    for name, module in saved.items():
        sys.modules[prefix + name] = plain.get(name, module)
        setattr(package, name, plain.get(name, module))


def cases_of(function: Any) -> Iterator[dict[str, Any]]:
    """The arguments with which pytest would call a test; none where it needs more than ``parametrize`` gives."""
    given: list[dict[str, Any]] = [{}]
    for mark in getattr(function, "pytestmark", ()):
        if mark.name == "xfail" or (mark.name in {"skip", "skipif"} and all(mark.args)):
            return
        if mark.name != "parametrize":
            continue
        names = mark.args[0] if isinstance(mark.args[0], list | tuple) else re.split(r",\s*", mark.args[0])
        rows = []
        for value in mark.args[1]:
            values = value.values if hasattr(value, "values") and hasattr(value, "marks") else value
            rows.append(dict(zip(names, values if len(names) > 1 or values is not value else [value], strict=True)))
        given = [one | other for one in given for other in rows]
    if set(inspect.signature(function).parameters) == set(given[0] if given else ()):
        yield from given


def first_failure(modules: Iterable[str], kinds: set[str]) -> str | None:
    """The first test that fails; where there are kinds, those that are about others only are left out."""
    for name in modules:
        module = importlib.import_module(f"tests.{name}")
        for test, function in list(vars(module).items()):
            if not test.startswith("test_") or hasattr(function, "is_hypothesis_test"):
                continue
            for case in cases_of(function):
                about = {value for value in case.values() if isinstance(value, str) and value in NAMED}
                if kinds and about and not about & kinds:
                    continue
                try:
                    function(**case)
                except pytest.skip.Exception:
                    continue
                except Exception as failure:  # noqa: BLE001
                    return f"{name}::{test} {sorted(about)}: {failure!r}"
    return None


def trial(file: str, text: str) -> str | None:
    """The first test that fails with a file's text in its place; to be called in a process that ends afterwards."""
    stand_in(PACKAGE / f"{file}.py", text)
    forget("tests", *(f"tcptrace_fsm.{folder}" for folder in ("findings", "causes", "runs", "tables", "views", "api")))
    if file.startswith("kernels/"):
        forget("tcptrace_fsm.core", "tcptrace_fsm.capture")
        run_uncompiled(file.split("/")[1])
    return first_failure(*tests_for(file))


class Outcome(NamedTuple):
    """What became of a trial: ``killed``, ``survived``, or ``timeout``; after how many seconds; and by what."""

    result: str
    seconds: float
    failure: str


def tried(file: str, text: str, limit: float) -> Outcome:
    """Try a text in a process of its own, which is given so many seconds of CPU time."""
    began = time.monotonic()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        code = 70
        try:
            with Path(os.devnull).open("r+") as nothing:
                for stream in (0, 1, 2):
                    os.dup2(nothing.fileno(), stream)
            resource.setrlimit(resource.RLIMIT_CPU, (int(limit), int(limit) + 5))
            try:
                failure = trial(file, text)
            except Exception as reason:  # noqa: BLE001 what cannot even be imported is noticed, too
                failure = repr(reason)
            os.write(write, (failure or "").encode()[:2000])
            code = 1 if failure else 0
        finally:
            os._exit(code)
    os.close(write)
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        taken = time.monotonic() - began
        if done:
            break
        if taken > 20 * limit:  # it waits for something
            os.kill(child, signal.SIGKILL)
        time.sleep(0.01)
    with os.fdopen(read, "rb") as pipe:
        failure = pipe.read().decode(errors="replace")
    if os.WIFSIGNALED(status):
        return Outcome("timeout", taken, "")
    if os.WEXITSTATUS(status) not in (0, 1):
        raise SystemExit(f"{file}: the trial itself failed")
    return Outcome("killed" if os.WEXITSTATUS(status) else "survived", taken, failure)


# --- all of them ------------------------------------------------------------------------------------------------------


def known(path: Path) -> dict[str, str]:
    """What earlier runs have found, by the mutants' keys."""
    found = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            found[row["key"]] = row["result"]
    return found


def chosen_mutants(wanted: list[str], sample: int | None, seed: int) -> list[Mutant]:
    """The mutants of the files that begin so; of each folder, or each kernel, a sample."""
    files = [f for f in judging_files() if not wanted or any(f.startswith(w) for w in wanted)]
    groups: dict[str, list[Mutant]] = defaultdict(list)
    for file in files:
        groups[group_of(file)] += mutants_of(file)
    chosen = []
    for group in groups.values():
        count = len(group) if sample is None else min(sample, len(group))
        chosen += Random(seed).sample(group, count)
    return chosen


def group_of(file: str) -> str:
    """What a sample is taken of: the kernels behind one result, the rules, the causes."""
    folder, name = file.split("/")
    if folder != "kernels":
        return folder
    if name in APART:
        return "kernels/waits"
    return "kernels/replay" if name in imported_kernels("replay") - imported_kernels("track") else "kernels/track"


def report(mutants: list[Mutant], results: dict[str, str]) -> None:
    """Survivors by file and line, then how many of each file there were."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for mutant in sorted(mutants):
        result = results.get(mutant.key)
        if result is None:
            continue
        for group in (mutant.file, group_of(mutant.file), "all"):
            counts[f"{group}/" if group in {"findings", "causes"} else group][result] += 1
        if result == "survived":
            where = f"tcptrace_fsm/{mutant.file}.py:{mutant.line}"
            print(f"{where}: {mutant.was} -> {mutant.becomes} in column {mutant.column}: {mutant.code}")
    print(f"\n{'':36} tried killed timeout survived")
    for name, count in counts.items():
        row = (sum(count.values()), count["killed"], count["timeout"], count["survived"])
        print(f"{name:36} {row[0]:5} {row[1]:6} {row[2]:7} {row[3]:8}")


def main(given: list[str] | None = None) -> None:
    """Try mutants, and report those that no test notices."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutate", description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="*", help="what the files begin with: findings, kernels/replay, causes/idle")
    parser.add_argument("--sample", type=int, help="so many of each kernel, of the rules and of the causes")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit", type=float, default=60, help="CPU seconds for one mutant")
    parser.add_argument("--again", action="store_true", help="try those that survived once more")
    parser.add_argument("--list", action="store_true", help="only count them")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args(given)
    mutants = chosen_mutants(options.files, options.sample, options.seed)
    results = known(options.results)
    if options.list:
        for file, count in Counter(m.file for m in mutants).items():
            print(f"{count:6} {file}")
        print(f"{len(mutants):6} in all")
        return
    todo = [m for m in mutants if results.get(m.key, "survived" if options.again else None) in {None, "survived"}]
    todo = [m for m in todo if options.again or m.key not in results]
    options.results.parent.mkdir(parents=True, exist_ok=True)
    os.nice(5)
    for file in sorted({m.file for m in todo}):
        whole = (PACKAGE / f"{file}.py").read_text(encoding="utf-8")
        untouched = tried(file, whole, 10 * options.limit)
        if untouched.result != "survived":
            raise SystemExit(f"{file}: the tests fail as it is: {untouched.failure}")
        for mutant in (m for m in todo if m.file == file):
            outcome = tried(file, changed(mutant), options.limit)
            results[mutant.key] = outcome.result
            with options.results.open("a", encoding="utf-8") as out:
                out.write(json.dumps({"key": mutant.key, "result": outcome.result}) + "\n")
            what = f"{file}.py:{mutant.line} {mutant.was} -> {mutant.becomes}"
            print(f"{outcome.result:9} {outcome.seconds:5.1f} s  {what}", flush=True)
    report(mutants, results)


if __name__ == "__main__":
    main()
