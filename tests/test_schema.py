"""The columns: what the contract fixes, and that everything that is generated from them is current."""

from __future__ import annotations

from pathlib import Path

import pytest

from tcptrace_fsm.core.words import CLOSINGS, EVENTS, OPENINGS, ROLES, SIDES, STATES, WHO
from tcptrace_fsm.docs import columns_page
from tcptrace_fsm.kernels import layout
from tcptrace_fsm.tables import schema
from tcptrace_fsm.tables.labels import HISTORY_LETTERS, LABELS, history
from tcptrace_fsm.tcp.flags import flags_text
from tcptrace_fsm.tcp.machine import Event, State

ENDPOINT = [
    "isn",
    "mss",
    "window_shift",
    "segments",
    "payload_bytes",
    "unique_bytes",
    "retransmitted_segments",
    "retransmitted_bytes",
    "out_of_order_segments",
    "duplicate_acks",
    "zero_windows",
    "keepalives",
    "syn_segments",
    "fin_segments",
    "rst_segments",
    "rtt_min",
    "rtt_median",
]
FIXED = {
    "connections": [
        *[
            "conn_id",
            "client_ip",
            "server_ip",
            "client_port",
            "server_port",
            "role_basis",
            "incarnation",
            "previous_conn_id",
            "encapsulation",
        ],
        *[
            "tcp_stream",
            "community_id",
            "first_time",
            "last_time",
            "first_frame",
            "last_frame",
            "opening",
            "closing",
            "closed_first",
            "reset_by",
        ],
        *[
            "client_state",
            "server_state",
            "client_state_basis",
            "server_state_basis",
            "zeek_conn_state",
            "zeek_history",
        ],
        *["wireshark_completeness", "handshake_rtt"],
        *(f"{side}_{name}" for name in ENDPOINT for side in ("client", "server")),
    ],
    "transitions": (
        [
            "conn_id",
            "side",
            "time",
            "time_earliest",
            "time_latest",
            "frame",
            "from_state",
            "to_state",
            "event",
            "basis",
            "confirmed_by",
        ]
    ),
    "anomalies": (
        [
            "conn_id",
            "side",
            "time",
            "frame",
            "kind",
            "category",
            "severity",
            "basis",
            "message",
            "frames",
            "rfc",
            "possible_artefact",
        ]
    ),
    "segments": (
        [
            "frame",
            "time",
            "conn_id",
            "side",
            "seq",
            "ack",
            "rel_seq",
            "rel_ack",
            "flags",
            "payload_len",
            "window",
            "tsval",
            "tsecr",
            "sack",
            "sender_state",
            "receiver_state",
            "label",
        ]
    ),
}


@pytest.mark.parametrize("table", FIXED)
def test_the_fixed_columns_come_first_and_in_order(table):
    names = [c.name for c in schema.TABLES[table]]
    assert names[: len(FIXED[table])] == FIXED[table]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("column", [c for t in schema.TABLES.values() for c in t], ids=lambda c: c.name)
def test_every_column_says_what_it_is(column):
    assert column.meaning
    assert column.source
    plain = {"int64", "int32", "uint16", "string", "timestamp", "duration"}
    assert column.type in plain | {"list<int64>", "list<string>"}
    assert (column.absent is None) or column.nullable


def test_words_stand_at_their_codes():
    assert STATES[State.TIME_WAIT] == "TIME_WAIT"
    assert EVENTS[Event.RCV_SYN_ACK] == "rcv SYN+ACK"
    assert OPENINGS[layout.OPENING_REFUSED] == "refused"
    assert CLOSINGS[layout.CLOSING_NONE] == "none"
    assert WHO[layout.WHO_BOTH] == "both"
    assert ROLES[layout.ROLE_FIRST_SEGMENT] == "first_segment"
    assert SIDES[layout.SERVER] == "server"


def test_columns_md_is_current():
    path = Path(__file__).parent.parent / "docs" / "columns.md"
    assert path.read_text(encoding="utf-8") == columns_page(), (
        "docs/columns.md is out of date: python -m tcptrace_fsm.docs"
    )


def test_flags_are_said_in_the_usual_order():
    assert flags_text(layout.TCP_PSH | layout.TCP_ACK | layout.TCP_FIN) == "FIN+PSH+ACK"
    assert flags_text(0) == ""
    assert flags_text(511).count("+") == 8


def test_history_unpacks_ten_letters_to_a_word():
    codes = [1 + i % len(HISTORY_LETTERS) for i in range(30)]
    words = tuple(sum(code << 6 * i for i, code in enumerate(codes[10 * w : 10 * w + 10])) for w in range(3))
    assert history(words, 30) == "".join(HISTORY_LETTERS[c - 1] for c in codes)
    assert history(words, 4) == "SHAD"


def test_labels_prefer_the_specific_mark():
    order = [label for _, label in LABELS]
    assert order.index("fast_retransmission") < order.index("retransmission")
    assert order.index("spurious_retransmission") < order.index("fast_retransmission")
    assert order.index("keepalive") < order.index("retransmission")
