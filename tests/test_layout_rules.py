"""House rules: what may import what, and that records are laid out without gaps."""

from __future__ import annotations

import ast
import re
from functools import cache
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


def modules():
    return sorted(p for p in PACKAGE.rglob("*.py") if "__pycache__" not in p.parts)


def name_of(path):
    """A module by its place in the package: ``tcp.machine``, ``views.ladder``, ``__init__``."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


NAMES = {name_of(path): path for path in modules()}


@cache
def nodes(path):
    """All nodes of a module's syntax tree, those of a kind that is asked for here."""
    wanted = ast.ImportFrom | ast.Import | ast.FunctionDef
    return [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, wanted)]


def imported(path):
    """The modules of ours that a module imports anywhere, also where types alone are wanted."""
    for node in nodes(path):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "tcptrace_fsm":
            base = node.module.partition(".")[2]
            for alias in node.names:
                inner = f"{base}.{alias.name}".lstrip(".")
                yield inner if inner in NAMES else base or "__init__"
        elif isinstance(node, ast.Import):
            yield from (a.name.partition(".")[2] for a in node.names if a.name.startswith("tcptrace_fsm."))


def test_every_module_has_a_layer():
    assert {name.split(".")[0] for name in NAMES} == set(LAYERS), "LAYERS names each folder and module, and no others"


@pytest.mark.no_cover
@pytest.mark.parametrize("name", NAMES)
def test_imports_go_one_way(name):
    own = name.split(".")[0]
    for other in {module.split(".")[0] for module in imported(NAMES[name])} - {own}:
        assert LAYERS.index(other) < LAYERS.index(own), (
            f"{own} must not import {other}: LAYERS says which way data goes"
        )


def circles(graph):
    """Modules that lead back to themselves, however far around."""

    def reached(name):
        seen, waiting = set(), [name]
        while waiting:
            for other in graph[waiting.pop()] - seen:
                seen.add(other)
                waiting.append(other)
        return seen

    return sorted(name for name in graph if name in reached(name))


def test_no_module_imports_itself_around_a_corner():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]
    assert circles({name: set(imported(path)) - {name} for name, path in NAMES.items()}) == []


LONGEST_FILE, LONGEST_FUNCTION, MOST_POSITIONAL = 500, 80, 7


@pytest.mark.parametrize("name", NAMES)
def test_no_file_is_longer_than_a_reader_can_hold(name):
    assert lines_in(NAMES[name]) <= LONGEST_FILE


def test_nor_is_a_file_of_tests():
    assert [path for path in Path(__file__).parent.rglob("*.py") if lines_in(path) > LONGEST_FILE] == []


def lines_in(path):
    return len(path.read_text(encoding="utf-8").splitlines())


def functions(path):
    return [node for node in nodes(path) if isinstance(node, ast.FunctionDef)]


@pytest.mark.parametrize("name", NAMES)
def test_no_function_is_longer_than_a_screen(name):
    assert [f.name for f in functions(NAMES[name]) if f.end_lineno - f.lineno + 1 > LONGEST_FUNCTION] == []


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("kernels.")])
def test_no_list_of_arguments_is_taken_by_position_alone(name):
    """A command's parameters are options by name; of ``self`` nobody thinks."""
    for f in functions(NAMES[name]):
        taken = [a.arg for a in (*f.args.posonlyargs, *f.args.args) if a.arg not in {"self", "cls"}]
        assert len(taken) <= MOST_POSITIONAL or name.startswith("cli.commands."), f"{f.name}: {taken}"


@pytest.mark.parametrize("name", [n for n in NAMES if re.fullmatch(r"kernels\.(?!records|memory)[a-z_]+", n)])
def test_kernels_take_few_arguments(name):
    """A record of those that travel together takes their place."""
    many = [f.name for f in functions(NAMES[name]) if len(f.args.args) > MOST_POSITIONAL]
    assert not many


# Imported only where tables are made, or pictures of them.
WITH_TABLES = {
    *(
        "tables/anomalies",
        "tables/arrow",
        "tables/columns",
        "tables/derived",
        "tables/diagnoses",
        "tables/limits",
        "tables/segments",
        "tables/told",
        "capture/timeline",
        "runs/cluster",
        "runs/leaps",
        "runs/shares",
    ),
    *(
        "runs/vantage/clocks",
        "runs/vantage/comparison",
        "runs/vantage/merging",
        "runs/vantage/sample",
        "runs/vantage/translation",
    ),
    *("views/collector", "views/undecided", "views/occupancy", "views/pagedata", "views/series"),
}


def test_nothing_heavy_is_imported_on_the_way_to_a_summary():
    heavy = {"numpy", "pandas", "pyarrow", "rich", "dpkt", "matplotlib"}
    assert len(modules()) > 100
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
    | {
        "C_WAIT_SEEN": 2,
        "C_WAIT_SPOKE": 2,
        "C_WAIT_WAY": 2,
        "C_RESPONSE_MARKER": 10,
        "C_RESPONSE_HALVES": 8,
        "C_ROUND": 2 * layout.ROUND_SIZE,
    },
    "K": {"K_SET_BACK_AT": layout.SET_BACKS_MOST, "K_SET_BACK_FROM": layout.SET_BACKS_MOST},
    "E": {"E_RTT_MARKER": 10, "E_SAMPLES": 8, "E_HOLE": 8},
    "SERVICE": {"SERVICE_BUCKETS": 28 * 16},
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
        ("SERVICE", "SERVICE_SIZE"),
        ("L", "LOG_SIZE"),
        ("K", "CONTROL_SIZE"),
        ("U", "UNPACKED_SIZE"),
    ],
)
def test_words_are_numbered_without_gap_or_overlap(prefix, size):
    end = getattr(layout, size)
    covered = []
    for name, at in numbered(prefix).items():
        if name != size:
            covered += range(at, at + WIDE.get(prefix, {}).get(name, 1))
    assert sorted(covered) == list(range(end))


@pytest.mark.parametrize(
    "prefix, count", [("MARK", layout.MARKS), ("OUTCOME", layout.OUTCOMES), ("FACT", layout.FACTS)]
)
def test_codes_are_dense(prefix, count):
    assert sorted(numbered(prefix).values()) == list(range(count))
