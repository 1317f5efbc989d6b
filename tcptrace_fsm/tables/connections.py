"""The columns of connections, in their order."""

from __future__ import annotations

from tcptrace_fsm.core.words import BASES, CLOSINGS, OPENINGS, ROLES, SIDES, STATES, VANTAGES, WHO
from tcptrace_fsm.kernels import layout
from tcptrace_fsm.tables.column import Column, column_of
from tcptrace_fsm.tcp.profiles import STACKS

__all__ = ["CONNECTIONS", "LIMITED_BY", "LONGEST_FOR", "WAITING_FOR", "WAYS"]

_ENDPOINT: tuple[tuple[str, str, str, str, str, str], ...] = (
    # name, source, type, unit, null, meaning
    (
        "isn",
        "",
        "int64",
        "",
        "its SYN is not in the capture, nor an ACK of it",
        "initial sequence number, as on the wire",
    ),
    (
        "mss",
        "E_MSS",
        "int64",
        "bytes",
        "no SYN seen, or no such option in it",
        "maximum segment size that it announced",
    ),
    (
        "window_shift",
        "E_SHIFT",
        "int64",
        "bits",
        "no SYN seen, or no such option in it",
        "window scale that it announced",
    ),
    ("segments", "E_SEGMENTS", "int64", "", "", "segments sent; one that the capture holds twice counts once"),
    ("payload_bytes", "E_BYTES", "int64", "bytes", "", "payload sent, repeated bytes included"),
    ("unique_bytes", "E_UNIQUE", "int64", "bytes", "", "payload sent, each byte of the sequence space once"),
    ("retransmitted_segments", "E_RETRANSMITTED", "int64", "", "", "segments that repeat sequence space seen before"),
    ("retransmitted_bytes", "E_RETRANSMITTED_BYTES", "int64", "bytes", "", "payload sent again"),
    ("out_of_order_segments", "E_OUT_OF_ORDER", "int64", "", "", "segments that were overtaken by later ones"),
    ("duplicate_acks", "E_DUPLICATE_ACKS", "int64", "", "", "duplicate ACKs (RFC 5681 section 2)"),
    ("zero_windows", "E_ZERO_WINDOWS", "int64", "", "", "segments that closed its window"),
    ("keepalives", "E_KEEPALIVES", "int64", "", "", "keepalive probes"),
    ("syn_segments", "E_SYNS", "int64", "", "", "segments with SYN"),
    ("fin_segments", "E_FINS", "int64", "", "", "segments with FIN"),
    ("rst_segments", "E_RSTS", "int64", "", "", "segments with RST"),
    (
        "rtt_min",
        "E_RTT_MIN",
        "duration",
        "",
        "no sample",
        "shortest time from its segment to the ACK of it, as seen here",
    ),
    (
        "rtt_median",
        "",
        "duration",
        "",
        "no sample",
        "median of these times (P-square estimate from the sixth sample on)",
    ),
)
_ENDPOINT_DERIVED = {
    "isn": "E_BASE where E_BASE_KNOWN says that a SYN, or an ACK of one, gave it",
    "rtt_median": "E_RTT_COUNT and E_RTT_MARKER",
}


def _endpoints() -> list[Column]:
    """Each of the endpoint's columns, the client's before the server's."""
    made = []
    for name, source, kind, unit, null, meaning in _ENDPOINT:
        for side, whose in enumerate(SIDES):
            if source:
                made.append(column_of(f"{whose}_{name}", source, meaning, kind=kind, null=null, unit=unit, side=side))
            else:
                text = f"{whose}'s {_ENDPOINT_DERIVED[name]}"
                made.append(Column(f"{whose}_{name}", kind, meaning, text, null, "ns" if kind == "duration" else unit))
    return made


_ONE_POINT = "not two capture points, or not seen at both"
WAYS = (
    # name (one way is put in), path record's word, type, unit, meaning
    ("lost_{}", "W_LOST", "int64", "", "segments lost between the capture points, in whole or in part"),
    ("lost_{}_bytes", "W_LOST_BYTES", "int64", "bytes", "their payload that was lost"),
    ("lost_{}_before", "W_BEFORE", "int64", "", "segments lost before the first point, as the repeated ones tell"),
    ("lost_{}_after", "W_AFTER", "int64", "", "segments lost behind the last point: repeated after a timeout there"),
    ("uncaptured_{}", "W_MISSED", "int64", "", "segments that were acknowledged, though the other capture lacks them"),
    ("foreign_{}", "W_FOREIGN", "int64", "", "segments at the receiver's point that never left the sender's"),
    ("reordered_{}", "W_REORDERED", "int64", "", "segments that arrived after one which was sent later"),
    ("owd_{}_min", "W_DELAY_MIN", "duration", "ns", "shortest one-way delay from point to point"),
    ("owd_{}_median", "W_DELAY_MARKER", "duration", "ns", "median of these delays (P-square estimate)"),
)


def _ways() -> list[Column]:
    """What two capture points tell of each way, client to server before server to client."""
    made = []
    for name, word, kind, unit, meaning in WAYS:
        for way, whose in (("c2s", "client's"), ("s2c", "server's")):
            null = "no delay measured" if kind == "duration" else _ONE_POINT
            made.append(Column(name.format(way), kind, f"{whose} {meaning}", f"path: {whose} {word}", null, unit))
    return made


def _stacks() -> list[Column]:
    text = "system that its SYN bespeaks, by options, TTL, window, IP identification and the form of its RSTs"
    return [column_of(f"{name}_stack", "END_STACK", text, words=STACKS, side=side) for side, name in enumerate(SIDES)]


WAITING_FOR = ("transfer", "handshake", "application", "window", "retransmission", "delayed_ack", "close")
"""What time goes for, in the order of ``WAIT_...``; the first is no wait."""
LONGEST_FOR: tuple[str, ...] = ("nothing", *[f"{side} {what}" for what in WAITING_FOR for side in SIDES][1:])
LIMITED_BY = ("nothing", "application", "receiver_window", "loss", "path")
"""What the columns ``..._limited_by`` say; the first is null."""
_TIMES: tuple[tuple[str, int, int | None, str], ...] = (
    # name, WAIT_..., side (None: both), meaning
    ("handshake", layout.WAIT_HANDSHAKE, None, "until both had spoken after the SYNs"),
    ("server_application", layout.WAIT_APPLICATION, 1, "the server had all it needed, and said nothing"),
    ("client_application", layout.WAIT_APPLICATION, 0, "the client had all it needed, and said nothing"),
    ("server_window", layout.WAIT_WINDOW, 1, "the server's window had no room for the client's data"),
    ("client_window", layout.WAIT_WINDOW, 0, "the client's window had no room for the server's data"),
    ("retransmission", layout.WAIT_RETRANSMISSION, None, "something was lost, and not yet there again"),
    ("delayed_ack", layout.WAIT_DELAYED_ACK, None, "a short segment was held back until a delayed ACK (Nagle)"),
    ("transfer", layout.WAIT_TRANSFER, None, "segments were on their way"),
    ("close", layout.WAIT_CLOSE, None, "after the first FIN or RST"),
)
_NO_TURNS = "one direction is not in the capture, or both ends spoke at the same time (pipelining)"


def _waited() -> list[Column]:
    """Where a connection's time went, and for whom."""
    none = "none longer than 10 ms and than two round trips"
    made = [
        Column("requests", "int64", "times that the client spoke after the server, or first", "C_REQUESTS", _NO_TURNS),
        Column(
            "response_time_median",
            "duration",
            "last byte of a request to the first byte of its answer, less the way (P-square from the sixth on)",
            "C_RESPONSES and C_RESPONSE_MARKER",
            f"no answer; {_NO_TURNS}",
            "ns",
        ),
        Column(
            "response_time_max",
            "duration",
            "longest of these times",
            "C_RESPONSE_MAX",
            f"no answer; {_NO_TURNS}",
            "ns",
        ),
        column_of("longest_wait", "C_LONGEST_WAIT", "longest row of waits", kind="duration", null=none, absent=0),
        column_of("longest_wait_for", "C_LONGEST_FOR", "whom it waited for", words=LONGEST_FOR, null=none, absent=0),
        column_of(
            "idle_before_end",
            "C_IDLE",
            "silence before the last thing that happened: new data, FIN or RST while nothing was under way",
            kind="duration",
            null="nothing happened after the handshake",
        ),
    ]  # fmt: skip
    for name, kind, side, meaning in _TIMES:
        text = f"C_TIMES, {WAITING_FOR[kind]}"
        word = None if side is None else layout.C_TIMES + 2 * kind + side
        made.append(Column(f"time_{name}", "duration", f"time in which {meaning}".replace("in which until", "until"),
                           text, "", "ns", word))  # fmt: skip
    untold = "too little sent, one direction not in the capture, or no one thing took half of the time"
    for end in ("client", "server"):
        meaning = f"what limits the {end}'s sending: application, receiver_window, loss or path; see waits.md"
        made.append(Column(f"{end}_limited_by", "string", meaning, "C_TIMES", untold, words=LIMITED_BY[1:]))
    return made


CONNECTIONS: tuple[Column, ...] = (
    column_of("conn_id", "C_ID", "number of the connection, from 0, in order of first segment"),
    Column("client_ip", "string", "address of the active opener, canonical text", "C_CLIENT_HI, C_CLIENT_LO, C_NET"),
    Column("server_ip", "string", "address of the passive opener, canonical text", "C_SERVER_HI, C_SERVER_LO, C_NET"),
    Column("client_port", "uint16", "port of the active opener", "C_PORTS"),
    Column("server_port", "uint16", "port of the passive opener", "C_PORTS"),
    column_of("role_basis", "C_ROLE_BASIS", "what tells who the client is", words=ROLES),
    column_of("incarnation", "C_INCARNATION", "0 for the first use of this four-tuple, then 1, 2 ...", kind="int32"),
    column_of("previous_conn_id", "C_PREVIOUS_ID", "the incarnation before", null="first use of this four-tuple"),
    Column(
        "encapsulation", "string", "VLANs and tunnels outside the IP packet, outermost first; empty for none", "C_NET"
    ),
    column_of("tcp_stream", "C_STREAM", "Wireshark's tcp.stream of the first segment", null="unknown"),
    Column("community_id", "string", "Community ID version 1, seed 0", "the four-tuple"),
    column_of("first_time", "C_FIRST_TIME", "first segment", kind="timestamp"),
    column_of("last_time", "C_LAST_TIME", "last segment", kind="timestamp"),
    column_of("first_frame", "C_FIRST_FRAME", "frame of the first segment"),
    column_of("last_frame", "C_LAST_FRAME", "frame of the last segment"),
    column_of("opening", "C_OPENING", "how it opened", words=OPENINGS),
    column_of("closing", "C_CLOSING", "how it closed", words=CLOSINGS),
    column_of("closed_first", "C_CLOSED_FIRST", "who sent the first FIN", words=WHO, null="no FIN seen", absent=0),
    column_of("reset_by", "C_RESET_BY", "who sent the RST that ended it", words=WHO, null="not reset", absent=0),
    column_of("client_state", "C_CLIENT_STATE", "client's state when the capture ends, timers included", words=STATES),
    column_of("server_state", "C_SERVER_STATE", "server's state when the capture ends, timers included", words=STATES),
    column_of("client_state_basis", "C_CLIENT_BASIS", "what that rests on, as basis in transitions", words=BASES),
    column_of("server_state_basis", "C_SERVER_BASIS", "what that rests on, as basis in transitions", words=BASES),
    Column("zeek_conn_state", "string", "conn_state as in Zeek's conn.log; see joins.md", "C_ZEEK"),
    Column("zeek_history", "string", "history as in Zeek's conn.log; see joins.md", "C_HISTORY, C_HISTORY_LENGTH"),
    Column(
        "wireshark_completeness",
        "int32",
        "tcp.completeness as tshark prints it with the stream's last segment, which it leaves out",
        "C_COMPLETENESS",
    ),
    Column(
        "handshake_rtt",
        "duration",
        "SYN to its SYN+ACK, plus SYN+ACK to its ACK, as seen here",
        "C_SYN_TIME, C_SYN_ACK_TIME, C_HANDSHAKE_ACK_TIME",
        "not all three were seen",
        "ns",
    ),
    *_endpoints(),
    Column(
        "wireshark_completeness_whole",
        "int32",
        "tcp.completeness as Wireshark's window and tshark -2 show it, with the stream's last segment",
        "C_COMPLETENESS",
    ),
    column_of(
        "vantage",
        "C_VANTAGE",
        "near whom the capture was taken, by the round-trip times on either side",
        words=VANTAGES,
        null="no times on both sides, or too short to tell",
        absent=0,
    ),
    *_ways(),
    *_stacks(),
    column_of("tcp_stream_last", "C_STREAM_NOW", "Wireshark's tcp.stream of the last segment", null="unknown"),
    *_waited(),
)
