"""What must hold of connections, transitions and memory, whatever was fed."""

from __future__ import annotations

from itertools import pairwise

from tcptrace_fsm.kernels import layout as at
from tcptrace_fsm.tcp.machine import TRANSITIONS
from tests.strategies import SIDES, Connection, Outcome

# Words that say where something lies in memory, not what it is.
PLACES = {"C_HASH", "C_OLDER", "C_NEWER", "C_LOG_HEAD", "C_LOG_TAIL", "C_LIVING", "C_LIFE"}
PLACE_WORDS = {getattr(at, name) for name in PLACES} | {
    at.C_ENDPOINTS + side * at.ENDPOINT_SIZE + word for side in (0, 1) for word in (at.E_RUN, at.E_ICMP)
}


def essence(outcome: Outcome):
    """All results of a pass, without what depends on where things lie in memory."""
    return [
        ([0 if i in PLACE_WORDS else word for i, word in enumerate(c.words)], c.changes) for c in outcome.connections
    ], outcome.segments.tolist()


def check_transitions(connection: Connection) -> None:
    """Every change is a row of the machine, changes chain, times lie in their brackets and never run backwards."""
    for side, state in zip(SIDES, connection.states, strict=True):
        changes = connection.of(side)
        for change in changes:
            assert (change.source, change.event, change.target) in ROWS, change
            assert change.earliest <= change.time <= change.latest, change
        for one, other in pairwise(changes):
            assert one.target == other.source, (one, other)
            assert one.time <= other.time, (one, other)
        if changes:
            assert state == changes[-1].target
        else:
            assert state in {"UNKNOWN", "CLOSED"}
    assert connection.changes == [*connection.of("client"), *connection.of("server")]


def check_memory(engine) -> None:
    """After the end nothing is live; each row and block of log records ever used is on its free list exactly once.

    In some rows lie embryos, each of which is on a list of its own.
    """
    control = engine.control
    assert (control[at.K_LIVE], control[at.K_DUE], control[at.K_USED]) == (0, 0, 0)
    assert not any(engine.tables.slots)
    for head, store, link, top, size in (
        (at.K_ROW_FREE, engine.tables.rows, at.C_OLDER, at.K_ROW_TOP, at.CONNECTION_SIZE),
        (at.K_LOG_FREE, engine.tables.log, at.L_NEXT, at.K_LOG_TOP, at.LOG_BLOCK),
    ):
        free: set[int] = set()
        r = control[head]
        while r >= 0:
            assert r not in free
            assert r % size == 0
            free.add(r)
            block, r = r, store[r + link]
            while r > block and r - r % size == block:  # a further record of the same block
                r = store[r + link]
        within: list[int] = []
        e = control[at.K_EMBRYO_FREE] if head == at.K_ROW_FREE else -1
        while e >= 0:
            within.append(e)
            e = store[e + at.EM_HASH]
        assert len(within) == len(set(within)) == len({e // size for e in within}) * (size // at.EMBRYO_SIZE)
        assert not free & {e - e % size for e in within}
        assert (len(free) + len(within) // (size // at.EMBRYO_SIZE)) * size == control[top]


def check(outcome: Outcome) -> None:
    """The invariants of a whole pass."""
    connections = outcome.connections
    assert [c["C_ID"] for c in connections] == list(range(len(connections)))
    for connection in connections:
        check_transitions(connection)
        previous = connection["C_PREVIOUS_ID"]
        assert previous < connection["C_ID"]
        assert (connection["C_INCARNATION"] > 0) == (previous >= 0)
        for side in SIDES:
            assert 0 <= connection.end(side, "E_UNIQUE") <= connection.end(side, "E_BYTES")
            assert connection.end(side, "E_RETRANSMITTED") <= connection.end(side, "E_SEGMENTS")
            assert 0 <= connection.end(side, "E_HOLES") <= 4
    for conn_id, _, _ in outcome.labels():
        assert -1 <= conn_id < len(connections)
    check_memory(outcome.engine)


def check_counted(outcome: Outcome) -> None:
    """Every segment is counted in exactly one connection, and those with a label in the one that it names.

    What the capture alone has twice was sent once.
    """
    counted = sum(c.end(side, "E_SEGMENTS") for c in outcome.connections for side in SIDES)
    flags = outcome.segments[at.S_FLAGS :: at.SEGMENT_SIZE]
    copies = sum("capture_duplicate" in marks for _, _, marks in outcome.labels())
    assert counted == sum(1 for bits in flags if not bits & at.TCP_BROKEN) - copies
    labelled: dict[tuple[int, str], int] = {}
    for conn_id, side, marks in outcome.labels():
        if "capture_duplicate" in marks:
            continue
        labelled[conn_id, side] = labelled.get((conn_id, side), 0) + 1
    for connection in outcome.connections:
        for side in SIDES:
            assert labelled.get((connection["C_ID"], side), 0) <= connection.end(side, "E_SEGMENTS")


ROWS = {(t.source.name, t.event.name, t.target.name) for t in TRANSITIONS}
