"""The machine: figure 5 of RFC 9293, the walks of the textbook, and an answer for any state and any event."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcptrace_fsm.tcp.machine import EVENT_TEXT, TRANSITIONS, Basis, Event, Opened, State, table

S, E = State, Event
ACTIVE, PASSIVE = Opened.ACTIVE, Opened.PASSIVE
STATES = [s for s in State if s is not State.UNKNOWN]
TABLES = {sockets: table(sockets=sockets) for sockets in (True, False)}

# The arrows of RFC 9293 figure 5, typed from the figure, from top to bottom; not taken from machine.py.
FIGURE_5 = [
    ("CLOSED", "LISTEN"),  # passive OPEN, create TCB
    ("LISTEN", "CLOSED"),  # CLOSE, delete TCB
    ("CLOSED", "SYN_SENT"),  # active OPEN, create TCB, snd SYN
    ("SYN_SENT", "CLOSED"),  # CLOSE, delete TCB
    ("LISTEN", "SYN_SENT"),  # SEND, snd SYN
    ("LISTEN", "SYN_RECEIVED"),  # rcv SYN, snd SYN,ACK
    ("SYN_RECEIVED", "LISTEN"),  # rcv RST (note 1)
    ("SYN_SENT", "SYN_RECEIVED"),  # rcv SYN, snd SYN,ACK
    ("SYN_RECEIVED", "ESTABLISHED"),  # rcv ACK of SYN
    ("SYN_SENT", "ESTABLISHED"),  # rcv SYN,ACK, snd ACK
    ("SYN_RECEIVED", "FIN_WAIT_1"),  # CLOSE, snd FIN
    ("ESTABLISHED", "FIN_WAIT_1"),  # CLOSE, snd FIN
    ("ESTABLISHED", "CLOSE_WAIT"),  # rcv FIN, snd ACK
    ("FIN_WAIT_1", "FIN_WAIT_2"),  # rcv ACK of FIN
    ("FIN_WAIT_1", "CLOSING"),  # rcv FIN, snd ACK
    ("CLOSE_WAIT", "LAST_ACK"),  # CLOSE, snd FIN
    ("FIN_WAIT_2", "TIME_WAIT"),  # rcv FIN, snd ACK
    ("CLOSING", "TIME_WAIT"),  # rcv ACK of FIN
    ("LAST_ACK", "CLOSED"),  # rcv ACK of FIN
    ("TIME_WAIT", "CLOSED"),  # timeout=2MSL, delete TCB
]


def step(state, event, opened=ACTIVE, *, sockets=True):
    """One lookup, as the replay does it."""
    return State(TABLES[sockets][(opened * len(State) + state) * len(Event) + event])


def walk(opened, *events, start=State.CLOSED, sockets=True):
    """The states that a run of events leads through."""
    states = [start]
    for event in events:
        states.append(step(states[-1], event, opened, sockets=sockets))
    return [s.name for s in states[1:]]


# --- the rows ---------------------------------------------------------------------------------------------------------
def test_the_drawn_rows_are_the_edges_of_figure_5():
    drawn = [(t.source.name, t.target.name) for t in TRANSITIONS if t.drawn]
    assert len(FIGURE_5) == 20
    assert Counter(drawn) == Counter(FIGURE_5)


@pytest.mark.parametrize("row", TRANSITIONS, ids=lambda t: f"{t.source.name}-{t.event.name}")
def test_every_row_names_its_section_and_moves(row):
    assert row.rfc[:2] == "3.", "a section of RFC 9293 chapter 3"
    assert row.source is not row.target, "a row without a change is not needed: the table keeps the state by itself"
    assert State.UNKNOWN not in {row.source, row.target}


@pytest.mark.parametrize("sockets", TABLES)
def test_no_two_rows_answer_the_same_question(sockets):
    asked = Counter()
    for row in TRANSITIONS:
        if row.sockets in {None, sockets}:
            for opened in Opened if row.opened is None else (row.opened,):
                asked[opened, row.source, row.event] += 1
    assert [pair for pair, times in asked.items() if times > 1] == []


def test_every_event_is_used_and_has_its_words():
    # A SYN+ACK goes out by itself on "rcv SYN": sending it shows SYN_RECEIVED, it does not lead there.
    assert set(Event) - {row.event for row in TRANSITIONS} == {Event.SND_SYN_ACK}
    assert set(EVENT_TEXT) == set(Event)
    assert len(set(EVENT_TEXT.values())) == len(Event)


def test_codes_are_dense_for_they_are_indices():
    for kind in (State, Event, Opened, Basis):
        assert [int(member) for member in kind] == list(range(len(kind)))


# --- the table --------------------------------------------------------------------------------------------------------
@given(st.sampled_from(State), st.sampled_from(Event), st.sampled_from(Opened), st.booleans())
def test_any_state_and_any_event_have_an_answer_that_a_row_gives(state, event, opened, sockets):
    after = step(state, event, opened, sockets=sockets)
    rows = [
        row.target
        for row in TRANSITIONS
        if (row.source, row.event) == (state, event) and row.opened in {None, opened} and row.sockets in {None, sockets}
    ]
    assert [after] == (rows or [state])


@pytest.mark.parametrize("sockets", TABLES)
def test_the_table_is_total(sockets):
    assert len(TABLES[sockets]) == len(Opened) * len(State) * len(Event)
    assert set(TABLES[sockets]) <= set(State)


@given(st.lists(st.sampled_from(Event), max_size=60), st.sampled_from(Opened), st.booleans())
def test_no_walk_from_closed_leaves_the_eleven_states(events, opened, sockets):
    assert "UNKNOWN" not in walk(opened, *events, sockets=sockets)


@pytest.mark.parametrize("sockets", TABLES)
@pytest.mark.parametrize("opened", Opened)
def test_every_state_is_reached_and_closed_is_reached_from_everywhere(opened, sockets):
    def reach(start):
        found, todo = {start}, [start]
        while todo:
            state = todo.pop()
            for event in Event:
                after = step(state, event, opened, sockets=sockets)
                if after not in found:
                    found.add(after)
                    todo.append(after)
        return found

    assert reach(State.CLOSED) == set(STATES)
    assert all(State.CLOSED in reach(state) for state in STATES)


def test_unknown_is_never_left_by_the_table():
    for opened in Opened:
        assert {step(State.UNKNOWN, event, opened) for event in Event} == {State.UNKNOWN}


# --- the walks of the textbook ----------------------------------------------------------------------------------------
def test_client_that_closes_first():
    """RFC 9293 figures 6 and 12, side A."""
    assert walk(ACTIVE, E.SND_SYN, E.RCV_SYN_ACK, E.SND_FIN, E.RCV_ACK_OF_FIN, E.RCV_FIN, E.TIMEOUT_2MSL) == [
        "SYN_SENT",
        "ESTABLISHED",
        "FIN_WAIT_1",
        "FIN_WAIT_2",
        "TIME_WAIT",
        "CLOSED",
    ]


def test_server_that_closes_last():
    """RFC 9293 figures 6 and 12, side B."""
    assert walk(PASSIVE, E.OPEN_PASSIVE, E.RCV_SYN, E.RCV_ACK_OF_SYN, E.RCV_FIN, E.SND_FIN, E.RCV_ACK_OF_FIN) == [
        "LISTEN",
        "SYN_RECEIVED",
        "ESTABLISHED",
        "CLOSE_WAIT",
        "LAST_ACK",
        "CLOSED",
    ]


def test_simultaneous_open():
    """RFC 9293 figure 7: both sides walk the same."""
    assert walk(ACTIVE, E.SND_SYN, E.RCV_SYN, E.RCV_ACK_OF_SYN) == ["SYN_SENT", "SYN_RECEIVED", "ESTABLISHED"]


def test_simultaneous_close():
    """RFC 9293 figure 13: both sides walk the same."""
    assert walk(ACTIVE, E.SND_FIN, E.RCV_FIN, E.RCV_ACK_OF_FIN, E.TIMEOUT_2MSL, start=S.ESTABLISHED) == [
        "FIN_WAIT_1",
        "CLOSING",
        "TIME_WAIT",
        "CLOSED",
    ]


def test_half_close_lasts_as_long_as_nothing_closes_it():
    """RFC 9293 3.6 case 1: what else is sent or received in between changes nothing."""
    idle = (E.RCV_ACK_OF_FIN, E.RCV_SYN, E.SND_SYN, E.RCV_SYN_ACK, E.TIMEOUT_2MSL)
    assert set(walk(ACTIVE, *idle, start=S.FIN_WAIT_2)) == {"FIN_WAIT_2"}
    assert set(walk(PASSIVE, *idle, E.RCV_FIN, start=S.CLOSE_WAIT)) == {"CLOSE_WAIT"}


def test_fin_wait_1_straight_to_time_wait():
    """RFC 9293 3.3.2 note 2: FIN and ACK in one segment leave no moment for FIN_WAIT_2."""
    assert walk(ACTIVE, E.SND_FIN, E.RCV_FIN_ACK_OF_FIN, start=S.ESTABLISHED) == ["FIN_WAIT_1", "TIME_WAIT"]


def test_close_before_the_handshake_is_done():
    assert walk(PASSIVE, E.OPEN_PASSIVE, E.RCV_SYN, E.SND_FIN) == ["LISTEN", "SYN_RECEIVED", "FIN_WAIT_1"]


def test_syn_sent_refused():
    assert walk(ACTIVE, E.SND_SYN, E.RCV_RST) == ["SYN_SENT", "CLOSED"]


@pytest.mark.parametrize(
    "opened, sockets, after",
    [
        (ACTIVE, False, "CLOSED"),  # MUST-11: note 1 of the figure speaks of passive opens only
        (ACTIVE, True, "CLOSED"),
        (PASSIVE, False, "LISTEN"),
        (PASSIVE, True, "CLOSED"),  # the listener is a socket of its own and listens on
    ],
)
def test_syn_received_rst(opened, sockets, after):
    """RFC 9293 3.3.2 note 1."""
    assert walk(opened, E.RCV_RST, start=S.SYN_RECEIVED, sockets=sockets) == [after]


@pytest.mark.parametrize("state", [s for s in STATES if s not in {S.CLOSED, S.LISTEN, S.SYN_RECEIVED}])
@pytest.mark.parametrize("event", [E.RCV_RST, E.SND_RST])
def test_a_reset_ends_every_connection(state, event):
    """Time-wait assassination among them (RFC 1337)."""
    for opened in Opened:
        assert step(state, event, opened) is State.CLOSED


def test_a_listener_outlives_resets():
    """RFC 9293 3.10.7.2: an incoming RST should be ignored, and one sent refuses a segment, not the listener."""
    assert walk(PASSIVE, E.RCV_RST, E.SND_RST, start=S.LISTEN) == ["LISTEN", "LISTEN"]


def test_nothing_wakes_the_closed_but_an_open():
    """Segments that come to CLOSED are answered with RST (RFC 9293 3.10.7.1) and change nothing."""
    opening = {E.OPEN_PASSIVE, E.SND_SYN}
    assert {e for e in Event if step(S.CLOSED, e, PASSIVE) is not S.CLOSED} == opening


@pytest.mark.parametrize("state", [S.FIN_WAIT_2, S.TIME_WAIT])
def test_each_timer_moves_only_its_own_state(state):
    timer = {S.FIN_WAIT_2: E.TIMEOUT_FIN_WAIT_2, S.TIME_WAIT: E.TIMEOUT_2MSL}[state]
    assert [s for s in STATES if step(s, timer) is not s] == [state]


def test_a_repeated_fin_does_not_move_time_wait():
    assert walk(ACTIVE, E.RCV_FIN, E.RCV_FIN_ACK_OF_FIN, start=S.TIME_WAIT) == ["TIME_WAIT", "TIME_WAIT"]
