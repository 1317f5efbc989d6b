"""Every column of every table, declared once: its name, type, unit, what null means, and where it comes from.

The tables, their Arrow and pandas types, the CSV and parquet files and ``docs/columns.md`` all follow from this file.
A column either is a word of a record (``source`` names it as :mod:`tcptrace_fsm.kernels.layout` does) or is derived
(``source`` says from what, and :mod:`tcptrace_fsm.tables.derived` holds the function of that name).
"""

from __future__ import annotations

from tcptrace_fsm.core.words import (
    BASES,
    CATEGORIES,
    CONFIDENCES,
    EVENTS,
    FATES,
    PLACES,
    SEVERITIES,
    SIDES,
    STATES,
)
from tcptrace_fsm.tables.column import Column, column_of
from tcptrace_fsm.tables.connections import CONNECTIONS, WAITING_FOR
from tcptrace_fsm.tables.labels import BROKEN
from tcptrace_fsm.tables.names import TABLE_NAMES

__all__ = ["ROWS", "TABLES", "Column", "columns", "declared", "seconds"]

_TRANSITIONS: tuple[Column, ...] = (
    column_of("conn_id", "T_CONNECTION", "the connection"),
    column_of("side", "T_SIDE", "the endpoint whose state changed", words=SIDES),
    column_of("time", "T_TIME", "best estimate of when", kind="timestamp"),
    column_of("time_earliest", "T_EARLIEST", "not before", kind="timestamp", null="before the capture began"),
    column_of("time_latest", "T_LATEST", "not after", kind="timestamp", null="after the capture's end"),
    column_of("frame", "T_FRAME", "the frame that shows or causes it", null="a timer, or nothing in the capture"),
    column_of("from_state", "T_FROM", "state before", words=STATES),
    column_of("to_state", "T_TO", "state after", words=STATES),
    column_of("event", "T_EVENT", "what happened, in the machine's words", words=EVENTS),
    column_of("basis", "T_BASIS", "what it rests on", words=BASES),
    column_of("confirmed_by", "T_CONFIRMED_BY", "the frame that proves an acked change", null="not an acked change"),
)

_ANOMALIES: tuple[Column, ...] = (
    Column("conn_id", "int64", "the connection", "Finding.conn_id", "about the whole capture"),
    Column("side", "string", "the endpoint that misbehaves or suffers", "Finding.side", "both", words=SIDES),
    Column("time", "timestamp", "when", "Finding.time", unit="ns, UTC"),
    Column("frame", "int64", "the frame where it shows", "Finding.frame", "no frame shows it", frames=True),
    Column("kind", "string", "name in the catalogue", "Finding.kind"),
    Column("category", "string", "what it is about", "Finding.category", words=CATEGORIES),
    Column("severity", "string", "how bad it is", "Finding.severity", words=SEVERITIES, ordered=True),
    Column("basis", "string", "what it rests on, as in transitions", "Finding.basis", words=BASES),
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
    column_of("frame", "S_FRAME", "frame number"),
    column_of("time", "S_TIME", "capture time", kind="timestamp"),
    column_of(
        "conn_id",
        "S_CONNECTION",
        "the connection",
        null=f"a SYN inside a connection, before it proved to begin another; `{BROKEN}`",
    ),
    Column("side", "string", "the sender", "S_SIDE", f"`{BROKEN}`", words=SIDES),
    column_of("seq", "S_SEQ", "sequence number, as on the wire"),
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
    Column(
        "sender_state",
        "string",
        "sender's state after this segment",
        "transitions",
        "never determined",
        words=STATES,
    ),
    Column(
        "receiver_state",
        "string",
        "receiver's state after this segment",
        "transitions",
        "never determined",
        words=STATES,
    ),
    Column("label", "string", "what is notable about it, or empty", "S_MARKS"),
    column_of("window_raw", "S_WINDOW", "window field, unscaled"),
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
        words=CONFIDENCES,
        ordered=True,
    ),
    Column("severity", "string", "of its effect on a user", "causes", words=SEVERITIES, ordered=True),
    Column("where", "string", "who or what has to be mended", "causes", words=PLACES),
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
    column_of("conn_id", "WT_CONNECTION", "the connection"),
    column_of("start", "WT_START", "since when it stood still", kind="timestamp"),
    column_of("end", "WT_END", "until when", kind="timestamp"),
    column_of("duration", "WT_DURATION", "how long", kind="duration"),
    column_of("waiting_for", "WT_FOR", "what it waited for", words=WAITING_FOR),
    column_of("side", "WT_SIDE", "whose turn it was: who was waited for", words=SIDES),
    column_of("frame_before", "WT_BEFORE", "the frame before it"),
    column_of("frame_after", "WT_AFTER", "the frame that ended it", null="it had not ended when the capture did"),
    column_of("basis", "WT_BASIS", "what it rests on, as in transitions", words=BASES),
)

TABLES: dict[str, tuple[Column, ...]] = dict(
    zip(TABLE_NAMES, (CONNECTIONS, _TRANSITIONS, _ANOMALIES, _DIAGNOSES, _WAITS, _SEGMENTS), strict=True)
)
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


def seconds(table: str) -> tuple[Column, ...]:
    """Give what files have after all other columns: each duration in seconds, for readers that know no durations."""
    return tuple(
        Column(f"{c.name}_s", "float64", f"`{c.name}` in seconds", f"`{c.name}`", c.null, "s")
        for c in TABLES[table]
        if c.type == "duration"
    )


ROWS = {
    "connections": "One row per connection: one incarnation of a four-tuple.",
    "transitions": "One row per state change of one endpoint.",
    "anomalies": "One row per finding.",
    "diagnoses": "One row per problem, worst first: what a person would mend, and why.",
    "waits": "One row per interval in which a connection stood still, for more than 10 ms and two round trips.",
    "segments": "One row per frame with a TCP header. Written only when asked for (`--tables ...,segments`).",
}
