"""Tests that cannot fail are none: an assert in a loop says nothing where the loop does not run."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

pytestmark = pytest.mark.plain

HERE = Path(__file__).parent
FILES = sorted(HERE.rglob("test_*.py"))
CHECKING = ("assert", "same", "check")  # functions of other libraries, or of ours, that fail for a test
RAISES = {"pytest.raises", "pytest.warns", "pytest.fail"}

# What is drawn at random, or what a file may rightly lack: there are cases in which the loop runs.
MAY_BE_EMPTY = {
    *("test_no_segments_teach_nonsense", "test_anything_can_be_drawn", "test_round_trips_are_those_of_the_slow_twin"),
    *("test_streams_are_those_of_the_naive_twin", "test_imports_go_one_way", "test_links_lead_somewhere"),
    *("test_no_list_of_arguments_is_taken_by_position_alone", "test_numbers_of_connections_exist"),
    "test_counters_against_the_twin",
}


def runs_surely(iterable: ast.expr) -> bool:
    """Whether something to loop over is written out there, or is a table at the head of a file."""
    match iterable:
        case ast.Tuple() | ast.List() | ast.Set():
            return bool(iterable.elts)
        case ast.Constant():
            return bool(iterable.value)
        case ast.Name():
            return iterable.id.isupper() or iterable.id in {"Opened", "Event", "State"}
        case ast.Attribute():
            return iterable.attr.isupper()
        case ast.Call(func=ast.Attribute(attr="items" | "values" | "keys" | "split" | "splitlines")):
            return runs_surely(iterable.func.value)
        case ast.Call(func=ast.Name(id="range")):
            return all(isinstance(a, ast.Constant) for a in iterable.args)
        case ast.Call(func=ast.Name(id="zip")) if iterable.keywords:  # strict: all are as long as one
            return any(map(runs_surely, iterable.args))
        case ast.Call(func=ast.Name(id="zip" | "enumerate" | "sorted" | "reversed" | "product")):
            return all(map(runs_surely, iterable.args))
    return False


def checks(node: ast.AST, helpers: set[str], *, doubtful: bool = False):
    """For each check below a node, whether it stands in a loop that may not run."""
    if isinstance(node, ast.Assert):
        yield doubtful
    if isinstance(node, ast.Call):
        name = ast.unparse(node.func)
        last = name.rpartition(".")[2]
        if name in RAISES or last in helpers or last.startswith(CHECKING):
            yield doubtful
    for child in ast.iter_child_nodes(node):
        inside = isinstance(node, ast.While) or (
            isinstance(node, ast.For) and child in node.body and not runs_surely(node.iter)
        )
        yield from checks(child, helpers, doubtful=doubtful or inside)


def functions(text: str) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]


def vacuous(text: str, helpers: set[str]) -> list[str]:
    """The tests of a file all of whose checks stand in loops that may not run."""
    tests = [f for f in functions(text) if f.name.startswith("test_")]
    found = {f.name: list(checks(f, helpers)) for f in tests}
    return [name for name, doubts in found.items() if doubts and all(doubts)]


def test_a_loop_that_may_not_run_is_seen():
    assert vacuous("def test_x():\n    for a in found():\n        assert a", set()) == ["test_x"]
    assert vacuous("def test_x():\n    for a in (1, 2):\n        assert a", set()) == []
    assert vacuous("def test_x():\n    a = found()\n    assert a\n    for b in a:\n        assert b", set()) == []
    assert vacuous("def test_x():\n    for a in found():\n        sound(a)", {"sound"}) == ["test_x"]


@pytest.mark.no_cover
@pytest.mark.slow
def test_no_test_has_its_asserts_only_in_loops_that_may_not_run():
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(HERE.rglob("*.py"))}
    helpers = {
        f.name
        for text in texts.values()
        for f in functions(text)
        if not f.name.startswith("test_") and any(isinstance(node, ast.Assert) for node in ast.walk(f))
    }
    found = {path.name: vacuous(texts[path], helpers) for path in FILES}
    assert len(FILES) > 50
    assert {name for tests in found.values() for name in tests} <= MAY_BE_EMPTY, found
