"""House rules: what may import what, and that records are laid out without gaps."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import tcptrace_fsm
from tcptrace_fsm.kernels import layout

PACKAGE = Path(tcptrace_fsm.__file__).parent

# The folders in the order in which data flows; what stands in one imports what stands in those before it, or beside it.
LAYERS = (
    "errors",
    "text",
    "files",
    "tcp",
    "kernels",
    "version",
    "capture",
    "core",
    "findings",
    "causes",
    "tables",
    "views",
    "docs",
    "runs",
    "api",
    "__init__",
    "cli",
    "__main__",
)
# Circles that are still to be cut.
ALLOWED = {
    ("kernels", "tcp"),
    ("tcp", "kernels"),
}


def modules():
    return sorted(p for p in PACKAGE.rglob("*.py") if "__pycache__" not in p.parts)


def layer(path):
    inside = path.relative_to(PACKAGE)
    return inside.parts[0] if len(inside.parts) > 1 else inside.stem


def for_types_only(tree):
    """The nodes under ``if TYPE_CHECKING``: they import nothing when the program runs."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for statement in node.body:
                yield from ast.walk(statement)


def imported(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = set(for_types_only(tree))
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "tcptrace_fsm":
            parts = node.module.split(".")
            if len(parts) > 1:
                yield parts[1]
            else:
                yield from (
                    a.name if (PACKAGE / a.name).exists() or (PACKAGE / f"{a.name}.py").exists() else "__init__"
                    for a in node.names
                )
        elif isinstance(node, ast.Import):
            yield from (a.name.split(".")[1] for a in node.names if a.name.startswith("tcptrace_fsm."))


def test_every_module_has_a_layer():
    assert {layer(p) for p in modules()} <= set(LAYERS), "a new module needs its place in LAYERS"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_one_way(path):
    own = layer(path)
    for other in imported(path):
        if other != own and (own, other) not in ALLOWED:
            assert LAYERS.index(other) < LAYERS.index(own), (
                f"{own} must not import {other}: LAYERS says which way data goes"
            )


# Imported only where tables are made, or pictures of them.
WITH_TABLES = {
    *(
        "tables/arrow",
        "tables/columns",
        "tables/diagnoses",
        "tables/segments",
        "capture/timeline",
        "runs/shares",
        "runs/vantage",
    ),
    *("views/collector", "views/undecided", "views/occupancy", "views/pagedata", "views/series"),
}


def test_nothing_heavy_is_imported_on_the_way_to_a_summary():
    heavy = {"numpy", "pandas", "pyarrow", "rich", "dpkt", "matplotlib"}
    for path in modules():
        if str(path.relative_to(PACKAGE).with_suffix("")) in WITH_TABLES:
            continue
        top = [
            n for n in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(n, ast.Import | ast.ImportFrom)
        ]
        names = {a.name.split(".")[0] for n in top if isinstance(n, ast.Import) for a in n.names}
        names |= {n.module.split(".")[0] for n in top if isinstance(n, ast.ImportFrom) and n.module}
        assert not names & heavy, f"{path.name} imports {names & heavy} at its top: cold start is a feature"


def test_a_connection_record_is_its_words_and_two_endpoints():
    assert layout.C_ENDPOINTS + 2 * layout.ENDPOINT_SIZE == layout.CONNECTION_SIZE


def numbered(prefix):
    return {n: v for n, v in vars(layout).items() if re.fullmatch(prefix + r"_[A-Z0-9_]+", n) and isinstance(v, int)}


# Words that are more than one word wide, or whose numbers are bits.
WIDE = {
    "S": {"S_SACK": 8},
    "C": {"C_HISTORY": 3, "C_ZEEK_ENDS": 2 * layout.ZE_SIZE, "C_NEAR": 2, "C_TIMES": 2 * layout.WAITS}
    | {"C_WAIT_SEEN": 2, "C_WAIT_SPOKE": 2, "C_WAIT_WAY": 2, "C_RESPONSE_MARKER": 10},
    "E": {"E_RTT_MARKER": 10, "E_SAMPLES": 8, "E_HOLE": 8},
}


@pytest.mark.parametrize(
    "prefix, size",
    [
        ("F", "FRAME_SIZE"),
        ("S", "SEGMENT_SIZE"),
        ("C", "C_ENDPOINTS"),
        ("E", "ENDPOINT_SIZE"),
        ("T", "TRANSITION_SIZE"),
        ("WT", "WAIT_SIZE"),
        ("L", "LOG_SIZE"),
        ("K", "CONTROL_SIZE"),
    ],
)
def test_words_are_numbered_without_gap_or_overlap(prefix, size):
    end = getattr(layout, size)
    covered = []
    for name, at in numbered(prefix).items():
        if name != size:
            covered += range(at, at + WIDE.get(prefix, {}).get(name, 1))
    assert sorted(covered) == list(range(end))


@pytest.mark.parametrize("prefix, count", [("MARK", layout.MARKS), ("OUTCOME", layout.OUTCOMES)])
def test_codes_are_dense(prefix, count):
    assert sorted(numbered(prefix).values()) == list(range(count))
