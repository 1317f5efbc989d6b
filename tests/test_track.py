"""The tracker: incarnations, roles, sequence space, counters, round-trip times, and what it marks."""

from __future__ import annotations

from array import array
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcptrace_fsm.kernels import layout as at
from tests import naive_track
from tests.invariants import check_memory
from tests.kernels import Watched, words
from tests.naive_track import Sent
from tests.strategies import (
    BEGIN,
    HOSTS,
    MILLISECOND,
    PORTS,
    SECOND,
    Connection,
    plain_engine,
    pure_kernels,
    record,
    run,
    watched_engine,
)
from tests.tracking import CLOSE, OPEN, PENDING, STREAM, only

plain = pure_kernels()["track"]


# --- incarnations -----------------------------------------------------------------------------------------------------


def test_same_isn_again_is_a_retransmission():
    """A SYN sent again before its answer belongs to the attempt that sent it first."""
    connection = only("0 > S 0:0(0)\n1 > S 0:0(0)\n1.02 < S. 0:0(0) ack 1\n1.04 > . 1:1(0) ack 1")
    assert connection.end("client", "E_SYNS") == 2
    assert "syn_again" in connection.marks


def test_same_isn_after_a_close_is_a_new_attempt():
    """The same ISN after both FINs is a new incarnation all the same: a retransmission would have come before."""
    outcome = run(OPEN + CLOSE + "5 > S 0:0(0)\n5.02 < S. 0:0(0) ack 1\n5.04 > . 1:1(0) ack 1")
    assert [c["C_INCARNATION"] for c in outcome.connections] == [0, 1]


def test_pending_syn_confirmed_by_its_syn_ack():
    """A SYN inside a live connection, answered by a SYN+ACK of its own number, is the next incarnation."""
    outcome = run(PENDING + "5.02 < S. 0:0(0) ack 1\n5.04 > . 1:1(0) ack 1\n")
    first, second = outcome.connections
    assert second["C_PREVIOUS_ID"] == first["C_ID"]
    assert second.path("client") == "CLOSED SYN_SENT ESTABLISHED"
    assert first.of("client")[-1].event == first.of("server")[-1].event == "REUSED"
    assert first.states == ("CLOSED", "CLOSED")


def short_of_room(*given, **how):
    """An engine that keeps 64 log records of a connection."""
    engine = plain_engine()(*given, **how)
    engine.control[at.K_LOG_LIMIT] = 1
    return engine


def test_stray_syns_are_counted_without_end_and_logged_up_to_a_bound():
    """However many SYNs fall into a live connection, its log does not grow for ever; what is left out is free again."""
    segments, time = array("q"), BEGIN

    def sends(server, seq, ack, flags, length=0):
        nonlocal time
        time += MILLISECOND
        ends = (HOSTS[::-1], PORTS) if server else (HOSTS, PORTS[::-1])
        segments.extend(record(time // MILLISECOND, time, *ends, seq, ack, flags, LEN=length))

    sends(False, 1000, 0, 2)
    sends(True, 5000, 1001, 18)
    sends(False, 1001, 5001, 16)
    for n in range(200):
        sends(False, 10**6 * (n + 1), 0, 2)
        sends(False, 1001 + n, 5001, 24, 1)
        sends(True, 5001, 1002 + n, 16)
    outcome = run(segments, engine=short_of_room)
    (connection,) = outcome.connections
    assert connection.end("client", "E_SYNS") == 201
    assert connection["C_LOG_COUNT"] == 64
    assert connection["C_FLAGS"] & at.CF_LOG_FULL
    assert connection.states == ("ESTABLISHED", "ESTABLISHED")
    check_memory(outcome.engine)


def test_pending_syn_confirmed_by_a_refusal():
    """A SYN inside a live connection, answered by an RST that acknowledges it, was an attempt, and refused.

    Whoever answers so knows no connection (RFC 9293 3.10.7.1): that of before is gone too.
    """
    first, second = run(PENDING + "5.02 < R. 0:0(0) ack 1\n").connections
    assert second.opening == "refused"
    assert first.states[1] == "CLOSED"
    assert first.change("server", "CLOSED").event == "GONE"


def test_pending_syn_discarded_by_the_old_numbers():
    """When the SYN's sender goes on in the old numbers, the SYN was a stray, kept as such where it fell."""
    connection = only(PENDING + "isn 1000 5000\n5.02 < . 1:1(0) ack 1\n6 > P. 1:101(100) ack 1\n")
    assert "stray_syn" in connection.marks
    assert connection.end("client", "E_SEGMENTS") == 4


def test_pending_syn_repeated_then_discarded():
    """Each copy of a stray SYN is counted where it fell."""
    connection = only(PENDING + "6 > S 0:0(0)\nisn 1000 5000\n7 > P. 1:101(100) ack 1\n")
    assert connection.end("client", "E_SYNS") == 3
    assert connection.end("client", "E_SEGMENTS") == 5


def test_stray_syn_captured_three_times():
    """Three captures of one stray SYN are one segment of the connection that it fell into."""
    syns = "5.0000 > S 0:0(0) id 9\n5.0001 > S 0:0(0) id 9\n5.0002 > S 0:0(0) id 9\n"
    connection = only(OPEN + "isn 900000 0\n" + syns + "isn 1000 5000\n6 > P. 1:101(100) ack 1\n")
    assert connection.end("client", "E_SEGMENTS") == 4


def test_pending_syn_at_the_end_is_an_attempt():
    """A SYN that nothing has decided by the end of the capture is an unanswered attempt."""
    first, second = run(PENDING).connections
    assert second.opening == "unanswered"
    assert first["C_ID"] == second["C_PREVIOUS_ID"] == 0


def test_pending_syn_that_outlives_its_patience_has_an_id():
    """A SYN that nothing decides for minutes, while the capture goes on, has a conn_id like any other."""
    outcome = run(PENDING + "end 300\n", step=1)
    assert [c["C_ID"] for c in outcome.connections] == list(range(len(outcome.connections)))


def test_second_stray_syn_after_silence_stays_in_bounds():
    """A stray SYN after 70 s of silence, and another: no index leaves its array (compiled, nothing would stop it)."""
    run(OPEN + "isn 900000 0\n71 > S 0:0(0)\nisn 910000 0\n71.1 > S 0:0(0)\n", engine=watched_engine(), step=1)


def test_nothing_is_learnt_from_a_reset():
    """An RST before the SYN+ACK, with sequence number 0, does not set the server's numbers."""
    connection = only(
        "0 > S 0:0(0)\nisn 1000 0\n0.01 < R. 0:0(0) ack 900\n"
        "isn 1000 5000\n0.02 < S. 0:0(0) ack 1\n0.04 > . 1:1(0) ack 1"
    )
    assert connection.end("server", "E_BASE") == 5000
    assert connection.path("client") == "CLOSED SYN_SENT ESTABLISHED"


def test_syn_ack_after_the_close_is_of_a_connection_whose_syn_is_missing():
    """With numbers far from those that are over; into an open connection it opens nothing."""
    stray = "isn 3000000000 2000000000\n2 < S. 0:0(0) ack 1"
    assert [c["C_INCARNATION"] for c in run(OPEN + CLOSE + stray).connections] == [0, 1]
    assert only(OPEN + stray)["C_INCARNATION"] == 0


def test_what_is_captured_in_two_numberings_is_one_connection():
    """On both sides of a host that rewrites numbers: the others came before the close, too."""
    other = "isn 3000000000 2000000000\n"
    text = OPEN.replace("0.02 <", f"{other}0.01 < S. 0:0(0) ack 1\nisn 1000 5000\n0.02 <") + CLOSE
    assert only(text + f"{other}1.06 > . 2:2(0) ack 2")["C_INCARNATION"] == 0


def test_third_incarnation_ends_the_first():
    """Three uses of a four-tuple in a row: each knows the one before."""
    text = "".join(
        f"isn {1000 + 9_000_000 * n} {5000 + 9_000_000 * n}\n"
        f"{n}.00 > S 0:0(0)\n{n}.02 < S. 0:0(0) ack 1\n{n}.04 > . 1:1(0) ack 1\n{n}.10 > R. 1:1(0) ack 1\n"
        for n in range(3)
    )
    connections = run(text).connections
    assert [(c["C_INCARNATION"], c["C_PREVIOUS_ID"]) for c in connections] == [(0, -1), (1, 0), (2, 1)]


def test_late_segments_do_not_depend_on_batches():
    """A FIN five minutes after the close belongs to the same connection however the capture was read."""
    text = OPEN + CLOSE + "end 300\n301 < F. 1:1(0) ack 2\n"
    assert len(run(text, step=1).connections) == len(run(text).connections)


# --- roles ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, basis, client_port",
    [
        ("0 > S 0:0(0)", "syn", 40000),
        ("0 < S. 0:0(0) ack 1", "syn_ack", 40000),
        ("0 < P. 1:2(1) ack 1", "port", 40000),
        ("0 > P. 1:2(1) ack 1", "port", 40000),
        ("port 40000 8080\n0 < . 1:1(0) ack 1", "port", 40000),
        ("port 40000 50000\n0 < . 1:1(0) ack 1", "first_segment", 50000),
        ("port 500 600\n0 < . 1:1(0) ack 1", "first_segment", 600),
        ("0 < R. 1:1(0) ack 1", "port", 40000),
    ],
)
def test_roles(text, basis, client_port):
    """Who is the client, and how that is known: SYN, SYN+ACK, ports, or just who spoke first."""
    connection = only(text)
    assert (connection.role_basis, connection["C_PORTS"] >> 16) == (basis, client_port)


# --- sequence space ---------------------------------------------------------------------------------------------------


def relative(connection: Connection) -> list[int]:
    """All words of a connection that do not say where its numbers begin."""
    bases = {at.C_ENDPOINTS + side * at.ENDPOINT_SIZE + word for side in (0, 1) for word in (at.E_BASE, at.E_LAST_SEQ)}
    bases |= {at.C_ZEEK_ENDS + side * at.ZE_SIZE + at.ZE_START for side in (0, 1)}
    return [word for i, word in enumerate(connection.words) if i not in bases]


@pytest.mark.parametrize("before", [0, 1, 2, 50, 100, 101, 200, 201, 301, 302, 303])
def test_wrap_changes_nothing(before):
    """Wherever both sequence numbers wrap, in the SYN, in data, in the FIN, the result is the same."""
    far = only(STREAM)
    wrapped = only(f"isn {(2**32 - before) % 2**32} {(2**32 - min(before, 102)) % 2**32}\n" + STREAM)
    assert relative(wrapped) == relative(far)
    assert wrapped.changes == far.changes


def test_more_than_four_gigabytes():
    """Numbers go on beyond 32 bits: five times a quarter of the circle is 5 GiB, not 1."""
    steps = range(1, 21)
    quarter = 2**28
    lines = [f"{n / 10 + 1:.1f} > . {1 + (n - 1) * quarter}:{1 + (n - 1) * quarter}(0) ack 1" for n in steps]
    assert only(OPEN + "\n".join(lines)).end("client", "E_NEXT") == 1 + 19 * quarter


@pytest.mark.parametrize(
    "given, taken, left",
    [
        ([(10, 20)], (10, 20), []),
        ([(10, 20)], (5, 12), [(12, 20)]),
        ([(10, 20)], (15, 25), [(10, 15)]),
        ([(10, 20)], (12, 15), [(10, 12), (15, 20)]),
        ([(10, 20)], (20, 30), [(10, 20)]),
        ([(10, 20)], (0, 10), [(10, 20)]),
        ([(10, 20), (30, 40)], (15, 35), [(10, 15), (35, 40)]),
        ([(10, 20), (30, 40), (50, 60)], (0, 100), []),
    ],
)
def test_holes(given, taken, left):
    """What fills a hole is taken out of it: at its ends, in its middle, whole, several at once."""
    rows = Watched(words(at.ENDPOINT_SIZE))
    for start, end in given:
        plain.add_hole(0, start, end, rows)
    missing = set().union(*(range(a, b) for a, b in given))
    assert plain.fill_holes(0, *taken, rows) == len(missing & set(range(*taken)))
    found = [(rows[at.E_HOLE + 2 * i], rows[at.E_HOLE + 2 * i + 1]) for i in range(rows[at.E_HOLES])]
    assert sorted(found) == left


def test_fifth_hole_joins_the_last():
    """There is room for four holes; a fifth makes the last one grow, so that nothing missing is forgotten."""
    rows = Watched(words(at.ENDPOINT_SIZE))
    for start in (10, 30, 50, 70, 90):
        plain.add_hole(0, start, start + 10, rows)
    assert rows[at.E_HOLES] == 4
    assert plain.fill_holes(0, 90, 100, rows) == 10


def test_fin_that_joins_repeated_data_is_no_byte():
    """A retransmission that takes the FIN along (Linux merges them) adds no byte that was not there before."""
    connection = only(OPEN + "0.1 > P. 1:101(100) ack 1\n0.5 > FP. 1:101(100) ack 1")
    assert connection.end("client", "E_BYTES") == 200
    assert connection.end("client", "E_UNIQUE") == 100


def test_no_byte_is_counted_twice_when_the_stream_begins_behind_an_ack():
    """One direction's ACK runs ahead of the first segment seen of the other: its bytes still count once."""
    segments = array("q")
    for n, (back, seq, ack, flags, length) in enumerate(
        [(0, 0, 0, 16, 0), (0, 0, 4881, 16, 0), (1, 645, 0, 17, 0), (1, 0, 0, 17, 262144)]
    ):
        hosts, ports = (HOSTS[::-1], PORTS) if back else (HOSTS, PORTS[::-1])
        segments.extend(record(n + 1, BEGIN + n * MILLISECOND, hosts, ports, seq, ack, flags, LEN=length))
    (connection,) = run(segments).connections
    assert connection.end("server", "E_UNIQUE") <= connection.end("server", "E_BYTES")


# --- counters ---------------------------------------------------------------------------------------------------------


@st.composite
def streams(draw) -> tuple[str, list[Sent]]:
    """A conversation in which each side sends a stream, repeats some of it, and loses some before the capture point.

    What was lost is sent again much later; nobody is overtaken; no more than four holes are open at once.
    """
    seen = [Sent("client", "S", 0, 0), Sent("server", "S.", 0, 0), Sent("client", ".", 1, 0)]
    following = {"client": 1, "server": 1}
    before: dict[str, list[tuple[int, int]]] = {"client": [], "server": []}
    missing: dict[str, list[tuple[int, int]]] = {"client": [], "server": []}
    deeds = draw(
        st.lists(
            st.tuples(st.sampled_from(("client", "server")), st.sampled_from("nnnnrl"), st.integers(2, 50)), max_size=30
        )
    )
    for sender, deed, length in deeds:
        if deed == "r" and before[sender]:
            seen.append(Sent(sender, ".", *draw(st.sampled_from(before[sender]))))
            continue
        begin = following[sender]
        following[sender] += length
        if deed == "l" and len(missing[sender]) < 4 and before[sender]:
            missing[sender].append((begin, length))
        else:
            before[sender].append((begin, length))
            seen.append(Sent(sender, ".", begin, length))
    for sender, pieces in missing.items():
        # What was lost at the very end is seen for the first time when it is sent again: like anything new.
        seen += [Sent(sender, ".", begin, length) for begin, length in pieces]
    for sender in draw(st.sampled_from(([], ["client"], ["client", "server"], ["client", "client", "server"]))):
        seen.append(Sent(sender, "F.", following[sender], 0))
    if draw(st.booleans()):
        seen.append(Sent("client", "R.", following["client"] + 1, 0))
    isn = [draw(st.sampled_from((0, 1000, 2**32 - 1, 2**32 - 40))) for _ in "cs"]
    lines = [f"isn {isn[0]} {isn[1]}"]
    for n, (sender, flags, begin, length) in enumerate(seen):
        ack = "" if flags == "S" else "ack 1"
        lines.append(
            f"{0.5 * n:.1f} {'>' if sender == 'client' else '<'} {flags} {begin}:{begin + length}({length}) {ack}"
        )
    return "\n".join(lines), seen


@given(streams())
def test_counters_against_the_twin(conversation):
    """Segments, bytes, bytes counted once, retransmissions, SYNs, FINs and RSTs, as a dict and a set count them."""
    text, seen = conversation
    connection = only(text)
    for side, twin in naive_track.count(seen).items():
        found = {
            name: connection.end(side, f"E_{name.upper()}")
            for name in ("segments", "bytes", "unique", "syns", "fins", "rsts", "retransmitted", "retransmitted_bytes")
        }
        assert found == {
            "segments": twin.segments,
            "bytes": twin.payload,
            "unique": twin.unique,
            "syns": twin.syns,
            "fins": twin.fins,
            "rsts": twin.rsts,
            "retransmitted": twin.retransmitted,
            "retransmitted_bytes": twin.retransmitted_bytes,
        }


# --- round-trip times -------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, SECOND), min_size=1, max_size=5))
def test_median_of_up_to_five_is_exact(samples):
    """The first five round-trip times are kept in order: the middle one is the median itself."""
    rows = Watched(words(at.ENDPOINT_SIZE))
    rows[at.E_RTT_MIN] = -1
    for sample in samples:
        plain.rtt_sample(at.E_RTT_MIN, sample, rows)
    assert rows[at.E_RTT_MIN] == min(samples)
    assert [rows[at.E_RTT_MARKER + i] for i in range(len(samples))] == sorted(samples)


@given(st.lists(st.integers(0, SECOND), min_size=6, max_size=200))
def test_median_estimate_stays_in_order(samples):
    """The five markers stay sorted, begin at the least and end at the greatest, and count every sample."""
    rows = Watched(words(at.ENDPOINT_SIZE))
    rows[at.E_RTT_MIN] = -1
    for sample in samples:
        plain.rtt_sample(at.E_RTT_MIN, sample, rows)
    heights = [rows[at.E_RTT_MARKER + i] for i in range(5)]
    places = [rows[at.E_RTT_MARKER + 5 + i] for i in range(5)]
    assert heights == sorted(heights)
    assert (heights[0], heights[4]) == (min(samples), max(samples))
    assert places == sorted(set(places))
    assert (places[0], places[4]) == (0, len(samples) - 1)
    assert rows[at.E_RTT_COUNT] == len(samples)


@given(st.integers(0, 10**9), st.sampled_from(("uniform", "exponential", "two humps")))
def test_median_estimate_is_close(seed, shape):
    """Of a thousand round-trip times, half lie below the estimate, give or take a tenth."""
    random = Random(seed)
    draw = {
        "uniform": lambda: random.randint(10 * MILLISECOND, 50 * MILLISECOND),
        "exponential": lambda: 20 * MILLISECOND + round(random.expovariate(1 / (5 * MILLISECOND))),
        "two humps": lambda: round(random.gauss(*random.choice(((20, 2), (30, 2)))) * MILLISECOND),
    }[shape]
    samples = [draw() for _ in range(1000)]
    rows = Watched(words(at.ENDPOINT_SIZE))
    rows[at.E_RTT_MIN] = -1
    for sample in samples:
        plain.rtt_sample(at.E_RTT_MIN, sample, rows)
    below = sum(sample < rows[at.E_RTT_MARKER + 2] for sample in samples)
    assert 400 <= below <= 600


def test_karn():
    """After a retransmission the ACK that follows gives no round-trip time; the segment after it does again."""
    connection = only(
        OPEN
        + """
        1.000 > P. 1:101(100)    ack 1
        1.300 > P. 1:101(100)    ack 1
        1.305 < .  1:1(0)        ack 101
        2.000 > P. 101:201(100)  ack 1
        2.030 < .  1:1(0)        ack 201
        """
    )
    assert connection.end("client", "E_RTT_COUNT") == 2  # the SYN, and the last
    assert connection.end("client", "E_RTT_MIN") == 20 * MILLISECOND


def test_round_trips_on_both_sides():
    """SYN to SYN+ACK is the far half of the round trip, SYN+ACK to ACK the near one."""
    connection = only("0 > S 0:0(0)\n0.030 < S. 0:0(0) ack 1\n0.035 > . 1:1(0) ack 1")
    assert connection.end("client", "E_RTT_MIN") == 30 * MILLISECOND
    assert connection.end("server", "E_RTT_MIN") == 5 * MILLISECOND
