"""Words to columns: each conversion against a value worked out by hand, or a slow twin."""

from __future__ import annotations

import statistics
from array import array
from random import Random

import communityid
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcptrace_fsm.core.words import SIDES
from tcptrace_fsm.kernels import columns, community
from tcptrace_fsm.kernels import layout as k
from tcptrace_fsm.kernels.records import Scattering
from tcptrace_fsm.tables import anomalies, derived, schema
from tcptrace_fsm.tables import columns as tables
from tcptrace_fsm.tables.labels import HISTORY_LETTERS
from tcptrace_fsm.tcp.machine import Basis, Event, State

from . import fakes
from .fakes import SECOND, START
from .kernels import Watched, uncompiled


def connections(*records):
    rows = tables.Rows(tables.SOURCES["connections"])
    done = fakes.finished(records)
    rows.add(done.connections, done.count)
    return tables.plain(tables.build("connections", rows.take()), "connections").to_pylist()


def transitions(*records):
    rows = tables.Rows(tables.SOURCES["transitions"])
    done = fakes.finished([], records)
    rows.add(done.transitions, done.transition_count)
    return tables.plain(tables.build("transitions", rows.take()), "transitions").to_pylist()


@pytest.mark.parametrize("name", schema.TABLES)
def test_an_empty_table_has_its_columns_and_types(name):
    if name == "anomalies":
        table = anomalies.findings_table([])
    elif name == "diagnoses":
        from tcptrace_fsm.tables.diagnoses import diagnoses_table

        table = diagnoses_table([])
    elif name == "segments":
        from tcptrace_fsm.tables.segments import SegmentTable

        (table,) = SegmentTable().resolved()
    else:
        table = tables.build(name, tables.Rows(tables.SOURCES[name]).take())
    assert tables.plain(table, name).schema.equals(tables.arrow_schema(name))
    assert len(tables.to_pandas([table], name)) == 0


@pytest.mark.parametrize(
    "client, server", [("10.0.0.1", "192.168.255.254"), ("2001:db8::1", "fe80::ffff:0:0"), ("::ffff:1.2.3.4", "::1")]
)
def test_addresses_are_canonical(client, server):
    (row,) = connections(fakes.connection(client=client, server=server))
    assert (row["client_ip"], row["server_ip"]) == (client, server)


def test_families_may_be_mixed():
    rows = connections(
        fakes.connection(0, "10.0.0.1", "10.0.0.2"),
        fakes.connection(1, "::1", "::2"),
        fakes.connection(2, "10.0.0.2", "10.0.0.1"),
    )
    assert [r["client_ip"] for r in rows] == ["10.0.0.1", "::1", "10.0.0.2"]
    assert all(r["community_id"].startswith("1:") for r in rows)


# Published with the Community ID specification (corelight/community-id-spec, baseline of tcp.pcap and ipv6.pcap).
PUBLISHED = [
    ("128.232.110.120", "66.35.250.204", 34855, 80, "1:LQU9qZlK+B5F3KDmev6m5PMibrg="),
    ("66.35.250.204", "128.232.110.120", 80, 34855, "1:LQU9qZlK+B5F3KDmev6m5PMibrg="),
]


@pytest.mark.parametrize("client, server, client_port, server_port, wanted", PUBLISHED)
def test_community_id_of_the_specification(client, server, client_port, server_port, wanted):
    (row,) = connections(fakes.connection(client=client, server=server, ports=(client_port, server_port)))
    assert row["community_id"] == wanted
    assert derived.community_id(client, server, client_port, server_port) == wanted


def test_community_ids_are_the_same_without_a_compiler():
    """Of both families, with either end first, and of one address and two ports."""
    rng = Random(1)
    edges = (0, 1, -1, (1 << 63) - 1, -1 << 63)
    tuples = array("q")
    for i in range(12):
        high = (rng.choice(edges), rng.choice(edges)) if i % 2 else (0, 0)
        low = [rng.choice((*edges, rng.randrange(1 << 32))) if i % 2 else rng.randrange(1 << 32) for _ in "ab"]
        low = [low[0], low[0]] if i > 9 else low
        tuples.extend((i % 2, rng.randrange(1 << 32), high[0], low[0], high[1], low[1]))
    written = []
    for kernel in (community, uncompiled("community")):
        out, work = array("q", bytes(32 * 12)), array("q", bytes(8 * 85))
        kernel.write_community_ids(12, *(Watched(a) if kernel is not community else a for a in (tuples, work, out)))
        written.append(out.tobytes())
    assert written[0] == written[1]
    assert written[0].count(b"1:") == 12


addresses = st.one_of(
    st.tuples(st.ip_addresses(v=4), st.ip_addresses(v=4)), st.tuples(st.ip_addresses(v=6), st.ip_addresses(v=6))
)
ports = st.integers(0, 65535)


@pytest.mark.slow
@given(st.lists(st.tuples(addresses, ports, ports), max_size=8))
def test_community_ids_are_those_of_the_slow_twin(tuples):
    """And both are those of the library that the authors of the specification publish."""
    library = communityid.CommunityID()
    for (a, b), p, q in tuples:
        assert derived.community_id(str(a), str(b), p, q) == library.calc(
            communityid.FlowTuple.make_tcp(str(a), str(b), p, q)
        )
    made = connections(*(fakes.connection(i, str(a), str(b), (p, q)) for i, ((a, b), p, q) in enumerate(tuples)))
    assert [r["community_id"] for r in made] == [derived.community_id(str(a), str(b), p, q) for (a, b), p, q in tuples]
    assert [r["client_port"] for r in made] == [p for _, p, _ in tuples]
    assert [r["server_port"] for r in made] == [q for _, _, q in tuples]


def test_equal_addresses_are_ordered_by_port():
    one, other = (connections(fakes.connection(client="::1", server="::1", ports=p))[0] for p in ((5, 9), (9, 5)))
    assert one["community_id"] == other["community_id"]


def test_absent_words_are_null():
    (row,) = connections(fakes.connection(words={k.C_CLOSED_FIRST: k.WHO_NOBODY}))
    for name in [
        "previous_conn_id",
        "tcp_stream",
        "closed_first",
        "reset_by",
        "handshake_rtt",
        "client_isn",
        "client_mss",
        "server_rtt_min",
        "client_rtt_median",
    ]:
        assert row[name] is None, name


def test_codes_are_words():
    words = {
        k.C_OPENING: k.OPENING_REFUSED,
        k.C_CLOSING: k.CLOSING_NONE,
        k.C_RESET_BY: k.WHO_SERVER,
        k.C_CLIENT_BASIS: int(Basis.TIMER),
    }
    (row,) = connections(fakes.connection(words=words))
    assert (row["opening"], row["closing"], row["reset_by"]) == ("refused", "none", "server")
    assert (row["client_state"], row["client_state_basis"]) == ("TIME_WAIT", "timer")


def test_handshake_rtt_needs_all_three():
    times = {k.C_SYN_TIME: START, k.C_SYN_ACK_TIME: START + 30, k.C_HANDSHAKE_ACK_TIME: START + 42}
    (row,) = connections(fakes.connection(words=times))
    assert row["handshake_rtt"].value == 42
    (row,) = connections(fakes.connection(words=times | {k.C_SYN_ACK_TIME: -1}))
    assert row["handshake_rtt"] is None


def test_isn_needs_a_syn():
    (row,) = connections(
        fakes.connection(
            client_words={k.E_BASE: 4_000_000_000, k.E_BASE_KNOWN: k.BASE_SYN},
            server_words={k.E_BASE: 5, k.E_BASE_KNOWN: k.BASE_GUESSED},
        )
    )
    assert (row["client_isn"], row["server_isn"]) == (4_000_000_000, None)


@pytest.mark.parametrize("samples", [[7], [9, 4], [5, 1, 3], [8, 2, 6, 4], [1, 2, 3, 4, 5]])
def test_rtt_median_of_few_samples_is_exact(samples):
    # In P-square the five markers are sorted once the fifth sample is in.
    words = {k.E_RTT_MARKER + i: s for i, s in enumerate(samples)} | {k.E_RTT_COUNT: len(samples)}
    (row,) = connections(fakes.connection(client_words=words))
    assert row["client_rtt_median"].value == int(statistics.median(samples))


def test_history_and_its_absence():
    letters = "SHADadFf"
    packed = sum((HISTORY_LETTERS.index(c) + 1) << 6 * i for i, c in enumerate(letters))
    rows = connections(
        fakes.connection(0, words={k.C_HISTORY: packed, k.C_HISTORY_LENGTH: len(letters)}), fakes.connection(1)
    )
    assert [r["zeek_history"] for r in rows] == [letters, ""]


ZEEK = [
    ("SF", k.Z_CLOSED, k.Z_CLOSED, 0),
    ("S0", k.Z_SYN_SENT, k.Z_INACTIVE, 0),
    ("S1", k.Z_ESTABLISHED, k.Z_ESTABLISHED, 0),
    ("S2", k.Z_CLOSED, k.Z_ESTABLISHED, 0),
    ("S3", k.Z_ESTABLISHED, k.Z_CLOSED, 0),
    ("REJ", k.Z_SYN_SENT, k.Z_RESET, 0),
    ("REJ", k.Z_RESET, k.Z_RESET, k.Z_EMPTY),
    ("RSTR", k.Z_RESET, k.Z_RESET, 0),
    ("RSTO", k.Z_RESET, k.Z_ESTABLISHED, 0),
    ("RSTR", k.Z_ESTABLISHED, k.Z_RESET, 0),
    ("RSTOS0", k.Z_RESET, k.Z_INACTIVE, k.Z_RSTOS0),
    ("OTH", k.Z_RESET, k.Z_INACTIVE, 0),
    ("RSTRH", k.Z_PARTIAL_STATE, k.Z_RESET, 0),
    ("SH", k.Z_CLOSED, k.Z_INACTIVE, 0),
    ("SHR", k.Z_INACTIVE, k.Z_CLOSED, 0),
    ("OTH", k.Z_PARTIAL_STATE, k.Z_PARTIAL_STATE, 0),
]


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("wanted, origin, responder, more", ZEEK)
def test_zeek_conn_state_follows_from_the_two_states(wanted, origin, responder, more, flipped):
    client, server = (responder, origin) if flipped else (origin, responder)
    zeek = more | client << k.Z_STATE_SHIFT | server << k.Z_STATE_SHIFT + 3 | (k.Z_FLIPPED if flipped else 0)
    (row,) = connections(fakes.connection(words={k.C_ZEEK: zeek}))
    assert row["zeek_conn_state"] == wanted


def test_rows_come_by_conn_id_and_keep_their_order_within():
    made = transitions(
        fakes.transition(3, 1, START + 5, State.LISTEN, State.SYN_RECEIVED),
        fakes.transition(1, 0, START + 9, State.CLOSED, State.SYN_SENT),
        fakes.transition(1, 0, START + 9, State.SYN_SENT, State.ESTABLISHED),
    )
    assert [(r["conn_id"], r["to_state"]) for r in made] == [(1, "SYN_SENT"), (1, "ESTABLISHED"), (3, "SYN_RECEIVED")]


def test_a_timer_has_no_frame():
    (row,) = transitions(
        fakes.transition(0, 0, START, State.TIME_WAIT, State.CLOSED, Event.TIMEOUT_2MSL, Basis.TIMER, frame=-1)
    )
    assert (row["frame"], row["event"], row["basis"], row["confirmed_by"]) == (None, "timeout 2MSL", "timer", None)
    assert row["time"].value == START


def test_blocks_of_any_size_make_the_same_table():
    records = [fakes.connection(i, ports=(i, 80)) for i in range(2500)]
    rows = tables.Rows(tables.SOURCES["connections"])
    for begin in range(0, 2500, 700):
        part = records[begin : begin + 700]
        rows.add(fakes.finished(part).connections, len(part))
    rows.add(fakes.finished([]).connections, 0)
    table = tables.build("connections", rows.take())
    assert table["client_port"].to_pylist() == list(range(2500))
    assert rows.count == 0


def test_pandas_types():
    done = fakes.finished([fakes.connection()], [fakes.transition(0, 0, START, State.CLOSED, State.SYN_SENT)])
    rows = tables.Rows(tables.SOURCES["connections"])
    rows.add(done.connections, done.count)
    types = tables.to_pandas([tables.build("connections", rows.take())], "connections").dtypes.astype(str)
    assert types["first_time"] == "datetime64[ns, UTC]"
    assert types["handshake_rtt"] == "timedelta64[ns]"
    assert types["previous_conn_id"] == "Int64"
    assert types["conn_id"] == "int64"
    assert types["incarnation"] == "int32"
    assert types["client_port"] == "uint16"


def test_findings_are_ordered_and_typed():
    found = [fakes.finding(2), fakes.finding(1, side=None, frame=-1, possible_artefact="duplicated frames")]
    made = tables.plain(anomalies.findings_table(found), "anomalies").to_pylist()
    assert [r["conn_id"] for r in made] == [1, 2]
    assert (made[0]["side"], made[0]["frame"], made[0]["possible_artefact"]) == (None, None, "duplicated frames")
    assert made[1]["frames"] == [3, 7]


# --- segments ---------------------------------------------------------------------------------------------------------
def segments(batches, *done, spool=None):
    from tcptrace_fsm.tables.segments import SegmentTable

    table = SegmentTable(spool)
    for each in batches:
        table.add(each)
        each.segments[:] = type(each.segments)("q", [55] * len(each.segments))  # the capture uses it again
    for each in done:
        table.learn(each)
    rows = [row for part in table.resolved() for row in tables.plain(part, "segments").to_pylist()]
    table.close()
    return rows


def conversation():
    """A handshake and a close, their transitions, a timer included."""
    client, server = 4_294_967_000, 700  # the client's numbers wrap
    stages = {k.E_BASE_KNOWN: k.BASE_SYN, k.E_STAGE: k.ES_SYN}
    record = fakes.connection(
        client_words=stages | {k.E_BASE: client, k.E_SHIFT: 7}, server_words=stages | {k.E_BASE: server, k.E_SHIFT: 3}
    )
    sent = [
        fakes.segment(1, flags=k.TCP_SYN, seq=client),
        fakes.segment(2, side=1, flags=k.TCP_SYN | k.TCP_ACK, seq=server, ack=client + 1),
        fakes.segment(3, seq=client + 1, ack=server + 1),
        fakes.segment(4, seq=client + 1, ack=server + 1, length=400),
        fakes.segment(5, seq=client + 401, ack=server + 1, flags=k.TCP_FIN | k.TCP_ACK),
        fakes.segment(80, side=1, seq=server + 1, ack=client + 402, marks=[k.MARK_KEEPALIVE]),
    ]
    s = State
    changes = [
        fakes.transition(0, 0, START + 1 * SECOND, s.CLOSED, s.SYN_SENT, frame=1),
        fakes.transition(0, 0, START + 2 * SECOND, s.SYN_SENT, s.ESTABLISHED, frame=2),
        fakes.transition(0, 0, START + 5 * SECOND, s.ESTABLISHED, s.FIN_WAIT_1, frame=5),
        fakes.transition(0, 0, START + 70 * SECOND, s.FIN_WAIT_1, s.CLOSED, Event.TIMEOUT_RETRANSMISSION, frame=-1),
        fakes.transition(0, 1, START + 1 * SECOND, s.LISTEN, s.SYN_RECEIVED, frame=1),
        fakes.transition(0, 1, START + 3 * SECOND, s.SYN_RECEIVED, s.ESTABLISHED, frame=3),
    ]
    return sent, fakes.finished([record], changes)


@pytest.mark.parametrize("cut", range(7))
@pytest.mark.parametrize("spooled", [False, True])
def test_segments_get_states_numbers_and_windows(cut, spooled, tmp_path, monkeypatch):
    from tcptrace_fsm.tables import segments as module

    monkeypatch.setattr(module, "GROUP", 1)  # every batch is a row group of its own
    sent, done = conversation()
    rows = segments([fakes.batch(sent[:cut]), fakes.batch(sent[cut:])], done, spool=tmp_path / "s" if spooled else None)
    assert [r["sender_state"] for r in rows] == [
        "SYN_SENT",
        "SYN_RECEIVED",
        *["ESTABLISHED"] * 2,
        "FIN_WAIT_1",
        "ESTABLISHED",
    ]
    assert [r["receiver_state"] for r in rows] == ["SYN_RECEIVED", *["ESTABLISHED"] * 4, "CLOSED"]
    assert [r["rel_seq"] for r in rows] == [0, 0, 1, 1, 401, 1]
    assert [r["rel_ack"] for r in rows] == [None, 1, 1, 1, 1, 402]
    assert [r["window"] for r in rows] == [100, 100, *[100 << 7] * 3, 100 << 3]
    assert [r["label"] for r in rows] == ["", "", "", "", "", "keepalive"]
    assert rows[0]["ack"] is None


def test_a_scale_that_is_unknown_leaves_the_window_null():
    stages = {k.E_BASE_KNOWN: k.BASE_GUESSED, k.E_STAGE: k.ES_PLAIN}
    rows = segments(
        [fakes.batch([fakes.segment(1)])], fakes.finished([fakes.connection(client_words=stages, server_words=stages)])
    )
    assert (rows[0]["window"], rows[0]["window_raw"]) == (None, 100)


def test_a_segment_of_no_connection_keeps_its_row():
    rows = segments(
        [fakes.batch([fakes.segment(1, conn_id=-1), fakes.segment(2)])], fakes.finished([fakes.connection()])
    )
    assert [(r["conn_id"], r["sender_state"]) for r in rows] == [(None, None), (0, "TIME_WAIT")]


def test_sack_blocks_are_lists():
    blocks = {k.S_SACKS: 2, **{k.S_SACK + i: v for i, v in enumerate((5, 6, 8, 9, 77, 77, 77, 77))}}
    rows = segments(
        [fakes.batch([fakes.segment(1), fakes.segment(2, words=blocks)])], fakes.finished([fakes.connection()])
    )
    assert [r["sack"] for r in rows] == [None, [5, 6, 8, 9]]


@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(-(2**30), 2**30)), min_size=1, max_size=40), st.integers(1, 40)
)
def test_relative_numbers_follow_any_walk(steps, cut):
    at, wanted, sent = [0, 0], [], []
    for frame, (side, step) in enumerate(steps, 1):
        at[side] += step
        wanted.append(at[side])
        sent.append(fakes.segment(frame, side=side, seq=at[side] + 1000, flags=0))
    stages = {k.E_BASE_KNOWN: k.BASE_SYN, k.E_BASE: 1000}
    done = fakes.finished([fakes.connection(client_words=stages, server_words=stages)])
    from tcptrace_fsm.tables import segments as module

    group, module.GROUP = module.GROUP, 1
    try:
        rows = segments([fakes.batch(sent[:cut]), fakes.batch(sent[cut:])], done)
    finally:
        module.GROUP = group
    assert [r["rel_seq"] for r in rows] == wanted


def test_codes_of_dictionaries_stay_narrow():
    assert tables.coded(np.array([0, 1], dtype=np.int8), SIDES).indices.type == "int8"


@pytest.mark.parametrize("kernel", [columns, uncompiled("columns")])
@given(st.data())
def test_records_become_columns(kernel, data):
    """Each chosen word of each record stands in its column, at the record's place; nothing else is touched."""
    size, count = data.draw(st.integers(1, 9)), data.draw(st.integers(0, 6))
    block = array("q", data.draw(st.lists(st.integers(-9, 9), min_size=count * size + 1, max_size=count * size + 1)))
    chosen = array("q", data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=4)))
    begin = data.draw(st.integers(0, 3))
    places = array("q", [7] * begin + data.draw(st.permutations(range(count))) + [7])
    stride = count + data.draw(st.integers(0, 2)) + 1
    made = array("q", [99] * (stride * len(chosen)))
    given = {"block": block, "size": size, "wanted": chosen, "count": len(chosen), "places": places}
    kernel.scatter(count, begin, Scattering(**given, columns=made, stride=stride))
    expected = [99] * len(made)
    for i in range(count):
        for j, word in enumerate(chosen):
            expected[j * stride + places[begin + i]] = block[i * size + word]
    assert list(made) == expected
