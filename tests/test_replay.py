"""Whole conversations, and what each endpoint went through, by RFC 9293 and by what Linux does.

Each case tells what was *sent* and when, what became of it, and what truly happened at both ends. The network takes
20 ms one way. The capture is then made from it in three places (next to the client, in the middle, next to the server),
and in each the analyser has to find the same states, at moments that its brackets hold.

Lines are in segment notation, with the time of sending. ``x`` before a line: lost before it reaches the capture point.
``!`` before it: captured, and lost after that. What truly happened stands as ``STATE moment basis``, several bases
separated by ``|`` where the place of the capture decides; ``?`` for a moment that no capture shows.
"""

from __future__ import annotations

import re

import pytest

from tcptrace_fsm.errors import UsageError
from tcptrace_fsm.kernels.records import Records, Segment
from tests.replay_cases import OPEN, PLACES, PLAIN, Case, captured
from tests.replay_cases_cut import CUT_SHORT
from tests.strategies import BEGIN, SECOND, Connection, Outcome, plain_engine_where, run

CASES = PLAIN + CUT_SHORT


def ends(connection: Connection) -> tuple[str, str]:
    """The names under which the two hosts run in this connection: in a simultaneous open, either may be the client."""
    return ("client", "server") if connection["C_PORTS"] >> 16 == 40000 else ("server", "client")


def seen(case: Case, place: str) -> tuple[Outcome, Connection]:
    """What the analyser makes of a case, captured at a place."""
    outcome = run(captured(case.sent, PLACES[place]))
    (connection,) = (c for c in outcome.connections if c["C_CLIENT_LO"] >> 16 != 0x0AFF)
    return outcome, connection


PARAMETERS = [pytest.param(case, place, id=f"{case.name}-{place}") for case in CASES for place in case.places]


@pytest.mark.parametrize("case, place", PARAMETERS)
def test_states_moments_and_evidence(case, place):
    """Both ends go through the right states, on the right evidence, at moments that the brackets hold."""
    judge(case, place)


def judge(case: Case, place: str) -> Outcome:
    """Compare what the analyser makes of a case with the truth."""
    outcome, connection = seen(case, place)
    for side, truth in zip(ends(connection), (case.client, case.server), strict=True):
        if truth is None:
            continue
        expected = [step.split() for step in truth.split(", ")] if truth else []
        changes = connection.of(side)
        assert [c.target for c in changes] == [state for state, _, _ in expected]
        for change, (state, moment, bases) in zip(changes, expected, strict=True):
            assert change.basis in bases.split("|"), (side, state, change)
            assert (change.confirmed_by > 0) == (change.basis == "acked"), change
            if moment != "?":
                assert change.holds(float(moment)), (side, state, moment, change.seconds, bracket(change))
    if case.closing:
        assert connection.closing == case.closing
    return outcome


def bracket(change) -> tuple[float, float]:
    return (change.earliest - BEGIN) / SECOND, (change.latest - BEGIN) / SECOND


# --- a capture taken at one of the hosts -----------------------------------------------------------------------------
CLIENT, SERVER = "10.0.0.1", "10.0.0.2"


def test_what_arrives_at_the_host_has_arrived():
    """Nothing that only passes is certain; at the host that took the capture it is, and dates itself."""
    text = OPEN + "1.000 > F. 101:101(0) ack 201\n1.200 < . 201:201(0) ack 102\nend 1.3"
    elsewhere, here = (run(text, taken_at=t).connections[0].change("client", "FIN_WAIT_2") for t in ((), (CLIENT,)))
    assert elsewhere.basis == "presumed"
    assert elsewhere.confirmed_by == -1
    assert here.basis == "acked"
    assert here.confirmed_by == here.frame
    assert (here.time - BEGIN) / SECOND == pytest.approx(1.2)
    assert here.latest - here.time <= SECOND // 1000


def test_the_peer_of_the_host_is_judged_as_ever():
    text = OPEN + "1.000 > F. 101:101(0) ack 201\n1.200 < . 201:201(0) ack 102\nend 1.3"
    with_client, with_server = (run(text, taken_at=[t]).connections[0] for t in (CLIENT, SERVER))
    assert with_server.change("client", "FIN_WAIT_2").basis == "presumed"
    assert with_client.change("server", "ESTABLISHED").time > with_server.change("server", "ESTABLISHED").time


def test_a_reset_after_unanswered_probes_reaches_the_host_that_saw_it():
    """Elsewhere, two probes without an answer tell that what follows them does not arrive either."""
    probes = "".join(f"{t}.0 < . 200:200(0) ack 101\n" for t in (10, 11, 12))
    text = OPEN + probes + "13.0 < R. 201:201(0) ack 101\nend 20"
    assert run(text).connections[0].states[0] == "ESTABLISHED"
    assert run(text, taken_at=[CLIENT]).connections[0].states[0] == "CLOSED"


def test_what_the_host_goes_on_to_repeat_was_not_accepted():
    """It arrived, and its TCP would not have it: a checksum, a firewall."""
    text = (
        OPEN
        + """
        1.000 > F. 101:101(0) ack 201
        1.100 < .  201:201(0) ack 102
        1.300 > F. 101:101(0) ack 201
        1.400 < .  201:201(0) ack 102
        end 2
    """
    )
    change = run(text, taken_at=[CLIENT]).connections[0].change("client", "FIN_WAIT_2")
    assert (change.time - BEGIN) / SECOND == pytest.approx(1.4)


def test_both_hosts_may_be_here():
    """On a loopback interface."""
    text = OPEN + "1.000 > F. 101:101(0) ack 201\n1.001 < F. 201:201(0) ack 102\n1.002 > . 102:102(0) ack 202\nend 3"
    connection = run(text, taken_at=[CLIENT, SERVER]).connections[0]
    assert {c.basis for c in connection.changes} == {"sent", "acked"}
    assert connection.states == ("TIME_WAIT", "CLOSED")


def test_an_address_that_is_none():
    with pytest.raises(UsageError, match="--taken-at"):
        run(OPEN, taken_at=["client"])


@pytest.mark.parametrize("place, vantage", [("near_client", 1), ("between", 3), ("near_server", 2)])
def test_the_capture_point_shows_in_the_round_trip_times(place, vantage):
    assert run(captured(OPEN, PLACES[place])).connections[0]["C_VANTAGE"] == vantage


def test_a_host_that_answers_at_once_with_an_untouched_hop_count_took_the_capture():
    """Its end of a reset after unanswered probes is certain; one router further on, it is not."""
    probes = "".join(f"{t}.0 < . 200:200(0) ack 101\n" for t in (10, 11, 12))
    text = captured(OPEN, 0.00004) + "\n" + probes + "13.0 < R. 201:201(0) ack 101\nend 20"
    assert run(text).connections[0]["C_LOCAL"] == 1
    assert run(text).connections[0].states[0] == "CLOSED"
    routed = run(re.sub(r"^(.* > .*?)( <|$)", r"\1 ttl 63\2", text, flags=re.MULTILINE)).connections[0]
    assert routed["C_LOCAL"] == 0
    assert routed.states[0] == "ESTABLISHED"


@pytest.mark.parametrize("place", PLACES)
def test_timers_of_other_systems(place):
    """By the RFC's own figures TIME_WAIT lasts four minutes: it is still there when Linux's would be over."""
    (case,) = (c for c in CASES if c.name == "time_wait_expires")
    outcome = run(captured(case.sent, PLACES[place]), profile="rfc9293")
    assert outcome.connections[0].states == ("TIME_WAIT", "CLOSED")


def test_sockets_or_tcbs():
    """An RST in SYN_RECEIVED ends a socket; in the RFC's own model the listener's TCB listens again (3.10.7.4)."""
    text = "0.000 > S 0:0(0)\n0.020 < S. 0:0(0) ack 1\n0.040 > R 1:1(0)\nend 3"
    linux, rfc = (run(text, profile=name).connections[0] for name in ("linux", "rfc9293"))
    assert linux.states[1] == "CLOSED"
    assert rfc.states[1] == "LISTEN"


def test_time_wait_collision():
    """A SYN below the numbers of TIME_WAIT draws its ACK, the RST that answers this kills it, the next SYN succeeds."""
    outcome = run(
        OPEN
        + """
        1.000 < F. 201:201(0)   ack 101
        1.020 > F. 101:101(0)   ack 202
        1.040 < .  202:202(0)   ack 102
        isn 4294900000 5000
        5.000 > S  0:0(0)
        isn 1000 5000
        5.020 < .  202:202(0)   ack 102
        5.040 > R  102:102(0)
        isn 4294900000 70000
        6.000 > S  0:0(0)
        6.020 < S. 0:0(0)       ack 1
        6.040 > .  1:1(0)       ack 1
        """
    )
    first, second = outcome.connections
    assert first.path("server").endswith("FIN_WAIT_1 TIME_WAIT CLOSED")
    assert first.of("server")[-1].event == "RCV_RST"
    assert second.opening == "handshake"
    assert second.states == ("ESTABLISHED", "ESTABLISHED")


def test_server_side_only():
    """Only the server's segments: its states are proved, the client's are inferred from its ACKs."""
    text = "\n".join(line for line in captured(CASES[0].sent, 0.01).splitlines() if " > " not in line)
    connection = run(text).connections[0]
    assert connection.role_basis == "syn_ack"
    assert connection.path("server").startswith("LISTEN SYN_RECEIVED ESTABLISHED CLOSE_WAIT LAST_ACK")
    assert connection.path("client").startswith("CLOSED SYN_SENT ESTABLISHED")
    assert "sent" not in {c.basis for c in connection.of("client")}


def test_a_fin_behind_a_hole_that_never_fills_is_not_taken():
    """Both FINs were seen, and one of them stands behind bytes that its receiver never had: that is no normal close."""
    text = (
        OPEN
        + """
        1.000 < P. 1701:1801(100) ack 101
        1.001 > .  101:101(0)     ack 201 <sack 1701:1801>
        2.000 < F. 1801:1801(0)   ack 101
        2.001 > .  101:101(0)     ack 201 <sack 1701:1802>
        9.000 > F. 101:101(0)     ack 201
        9.010 < .  1802:1802(0)   ack 102
    """
    )
    connection = run(text).connections[0]
    assert (connection.closing, connection.states) == ("half_closed", ("FIN_WAIT_2", "CLOSING"))


# --- the work that a hostile connection makes -------------------------------------------------------------------------
class Counted(Records):
    """The segments of a connection; it counts how often one is looked at."""

    read = 0

    def __getitem__(self, i):
        Counted.read += 1
        return super().__getitem__(i)


HOSTILE = {
    "fins_without_end": lambda i: f"< F. 201:201(0) ack 101 id {i + 10}",
    "fins_that_acknowledge": lambda i: f"< F. 201:201(0) ack 102 id {i + 10}",
    "resets_off_their_mark": lambda i: f"< R. {300 + i}:{300 + i}(0) ack 101",
    "resets_and_keepalives": lambda i: "< . 200:200(0) ack 101" if i % 2 else "< R. 400:400(0) ack 101",
    "acks_in_syn_received": lambda i: f"> . 1:1(0) ack {900 + i}",
}


@pytest.mark.no_cover
@pytest.mark.slow
@pytest.mark.parametrize("kind", HOSTILE)
def test_the_replay_is_linear_in_the_log(kind):
    """Four times as many segments take about four times as many steps, whatever they are."""

    def readings(count: int) -> int:
        opening = OPEN if "syn_received" not in kind else "0.000 > S 0:0(0)\n0.020 < S. 0:0(0) ack 1\n"
        fin = "0.9 > F. 101:101(0) ack 201\n" if "fins" in kind else ""
        lines = "\n".join(f"{1 + i / 100:.2f} {HOSTILE[kind](i)}" for i in range(count))
        engine = plain_engine_where(segments_in=lambda work: Counted(Segment, work, 0, len(work) // Segment.size))
        Counted.read = 0
        run(opening + fin + lines + f"\n{2 + count / 100:.2f} < . 201:201(0) ack 101", engine=engine)
        return Counted.read

    assert 800 < readings(800) < 6 * readings(200)
