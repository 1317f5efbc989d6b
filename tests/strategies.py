"""What the tests of the core feed to it, how they run it, and how they look at what comes out.

The core runs in two ways: as installed (:class:`tcptrace_fsm.core.engine.Engine`), and as plain Python with every
index of
every array watched (:func:`watched_engine`), where a negative or too large index, or a value over 64 bits, is an error.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from array import array
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import FunctionType, ModuleType

from hypothesis import strategies as st

from tcptrace_fsm.capture.scripted import Script, parse
from tcptrace_fsm.core import engine as installed
from tcptrace_fsm.core import replaying as installed_replaying
from tcptrace_fsm.core.settings import Settings
from tcptrace_fsm.kernels import layout as at
from tcptrace_fsm.kernels.records import Held
from tcptrace_fsm.tcp.machine import Basis, Event, State
from tcptrace_fsm.tcp.notation import BEGIN
from tcptrace_fsm.tcp.profiles import profile as find_profile
from tests.kernels import FOLDER, Watched, uncompiled

SECOND = 1_000_000_000
MILLISECOND = 1_000_000
SEED = 0x1234_5678_9ABC_DEF1 & (2**61 - 1)
SIDES = ("client", "server")


def names_of(prefix: str) -> dict[int, str]:
    """The values of the layout's names that begin so, in lower case without it."""
    return {v: k[len(prefix) :].lower() for k, v in vars(at).items() if k.startswith(prefix)}


OPENINGS = names_of("OPENING_")
CLOSINGS = names_of("CLOSING_")
WHO = names_of("WHO_")
ROLES = names_of("ROLE_")
MARKS = {v: k[5:].lower() for k, v in vars(at).items() if k.startswith("MARK_")}


# --- running ----------------------------------------------------------------------------------------------------------


def pure_kernels() -> dict[str, ModuleType]:
    """The kernels as plain Python, calling each other and nothing compiled."""
    package = "tcptrace_fsm.kernels."
    names = sorted({path.stem for path in FOLDER.glob("*.py")} - {"__init__"})
    modules: dict[str, ModuleType] = {}
    saved = {name: sys.modules.get(package + name) for name in names}

    def load(name: str) -> None:
        if name in modules:
            return
        text = (FOLDER / f"{name}.py").read_text()
        for used in re.findall(r"^from tcptrace_fsm\.kernels\.(\w+) import", text, re.MULTILINE):
            if used in names:
                load(used)
        modules[name] = sys.modules[package + name] = uncompiled(name)  # what is loaded after it finds this one

    try:
        for name in names:
            load(name)
    finally:
        for name, module in saved.items():
            sys.modules.pop(package + name, None)
            if module is not None:
                sys.modules[package + name] = module
    return modules


def watch(function):
    """The function, with every array that it is given watched, those that a record holds too."""

    def watched(*arguments):
        held = [(a, dict(vars(a))) for a in arguments if isinstance(a, Held)]
        for record, fields in held:
            vars(record).update({name: seen(value) for name, value in fields.items()})
        result = function(*map(seen, arguments))
        for record, fields in held:
            vars(record).update({n: value for n, value in fields.items() if not isinstance(value, int)})
        return result

    return watched


def seen(value):
    """An array of words, watched; anything else as it is."""
    words = isinstance(value, array) or (isinstance(value, memoryview) and value.format == "q")
    return Watched(value) if words else value


@cache
def watched_engine():
    """The engine's class, on plain-Python kernels whose every index is watched."""
    return _engine_on_plain_kernels(watch)


@cache
def plain_engine():
    """The engine's class, on plain-Python kernels."""
    return _engine_on_plain_kernels(lambda function: function)


def plain_engine_where(**functions):
    """The engine's class, on plain-Python kernels in which some functions are others."""
    kernels = pure_kernels()
    for kernel in kernels.values():  # where it stands, and where it is used
        vars(kernel).update({name: other for name, other in functions.items() if name in vars(kernel)})
    return _engine_on_plain_kernels(lambda function: function, kernels)


def _engine_on_plain_kernels(wrap, kernels=None):
    engine, replaying = (_copy_of(module, wrap) for module in (installed, installed_replaying))
    for kernel in (kernels or pure_kernels()).values():
        for module in (engine, replaying):
            for function in set(vars(kernel)) & set(vars(module)):
                if isinstance(getattr(kernel, function), FunctionType):
                    setattr(module, function, wrap(getattr(kernel, function)))
    engine.Replayer = replaying.Replayer
    return engine.Engine


def _copy_of(module, wrap):
    """A module loaded once more, so that its kernels can be others."""
    name = f"uncompiled_{module.__name__.rpartition('.')[2]}_{wrap.__name__.strip('<>')}"
    spec = importlib.util.spec_from_file_location(name, Path(module.__file__))
    copy = importlib.util.module_from_spec(spec)
    sys.modules[name] = copy  # dataclasses look their module up
    spec.loader.exec_module(copy)
    return copy


@dataclass
class Batch:
    """Segment records for the engine, which labels them in place."""

    segments: array
    count: int


def cut(segments: array, step: int) -> list[Batch]:
    """The records in batches of ``step``."""
    size = at.SEGMENT_SIZE
    return [
        Batch(part, len(part) // size)
        for part in (segments[i : i + step * size] for i in range(0, len(segments), step * size))
    ]


# --- looking ----------------------------------------------------------------------------------------------------------


@dataclass
class Change:
    """One transition, in words."""

    side: str
    source: str
    event: str
    target: str
    basis: str
    time: int
    earliest: int
    latest: int
    frame: int
    confirmed_by: int

    @property
    def seconds(self) -> float:
        """Its time, as the script has it."""
        return (self.time - BEGIN) / SECOND

    def holds(self, seconds: float) -> bool:
        """Whether its bracket holds this moment of the script."""
        return self.earliest - 1000 <= BEGIN + round(seconds * SECOND) <= self.latest + 1000


@dataclass
class Connection:
    """One finished connection."""

    words: array
    changes: list[Change] = field(default_factory=list)

    def __getitem__(self, name: str) -> int:
        return self.words[getattr(at, name)]

    def end(self, side: str, name: str) -> int:
        """A word of one of its endpoints."""
        return self.words[at.C_ENDPOINTS + SIDES.index(side) * at.ENDPOINT_SIZE + getattr(at, name)]

    def of(self, side: str) -> list[Change]:
        """The changes of one endpoint."""
        return [c for c in self.changes if c.side == side]

    def change(self, side: str, target: str) -> Change:
        """The one change of an endpoint to a state."""
        (found,) = (c for c in self.of(side) if c.target == target)
        return found

    def path(self, side: str) -> str:
        """The states of one endpoint, in order."""
        changes = self.of(side)
        return " ".join([changes[0].source, *(c.target for c in changes)]) if changes else ""

    @property
    def states(self) -> tuple[str, str]:
        """The states at the end."""
        return State(self["C_CLIENT_STATE"]).name, State(self["C_SERVER_STATE"]).name

    @property
    def opening(self) -> str:
        return OPENINGS[self["C_OPENING"]]

    @property
    def closing(self) -> str:
        return CLOSINGS[self["C_CLOSING"]]

    @property
    def closed_first(self) -> str:
        return WHO[self["C_CLOSED_FIRST"]]

    @property
    def reset_by(self) -> str:
        return WHO[self["C_RESET_BY"]]

    @property
    def role_basis(self) -> str:
        return ROLES[self["C_ROLE_BASIS"]]

    @property
    def marks(self) -> set[str]:
        return {name for number, name in MARKS.items() if self["C_MARKS"] >> number & 1}


@dataclass
class Outcome:
    """All that a pass gave."""

    connections: list[Connection]
    segments: array
    findings: list
    engine: object
    waits: list = field(default_factory=list)

    def labels(self) -> list[tuple[int, str, set[str]]]:
        """(conn_id, side of the sender, marks) of each segment."""
        rows = range(0, len(self.segments), at.SEGMENT_SIZE)
        return [
            (
                self.segments[s + at.S_CONNECTION],
                SIDES[self.segments[s + at.S_SIDE]],
                {name for number, name in MARKS.items() if self.segments[s + at.S_MARKS] >> number & 1},
            )
            for s in rows
        ]


def run(
    given: str | Script | array,
    *,
    engine=installed.Engine,
    profile="linux",
    step=None,
    rules=False,
    seed=SEED,
    taken_at=(),
) -> Outcome:
    """Feed a scripted conversation, or segment records, ``step`` at a time; all at once where None."""
    chosen = find_profile(profile) if isinstance(profile, str) else profile
    judges = []
    if rules:
        from tcptrace_fsm.findings import runner

        judges.append(runner(chosen))
    subject = engine(Settings(chosen, taken_at=taken_at), judges=judges, seed=seed)
    if isinstance(given, str):
        given = parse(given)
    segments = given if isinstance(given, array) else given.segments
    batches = cut(segments, step or max(1, len(segments) // at.SEGMENT_SIZE))
    connections: list[Connection] = []
    findings: list = []
    waits: list = []
    for batch in [*batches, None]:
        if batch is None:
            subject.finish()
        else:
            subject.feed(batch)
        while (done := subject.take()) is not None:
            collect(done, connections)
            findings += done.findings
            waits += [done.waits[i * at.WAIT_SIZE : (i + 1) * at.WAIT_SIZE] for i in range(done.wait_count)]
    connections.sort(key=lambda c: c["C_ID"])
    labelled = array("q")
    for batch in batches:
        labelled.extend(batch.segments)
    return Outcome(connections, labelled, findings, subject, waits)


def collect(done, connections: list[Connection]) -> None:
    """Take finished connections apart."""
    t = 0
    for i in range(done.count):
        record = done.connections[i * at.CONNECTION_SIZE : (i + 1) * at.CONNECTION_SIZE]
        connection = Connection(record)
        for _ in range(record[at.C_TRANSITIONS]):
            row = done.transitions[t : t + at.TRANSITION_SIZE]
            assert row[at.T_CONNECTION] == record[at.C_ID]
            connection.changes.append(
                Change(
                    SIDES[row[at.T_SIDE]],
                    State(row[at.T_FROM]).name,
                    Event(row[at.T_EVENT]).name,
                    State(row[at.T_TO]).name,
                    Basis(row[at.T_BASIS]).name.lower(),
                    row[at.T_TIME],
                    row[at.T_EARLIEST],
                    row[at.T_LATEST],
                    row[at.T_FRAME],
                    row[at.T_CONFIRMED_BY],
                )
            )
            t += at.TRANSITION_SIZE
        connections.append(connection)
    assert t == done.transition_count * at.TRANSITION_SIZE


# --- what can be fed --------------------------------------------------------------------------------------------------

HOSTS = (0x0A000001, 0x0A000002)
PORTS = (80, 40000)
NUMBERS = (
    0,
    1,
    2,
    100,
    101,
    5000,
    65536,
    300_000,
    2**30,
    2**31 - 1,
    2**31,
    2**31 + 1,
    2**32 - 101,
    2**32 - 2,
    2**32 - 1,
)
STEPS = (
    *(0, 1000, 500_000, 10 * MILLISECOND, 10 * MILLISECOND, 200 * MILLISECOND, SECOND),
    *(3 * SECOND, 62 * SECOND, 70 * SECOND, 140 * SECOND, -1000, -20 * MILLISECOND, -SECOND, -100 * SECOND),
)  # fmt: skip
USUAL_FLAGS = (2, 18, 16, 16, 24, 17, 17, 4, 20, 1, 0, 6, 3, 19, 255, 511)


def record(
    frame: int, time: int, hosts: tuple[int, int], ports: tuple[int, int], seq: int, ack: int, flags: int, **more: int
) -> array:
    """One segment record; ``more`` are words by their names in the layout, without ``S_``."""
    s = array("q", bytes(8 * at.SEGMENT_SIZE))
    s[at.S_FRAME], s[at.S_TIME] = frame, time
    s[at.S_SRC_LO], s[at.S_DST_LO] = hosts
    s[at.S_PORTS] = ports[0] << 16 | ports[1]
    s[at.S_SEQ], s[at.S_ACK], s[at.S_FLAGS] = seq % 2**32, ack % 2**32, flags
    s[at.S_WINDOW], s[at.S_IP_ID], s[at.S_TTL], s[at.S_OFFSET] = 65535, -1, 64, -1
    s[at.S_SHOWN] = more.get("LEN", 0)
    for name, value in more.items():
        s[getattr(at, f"S_{name}")] = value
    return s


number = st.one_of(st.sampled_from(NUMBERS), st.integers(0, 2**32 - 1))
step_of_time = st.sampled_from(STEPS)
extras = st.fixed_dictionaries(
    {},
    optional={
        "NET": st.sampled_from((0, 1, 3)),
        "LEN": st.sampled_from((0, 1, 2, 99, 100, 1460, 65495, 262144)),
        "WINDOW": st.sampled_from((0, 1, 100, 65535)),
        "OPTIONS": st.one_of(
            st.sampled_from((at.OPT_MSS, at.OPT_SCALE, at.OPT_TIMESTAMPS, at.OPT_SACK)), st.integers(0, 8191)
        ),
        "TSVAL": st.sampled_from((0, 1, 2, 2**31, 2**32 - 1)),
        "TSECR": st.sampled_from((0, 1, 2, 2**31, 2**32 - 1)),
        "MSS": st.sampled_from((0, 536, 1460, 65535)),
        "SHIFT": st.sampled_from((0, 7, 14, 255)),
        "SACKS": st.integers(0, 4),
        "SACK": number,
        "IP_ID": st.sampled_from((-1, 0, 1, 2, 4, 65535)),
        "TTL": st.integers(0, 255),
        "CHECKSUM": st.integers(0, 3),
    },
)


@st.composite
def anything(draw, most: int = 25) -> array:
    """Segment records in which anything follows anything, on four-tuples so few that they collide all the time."""
    out = array("q")
    time = draw(st.sampled_from((BEGIN, 0, 2**62 - 200 * SECOND)))
    for frame in range(1, draw(st.integers(1, most)) + 1):
        time = min(max(time + draw(step_of_time), 0), 2**62)
        hosts = draw(st.sampled_from((HOSTS, HOSTS[::-1], HOSTS, HOSTS[::-1], (HOSTS[0], HOSTS[0]))))
        ports = draw(st.sampled_from((PORTS, PORTS[::-1], (80, 80))))
        flags = draw(st.one_of(st.sampled_from(USUAL_FLAGS), st.integers(0, 511)))
        out.extend(record(frame, time, hosts, ports, draw(number), draw(number), flags, **draw(extras)))
    return out


DEEDS = (
    *("syn", "syn_ack", "ack", "ack", "data", "data", "fin", "rst", "rst_bare", "again", "lost", "isn", "odd"),
    "icmp",  # an error that quotes what this side has sent
)
ORDERLY = ("ack",) * 20 + ("data",) * 60 + DEEDS


@st.composite
def conversations(draw, most: int = 40, *, steps=step_of_time, orderly: bool = False) -> array:
    """Segment records of two hosts that mostly count as TCP does: they reach the states that chance alone does not.

    What is sent may be lost before the capture (``lost``), repeated (``again``), begin anew (``isn``) or be off by a
    little; nobody waits for anybody. Where it is ``orderly``, a connection opens first, and nearly all is in order.
    """
    out = array("q")
    time = BEGIN
    following = [draw(number), draw(number)]
    before: list[list] = [[], []]
    frame = 0
    right = (0,) * (60 if orderly else 8)
    if orderly or draw(st.booleans()):
        plan = [(0, "syn"), (1, "syn_ack"), (0, "ack")]
    else:
        plan = []
    plan += draw(
        st.lists(
            st.tuples(st.integers(0, 1), st.sampled_from(ORDERLY if orderly else DEEDS)),
            min_size=15 if orderly else 1,
            max_size=most,
        )
    )
    for side, deed in plan:
        time = min(max(time + draw(steps), 0), 2**62)
        hosts, ports = (HOSTS, PORTS[::-1]) if side == 0 else (HOSTS[::-1], PORTS)
        if deed == "isn":
            following[side] = draw(number)
            continue
        if deed == "icmp":
            frame += 1
            seq = draw(st.sampled_from(before[side]))[0] if before[side] else draw(number)
            flags = at.TCP_BROKEN | at.TCP_QUOTED | draw(st.sampled_from((at.TCP_STREAMLESS, 2, 16, 24)))
            out.extend(record(frame, time, hosts, ports, seq, 0, flags, SHOWN=-1, SACK=draw(st.integers(0, 65535))))
            continue
        off = draw(st.sampled_from((*right, -1, 1, -100, 100, 70000)))
        acked = draw(st.sampled_from((*right, -1, 1, -100, 100)))
        seq, ack, length, more = following[side] + off, following[1 - side] + acked, 0, {}
        flags = {"syn": 2, "syn_ack": 18, "ack": 16, "data": 24, "fin": 17, "rst": 20, "rst_bare": 4, "lost": 24}.get(
            deed, 16
        )
        if deed in {"data", "lost"}:
            length = draw(st.sampled_from((1, 100, 1460)))
        elif deed == "odd":
            flags, more = draw(st.integers(0, 511)), draw(extras)
            length = more.pop("LEN", 0)
        elif deed == "again" and before[side]:
            seq, ack, flags, length = draw(st.sampled_from(before[side]))
        counted = length + (1 if flags & 3 else 0)
        if off == 0 and deed != "again":
            following[side] = (seq + counted) % 2**32
        before[side].append((seq, ack, flags, length))
        if deed == "lost":
            continue
        frame += 1
        more.setdefault("IP_ID", frame if draw(st.booleans()) else -1)
        if orderly:
            more.setdefault("WINDOW", draw(st.sampled_from((65535, 65535, 65535, 2000, 100, 0))))
            if stamps := draw(st.sampled_from((0, 0, frame, 1))):
                more.setdefault("OPTIONS", at.OPT_TIMESTAMPS)
                more.setdefault("TSVAL", stamps)
        more.pop("NET", None)
        out.extend(record(frame, time, hosts, ports, seq, ack if flags & 16 else 0, flags, LEN=length, **more))
    if not out:
        out.extend(record(1, time, HOSTS, PORTS, 1, 1, 16))
    return out
