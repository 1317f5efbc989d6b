"""What is compiled was compiled from the sources that lie beside it."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import tcptrace_fsm.kernels
from tcptrace_fsm.kernels import compiled, edited

pytestmark = pytest.mark.plain

FOLDER = Path(tcptrace_fsm.kernels.__file__).parent
SOURCES = sorted(FOLDER.glob("*.py"))


def extension():
    if not compiled():
        pytest.skip("nothing is compiled here")
    return sys.modules["tcptrace_fsm.kernels._compiled"]


def functions(path):
    return [n for n in ast.parse(path.read_text()).body if isinstance(n, ast.FunctionDef)]


def public(path):
    """The names in ``__all__``, or none."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return tuple(ast.literal_eval(node.value))
    return ()


def test_what_is_compiled_is_what_the_sources_say():
    """Otherwise the tests would run something else than what was edited."""
    built = list(FOLDER.glob("_compiled*.so")) + list(FOLDER.glob("_compiled*.pyd"))
    if not built:
        pytest.skip("nothing is compiled here")
    assert compiled(), "kernels were edited after they were compiled: pip install -e ."


@pytest.mark.parametrize("change", [{"replay": 0}, {"gone": 1}, {"layout/capture_points": None}, {"layout/new": 1}])
def test_kernels_that_were_edited_after_they_were_compiled_are_not_taken(change):
    """Their records may have other sizes: what was compiled would write beyond its memory."""
    sources = extension().SOURCES | change
    assert edited(extension().SOURCES) == []
    assert edited({name: digest for name, digest in sources.items() if digest is not None}) == list(change)


def test_python_calls_the_compiled_function_of_each_kernel():
    """Each name that a kernel shows is compiled, and its module holds it: none is left in plain Python."""
    shown = {p.stem: public(p) for p in SOURCES if p.stem not in {"__init__", "memory"} and public(p)}
    assert shown == extension().KERNELS
    assert len(shown) >= 8
    for kernel, names in shown.items():
        module = sys.modules[f"tcptrace_fsm.kernels.{kernel}"]
        for name in names:
            assert getattr(module, name) is getattr(extension(), name)
            assert type(getattr(module, name)).__name__ == "cython_function_or_method"


def test_what_the_package_takes_from_a_kernel_is_shown_by_it():
    """A name that is not in ``__all__`` would silently stay plain Python."""
    shown = {p.stem: public(p) for p in SOURCES}
    taken = set()
    for path in FOLDER.parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if FOLDER not in path.parents else ():
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tcptrace_fsm.kernels."):
                kernel = node.module.rpartition(".")[2]
                taken |= {(kernel, a.name) for a in node.names if kernel != "layout"}
    assert len(taken) > 15
    assert sorted(t for t in taken if t[1] not in shown[t[0]]) == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.stem)
def test_kernels_keep_to_what_can_be_compiled(path):
    """Functions with C's types, each name once, and nothing else that the extension would not have."""
    if path.stem == "__init__":
        pytest.skip("never compiled")
    assert functions(path)
    for node in ast.parse(path.read_text()).body:
        assert isinstance(node, ast.FunctionDef | ast.Import | ast.ImportFrom | ast.If | ast.Expr | ast.Assign)
        assert not isinstance(node, ast.Assign) or ast.unparse(node.targets[0]) == "__all__"
    for function in functions(path):
        kinds = {ast.unparse(a.annotation) for a in function.args.args}
        assert kinds <= {"int", "Words", "Buffer"}, function.name
        assert path.stem == "memory" or ast.unparse(function.returns) in {"int", "None"}, function.name


def test_no_two_kernels_have_a_function_of_one_name():
    names = [f.name for p in SOURCES for f in functions(p) if p.stem not in {"__init__", "memory"}]
    assert len(names) == len(set(names)) > 100
