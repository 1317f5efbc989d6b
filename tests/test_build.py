"""What is compiled was compiled from the sources that lie beside it."""

from __future__ import annotations

import ast
import sys
from array import array
from pathlib import Path

import pytest

import tcptrace_fsm.kernels
from tcptrace_fsm.kernels import compiled, edited, records
from tcptrace_fsm.kernels import layout as at
from tcptrace_fsm.kernels.replay import replay_due

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
                taken |= {(kernel, a.name) for a in node.names if kernel not in {"layout", "records"}}
    assert len(taken) > 15
    assert sorted(t for t in taken if t[1] not in shown[t[0]]) == []


HELD = {record.__name__ for record in records.Held.__subclasses__()}
RECORDS = {"Connection", "Endpoint", "Timers", "Transition", "Segment", "Tcb", *HELD}


def test_each_record_has_its_size_by_the_layout():
    """What is placed on words that others number; a field with another name would be refused when it is declared."""
    for record in (records.Connection, records.Endpoint, records.Timers, records.Transition):
        words = array("q", range(record.size))
        fields = [name for name, kind in record.__annotations__.items() if kind == "int"]
        places = [getattr(record(words, 0), name) for name in fields]
        assert len(set(places)) == len(fields) > 9
        assert 0 <= min(places) <= max(places) < record.size


def test_the_words_of_a_record_are_those_of_its_array():
    words = array("q", bytes(8 * 2 * at.CONNECTION_SIZE))
    row = records.row_at(words, at.CONNECTION_SIZE)
    row.marks = 5
    records.end_of(row, at.SERVER).fin = 7
    assert words[at.CONNECTION_SIZE + at.C_MARKS] == 5
    assert words[at.CONNECTION_SIZE + at.C_ENDPOINTS + at.ENDPOINT_SIZE + at.E_FIN] == 7
    with pytest.raises(IndexError):
        row.endpoints[2]


def test_segments_side_by_side_are_copied_and_bounded():
    """As in C an assignment copies; unlike there a place outside is refused."""
    log = records.segments_in(array("q", bytes(8 * 3 * records.Segment.size)))
    log[0].seq = 100
    log[2] = log[0]
    log[0].seq = 200
    assert (log[2].seq, log[1].seq) == (100, 0)
    for outside in (-1, 3):
        with pytest.raises(IndexError):
            log[outside]


def test_another_endpoint_begins_with_what_each_begins_with():
    tcb = records.tcb_in(array("q", bytes(8 * records.Tcb.size)))
    tcb.habits, tcb.state, tcb.fin_copy = 4, 5, 6
    records.begin_anew(tcb)
    assert (tcb.habits, tcb.state, tcb.fin_copy) == (4, 0, -1)


def test_a_record_that_python_hands_over_begins_empty_and_has_no_other_fields():
    pairing = records.Pairing(at=7)
    assert (pairing.at, pairing.good, list(pairing.held)) == (7, 0, [])
    with pytest.raises(TypeError, match="Pairing has no ways_used"):
        records.Pairing(ways_used=1)


def test_what_a_kernel_counts_in_a_record_is_read_there():
    """Compiled, a struct of its own has taken the record's place."""
    tables = records.Replaying(due=array("q", [0]), scratch=array("q", bytes(8 * records.Tcb.size)), written=5)
    assert replay_due(0, 0, tables) == 0
    assert tables.written == 0


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.stem)
def test_kernels_keep_to_what_can_be_compiled(path):
    """Functions with C's types, each name once, and nothing else that the extension would not have."""
    if path.stem in {"__init__", "records"}:
        pytest.skip("never compiled")
    assert functions(path)
    for node in ast.parse(path.read_text()).body:
        assert isinstance(node, ast.FunctionDef | ast.Import | ast.ImportFrom | ast.If | ast.Expr | ast.Assign)
        assert not isinstance(node, ast.Assign) or ast.unparse(node.targets[0]) == "__all__"
    for function in functions(path):
        kinds = {ast.unparse(a.annotation) for a in function.args.args}
        assert kinds <= {"int", "Words", "Buffer", *RECORDS}, function.name
        assert path.stem == "memory" or ast.unparse(function.returns) in {"int", "None"}, function.name


def test_no_two_kernels_have_a_function_of_one_name():
    names = [f.name for p in SOURCES for f in functions(p) if p.stem not in {"__init__", "memory", "records"}]
    assert len(names) == len(set(names)) > 100
