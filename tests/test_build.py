"""What is compiled beside its source was compiled from that source."""

from __future__ import annotations

import ast
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

import tcptrace_fsm.kernels
from tcptrace_fsm.kernels import layout

FOLDER = Path(tcptrace_fsm.kernels.__file__).parent
INLINE = ("plain", "sequence", "table")  # part of every kernel that calls them
NEVER_COMPILED = {"__init__", "layout", "memory", *INLINE}
KERNELS = sorted(p.stem for p in FOLDER.glob("*.py") if p.stem not in NEVER_COMPILED)
IN_A_TREE = (FOLDER.parent.parent / "setup.py").exists()


def binary(name):
    """The compiled form of a kernel, or None."""
    found = [p for suffix in EXTENSION_SUFFIXES if (p := FOLDER / f"{name}{suffix}").exists()]
    return found[0] if found else None


@pytest.mark.parametrize("name", KERNELS)
def test_every_kernel_has_its_signatures(name):
    """Without a .pxd a kernel would silently stay uncompiled."""
    if not IN_A_TREE:
        pytest.skip("installed from a wheel")
    assert (FOLDER / f"{name}.pxd").exists()


def test_all_kernels_are_compiled_or_none():
    there = {name for name in KERNELS if binary(name)}
    assert there in (set(), set(KERNELS)), f"only {sorted(there)} are compiled: pip install -e ."


@pytest.mark.parametrize("name", KERNELS)
def test_compiled_kernel_is_newer_than_its_source(name):
    """Otherwise the tests would run something else than what was edited."""
    if not IN_A_TREE or binary(name) is None:
        pytest.skip("nothing is compiled in this tree")
    built = binary(name).stat().st_mtime
    for source in (FOLDER / f"{name}.py", FOLDER / f"{name}.pxd"):
        assert source.stat().st_mtime <= built, f"{source.name} was edited after it was compiled: pip install -e ."


@pytest.mark.parametrize("name", INLINE)
def test_inlined_functions_are_those_of_the_source(name):
    """The .pxd that the kernels were compiled with says what the source says."""
    pxd = FOLDER / f"{name}.pxd"
    if not pxd.exists():
        pytest.skip("nothing was compiled in this tree")
    lines = set(pxd.read_text().splitlines())
    for function in ast.parse((FOLDER / f"{name}.py").read_text()).body:
        if isinstance(function, ast.FunctionDef):
            for line in "\n".join(map(ast.unparse, function.body[1:])).splitlines():
                assert "    " + line in lines, f"{name}.py was edited after it was compiled: pip install -e ."


def test_compiled_constants_are_those_of_layout():
    """layout.pxd is what the compiled kernels saw of layout.py."""
    pxd = FOLDER / "layout.pxd"
    if not pxd.exists():
        pytest.skip("nothing was compiled in this tree")
    lines = [line.split() for line in pxd.read_text().splitlines()]
    seen = {words[0]: words[2] for words in lines if len(words) == 3 and words[1] == "="}
    seen.pop("_SIGNED")
    # what is wider than an int is a macro
    seen |= {w[1].removeprefix("TCPTRACE_FSM_"): w[2].removesuffix("LL") for w in lines if w[:1] == ["#define"]}
    now = {k: str(int(v)) for k, v in vars(layout).items() if isinstance(v, int) and k[0].isupper()}
    assert seen == now, "layout.py was edited after it was compiled: pip install -e ."
