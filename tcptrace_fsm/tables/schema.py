"""Every column of every table, declared once: its name, type, unit, what null means, and where it comes from.

The tables, their Arrow and pandas types, the CSV and parquet files and ``docs/columns.md`` all follow from this file.
A column either is a word of a record (``source`` names it as :mod:`tcptrace_fsm.kernels.layout` does) or is derived
(``source`` says from what, and :mod:`tcptrace_fsm.tables.columns` holds the function of that name).
"""

from __future__ import annotations

from typing import NamedTuple

from tcptrace_fsm.capture.codes import FILE_SHIFT
from tcptrace_fsm.core.words import (
    BASES,
    CATEGORIES,
    CLOSINGS,
    EVENTS,
    FATES,
    MOST_FINDINGS,
    OPENINGS,
    ROLES,
    SEVERITIES,
    SIDES,
    STATES,
    VANTAGES,
    WHO,
)
from tcptrace_fsm.kernels import layout
from tcptrace_fsm.tcp.flags import TCP_FLAGS, flags_text
from tcptrace_fsm.text.addresses import address_text

__all__ = [
    "CATEGORIES",
    "CLOSINGS",
    "FATES",
    "FILE_SHIFT",
    "HISTORY_LETTERS",
    "LABELS",
    "MOST_FINDINGS",
    "OPENINGS",
    "ROWS",
    "SEVERITIES",
    "SIDES",
    "STATES",
    "TABLES",
    "TCP_FLAGS",
    "WAYS",
    "Column",
    "address_text",
    "columns",
    "declared",
    "flags_text",
    "history",
]

HISTORY_LETTERS = "SHADFRCGTWIQXshadfrcgtwiqx^"
"""Letters of Zeek's history: code 1 is the first, 0 is none. Upper case is the client's."""

LABELS: tuple[tuple[int, str], ...] = (
    (layout.MARK_CAPTURE_DUPLICATE, "capture_duplicate"),
    (layout.MARK_NETWORK_DUPLICATE, "network_duplicate"),
    (layout.MARK_KEEPALIVE, "keepalive"),
    (layout.MARK_KEEPALIVE_ACK, "keepalive_ack"),
    (layout.MARK_ZERO_WINDOW_PROBE, "zero_window_probe"),
    (layout.MARK_ZERO_WINDOW_PROBE_ACK, "zero_window_probe_ack"),
    (layout.MARK_SYN_AGAIN, "syn_retransmission"),
    (layout.MARK_SYN_ACK_AGAIN, "syn_ack_retransmission"),
    (layout.MARK_FIN_AGAIN, "fin_retransmission"),
    (layout.MARK_SPURIOUS, "spurious_retransmission"),
    (layout.MARK_TAIL_LOSS_PROBE, "tail_loss_probe"),
    (layout.MARK_FAST, "fast_retransmission"),
    (layout.MARK_OUT_OF_ORDER, "out_of_order"),
    (layout.MARK_RETRANSMISSION, "retransmission"),
    (layout.MARK_TIMEOUT, "retransmission"),
    (layout.MARK_LOST_BEFORE, "retransmission"),
    (layout.MARK_DUPLICATE_ACK, "duplicate_ack"),
    (layout.MARK_ZERO_WINDOW, "zero_window"),
    (layout.MARK_WINDOW_UPDATE, "window_update"),
    (layout.MARK_WINDOW_FULL, "window_full"),
    (layout.MARK_GAP, "previous_segment_unseen"),
    (layout.MARK_ACK_UNSEEN, "ack_of_unseen_segment"),
)
"""The label of a segment is that of its first mark in this order: the more specific come first."""
BROKEN = "broken_header"
"""The label of what has a TCP header that contradicts itself, or that the capture cuts off."""


class Column(NamedTuple):
    """One column.

    Attributes
    ----------
    name : str
    type : str
        ``int64``, ``int32``, ``uint16``, ``string``, ``timestamp`` (ns, UTC), ``duration`` (ns) or ``list<int64>``.
    meaning : str
        One line.
    source : str
        A word of the record, by its name in ``layout``, or the derivation in words.
    null : str
        What null means; empty where the column has none.
    unit : str
    word : int or None
        Offset of the source in its record, where the column is a word of it.
    absent : int or None
        The value of that word that becomes null.
    words : tuple of str or None
        For a word that is a code: what the codes mean.
    frames : bool
        Whether it holds frame numbers.
    after : str
        For a column that there is only where there are several captures: the column before it, which holds the frame
        of which this one names the capture.

    """

    name: str
    type: str
    meaning: str
    source: str
    null: str = ""
    unit: str = ""
    word: int | None = None
    absent: int | None = None
    words: tuple[str, ...] | None = None
    frames: bool = False
    after: str = ""

    @property
    def nullable(self) -> bool:
        """Whether the column may hold nulls."""
        return bool(self.null)


def _word(
    name: str,
    source: str,
    meaning: str,
    *,
    kind: str = "int64",
    null: str = "",
    absent: int | None = -1,
    unit: str = "",
    words: tuple[str, ...] | None = None,
    side: int | None = None,
) -> Column:
    """Declare a column that is a word of its record."""
    word = int(getattr(layout, source))
    if side is not None:
        word += layout.C_ENDPOINTS + side * layout.ENDPOINT_SIZE
        source = f"{SIDES[side]}'s {source}"
    kind = "string" if words else kind
    frames = source in {
        "C_FIRST_FRAME",
        "C_LAST_FRAME",
        "T_FRAME",
        "T_CONFIRMED_BY",
        "S_FRAME",
        "WT_BEFORE",
        "WT_AFTER",
    }
    unit = unit or ("ns" if kind == "duration" else "ns, UTC" if kind == "timestamp" else "")
    return Column(name, kind, meaning, source, null, unit, word, absent if null else None, words, frames)


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
                made.append(_word(f"{whose}_{name}", source, meaning, kind=kind, null=null, unit=unit, side=side))
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


WAITING_FOR = ("transfer", "handshake", "application", "window", "retransmission", "delayed_ack", "close")
"""What time goes for, in the order of ``WAIT_...``; the first is no wait."""
LONGEST_FOR: tuple[str, ...] = ("nothing", *[f"{side} {what}" for what in WAITING_FOR for side in SIDES][1:])
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
        _word("longest_wait", "C_LONGEST_WAIT", "longest row of waits", kind="duration", null=none, absent=0),
        _word("longest_wait_for", "C_LONGEST_FOR", "whom it waited for", words=LONGEST_FOR, null=none, absent=0),
        _word(
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
    return made


_CONNECTIONS: tuple[Column, ...] = (
    _word("conn_id", "C_ID", "number of the connection, from 0, in order of first segment"),
    Column("client_ip", "string", "address of the active opener, canonical text", "C_CLIENT_HI, C_CLIENT_LO, C_NET"),
    Column("server_ip", "string", "address of the passive opener, canonical text", "C_SERVER_HI, C_SERVER_LO, C_NET"),
    Column("client_port", "uint16", "port of the active opener", "C_PORTS"),
    Column("server_port", "uint16", "port of the passive opener", "C_PORTS"),
    _word("role_basis", "C_ROLE_BASIS", "what tells who the client is", words=ROLES),
    _word("incarnation", "C_INCARNATION", "0 for the first use of this four-tuple, then 1, 2 ...", kind="int32"),
    _word("previous_conn_id", "C_PREVIOUS_ID", "the incarnation before", null="first use of this four-tuple"),
    Column(
        "encapsulation", "string", "VLANs and tunnels outside the IP packet, outermost first; empty for none", "C_NET"
    ),
    _word("tcp_stream", "C_STREAM", "Wireshark's tcp.stream of the first segment", null="unknown"),
    Column("community_id", "string", "Community ID version 1, seed 0", "the four-tuple"),
    _word("first_time", "C_FIRST_TIME", "first segment", kind="timestamp"),
    _word("last_time", "C_LAST_TIME", "last segment", kind="timestamp"),
    _word("first_frame", "C_FIRST_FRAME", "frame of the first segment"),
    _word("last_frame", "C_LAST_FRAME", "frame of the last segment"),
    _word("opening", "C_OPENING", "how it opened", words=OPENINGS),
    _word("closing", "C_CLOSING", "how it closed", words=CLOSINGS),
    _word("closed_first", "C_CLOSED_FIRST", "who sent the first FIN", words=WHO, null="no FIN seen", absent=0),
    _word("reset_by", "C_RESET_BY", "who sent the RST that ended it", words=WHO, null="not reset", absent=0),
    _word("client_state", "C_CLIENT_STATE", "client's state when the capture ends, timers included", words=STATES),
    _word("server_state", "C_SERVER_STATE", "server's state when the capture ends, timers included", words=STATES),
    _word("client_state_basis", "C_CLIENT_BASIS", "what that rests on, as basis in transitions", words=BASES),
    _word("server_state_basis", "C_SERVER_BASIS", "what that rests on, as basis in transitions", words=BASES),
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
    _word(
        "vantage",
        "C_VANTAGE",
        "near whom the capture was taken, by the round-trip times on either side",
        words=VANTAGES,
        null="no times on both sides, or too short to tell",
        absent=0,
    ),
    *_ways(),
    _word("tcp_stream_last", "C_STREAM_NOW", "Wireshark's tcp.stream of the last segment", null="unknown"),
    *_waited(),
)

_TRANSITIONS: tuple[Column, ...] = (
    _word("conn_id", "T_CONNECTION", "the connection"),
    _word("side", "T_SIDE", "the endpoint whose state changed", words=SIDES),
    _word("time", "T_TIME", "best estimate of when", kind="timestamp"),
    _word("time_earliest", "T_EARLIEST", "not before", kind="timestamp", null="before the capture began"),
    _word("time_latest", "T_LATEST", "not after", kind="timestamp", null="after the capture's end"),
    _word("frame", "T_FRAME", "the frame that shows or causes it", null="a timer, or nothing in the capture"),
    _word("from_state", "T_FROM", "state before", words=STATES),
    _word("to_state", "T_TO", "state after", words=STATES),
    _word("event", "T_EVENT", "what happened, in the machine's words", words=EVENTS),
    _word("basis", "T_BASIS", "what it rests on", words=BASES),
    _word("confirmed_by", "T_CONFIRMED_BY", "the frame that proves an acked change", null="not an acked change"),
)

_ANOMALIES: tuple[Column, ...] = (
    Column("conn_id", "int64", "the connection", "Finding.conn_id", "about the whole capture"),
    Column("side", "string", "the endpoint that misbehaves or suffers", "Finding.side", "both"),
    Column("time", "timestamp", "when", "Finding.time", unit="ns, UTC"),
    Column("frame", "int64", "the frame where it shows", "Finding.frame", "no frame shows it", frames=True),
    Column("kind", "string", "name in the catalogue", "Finding.kind"),
    Column("category", "string", ", ".join(CATEGORIES), "Finding.category"),
    Column("severity", "string", ", ".join(SEVERITIES), "Finding.severity"),
    Column("basis", "string", "what it rests on, as in transitions", "Finding.basis"),
    Column("message", "string", "one sentence to act on, with the numbers", "Finding.message"),
    Column("frames", "list<int64>", "the evidence", "Finding.frames", frames=True),
    Column("rfc", "string", "document and section", "Finding.rfc"),
    Column(
        "possible_artefact",
        "string",
        "the capture fault that could explain it innocently",
        "Finding.possible_artefact",
        "none known",
    ),
)

_SEGMENTS: tuple[Column, ...] = (
    _word("frame", "S_FRAME", "frame number"),
    _word("time", "S_TIME", "capture time", kind="timestamp"),
    _word(
        "conn_id",
        "S_CONNECTION",
        "the connection",
        null=f"a SYN inside a connection, before it proved to begin another; `{BROKEN}`",
    ),
    Column("side", "string", "the sender", "S_SIDE", f"`{BROKEN}`", words=SIDES),
    _word("seq", "S_SEQ", "sequence number, as on the wire"),
    Column("ack", "int64", "acknowledgment number, as on the wire", "S_ACK", "no ACK flag"),
    Column(
        "rel_seq", "int64", "seq in 64 bits, 0 being the sender's SYN", "S_SEQ and the sender's E_BASE", "no base known"
    ),
    Column(
        "rel_ack",
        "int64",
        "ack in 64 bits, 0 being the peer's SYN",
        "S_ACK and the peer's E_BASE",
        "no ACK flag or base",
    ),
    Column("flags", "string", "flags that are set, joined by +", "S_FLAGS"),
    Column(
        "payload_len",
        "int64",
        "payload by the IP header, as far as the frame had room for it: tcp.len; 0 where Wireshark has none",
        "S_SHOWN",
        unit="bytes",
    ),
    Column("window", "int64", "window, scaled", "S_WINDOW and E_SHIFT of both", "the scale is unknown", "bytes"),
    Column("tsval", "int64", "timestamp value (RFC 7323)", "S_TSVAL", "no timestamps option"),
    Column("tsecr", "int64", "timestamp echo reply (RFC 7323)", "S_TSECR", "no timestamps option"),
    Column(
        "sack", "list<int64>", "SACK blocks as on the wire: left, right, left, right ...", "S_SACK", "no SACK option"
    ),
    Column("sender_state", "string", "sender's state after this segment", "transitions", "never determined"),
    Column("receiver_state", "string", "receiver's state after this segment", "transitions", "never determined"),
    Column("label", "string", "what is notable about it, or empty", "S_MARKS"),
    _word("window_raw", "S_WINDOW", "window field, unscaled"),
    Column(
        "fate",
        "string",
        "what became of it between two capture points: " + ", ".join(f"`{fate}`" for fate in FATES if fate),
        "S_FATE",
        "not two capture points, or nothing can be said",
    ),
    Column("arrival", "timestamp", "when all of it was at the other capture point", "S_ARRIVAL", "not seen there"),
    Column("arrival_frame", "int64", "its (last) frame there", "S_ARRIVAL_FRAME", "not seen there", frames=True),
    Column("owd", "duration", "one-way delay from point to point", "S_ARRIVAL less S_TIME", "not seen at both", "ns"),
    Column(
        "tcp_stream",
        "int64",
        "Wireshark's tcp.stream of this frame",
        "S_STREAM",
        "too little of the header for Wireshark",
    ),
    Column(
        "tcp_completeness",
        "int64",
        "Wireshark's tcp.completeness as tshark prints it with this frame, which it leaves out",
        "S_STREAM",
        "no tcp_stream",
    ),
)

_DIAGNOSES: tuple[Column, ...] = (
    Column("diagnosis_id", "int64", "0, 1, 2 ... worst first, as on the first screen", "causes"),
    Column("cause", "string", "what is wrong; see docs/causes.md", "causes"),
    Column(
        "confidence",
        "string",
        "`proved`: the capture excludes every other cause; `likely`: it fits best, and what it predicts was seen; "
        "`possible`: it fits, and nothing here can tell it from its alternatives",
        "causes",
    ),
    Column("severity", "string", "of its effect on a user: info, low, medium or high", "causes"),
    Column("where", "string", "who or what has to be mended: client, server, path or capture", "causes"),
    Column("service", "string", "address and port, where one service is concerned", "causes", "not one service"),
    Column("host", "string", "address, where one host is concerned", "causes", "not one host"),
    Column("connections", "list<int64>", "conn_id of those that suffer, at most 1,000", "causes"),
    Column("count", "int64", "how many suffer", "causes"),
    Column("of", "int64", "out of how many that went the same way", "causes"),
    Column("time", "timestamp", "first sign of it", "causes", unit="ns, UTC"),
    Column("frame", "int64", "the frame that shows it", "causes", "no frame shows it", frames=True),
    Column("message", "string", "one sentence with the numbers", "causes"),
    Column("evidence_for", "list<string>", "what was seen, each with its numbers and frames", "causes"),
    Column(
        "evidence_against",
        "list<string>",
        "what would have been seen under another cause and was not, or what speaks against this one",
        "causes",
    ),
    Column("alternatives", "list<string>", "causes that cannot be excluded, likeliest first", "causes"),
    Column("findings", "list<string>", "kinds of finding that it explains", "causes"),
    Column("next_step", "string", "how to make sure, or to mend it", "causes"),
)

_WAITS: tuple[Column, ...] = (
    _word("conn_id", "WT_CONNECTION", "the connection"),
    _word("start", "WT_START", "since when it stood still", kind="timestamp"),
    _word("end", "WT_END", "until when", kind="timestamp"),
    _word("duration", "WT_DURATION", "how long", kind="duration"),
    _word("waiting_for", "WT_FOR", "what it waited for", words=WAITING_FOR),
    _word("side", "WT_SIDE", "whose turn it was: who was waited for", words=SIDES),
    _word("frame_before", "WT_BEFORE", "the frame before it"),
    _word("frame_after", "WT_AFTER", "the frame that ended it", null="it had not ended when the capture did"),
    _word("basis", "WT_BASIS", "what it rests on, as in transitions", words=BASES),
)

TABLES: dict[str, tuple[Column, ...]] = {
    "connections": _CONNECTIONS,
    "transitions": _TRANSITIONS,
    "anomalies": _ANOMALIES,
    "diagnoses": _DIAGNOSES,
    "waits": _WAITS,
    "segments": _SEGMENTS,
}
"""The tables by name, each with its columns in order."""

_FILES: dict[str, tuple[tuple[str, str], ...]] = {
    "connections": (("first_file", "first_frame"), ("last_file", "last_frame")),
    "transitions": (("file", "frame"), ("confirmed_by_file", "confirmed_by")),
    "anomalies": (("file", "frame"), ("files", "frames")),
    "diagnoses": (("file", "frame"),),
    "waits": (("file_before", "frame_before"), ("file_after", "frame_after")),
    "segments": (("file", "frame"), ("arrival_file", "arrival_frame")),
}


def columns(table: str) -> dict[str, Column]:
    """Give the columns of a table by name."""
    return {c.name: c for c in TABLES[table]}


def declared(table: str, *, files: bool = False) -> tuple[Column, ...]:
    """Give the columns of a table in order; ``files``: with those that name the captures where there are several."""
    if not files:
        return TABLES[table]
    made = []
    for column in TABLES[table]:
        made.append(column)
        for name, after in _FILES[table]:
            if after == column.name:
                kind = "list<string>" if column.type.startswith("list") else "string"
                text = f"the capture, as given, that holds {'each of ' if kind != 'string' else ''}`{after}`"
                made.append(Column(name, kind, text, column.source, column.null, word=column.word, after=after))
    return tuple(made)


ROWS = {
    "connections": "One row per connection: one incarnation of a four-tuple.",
    "transitions": "One row per state change of one endpoint.",
    "anomalies": "One row per finding.",
    "diagnoses": "One row per problem, worst first: what a person would mend, and why.",
    "waits": "One row per interval in which a connection stood still, for more than 10 ms and two round trips.",
    "segments": "One row per frame with a TCP header. Written only when asked for (`--tables ...,segments`).",
}


def history(words: tuple[int, int, int], length: int) -> str:
    """Unpack Zeek's history letters: 6 bits each, lowest first, ten to a word."""
    codes = (words[i // 10] >> 6 * (i % 10) & 63 for i in range(min(length, 30)))
    return "".join(HISTORY_LETTERS[code - 1] for code in codes if 1 <= code <= len(HISTORY_LETTERS))
