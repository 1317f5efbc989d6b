"""Twenty-one small conversations on which other tools are known to stumble, and the truth about each.

Client 10.0.0.1:40000, server 10.0.0.2:80, no options. Most cases are about which segments make one connection: reused
four-tuples, strays, refusals, silence.
"""

from __future__ import annotations

import pytest

from tests.strategies import Connection, Outcome, run

CLIENT_CLOSES = "CLOSED SYN_SENT ESTABLISHED FIN_WAIT_1 TIME_WAIT"
SERVER_FOLLOWS = "LISTEN SYN_RECEIVED ESTABLISHED CLOSE_WAIT LAST_ACK CLOSED"


def conn(start: float = 0.0, client: int = 1000, server: int = 5000) -> str:
    """A whole connection: handshake, 100 bytes, 200 bytes, the client closes first; 0.22 s."""
    steps = """
        0.00 > S  0:0(0)
        0.02 < S. 0:0(0)       ack 1
        0.04 > .  1:1(0)       ack 1
        0.06 > P. 1:101(100)   ack 1
        0.10 < P. 1:201(200)   ack 101
        0.12 > .  101:101(0)   ack 201
        0.18 > F. 101:101(0)   ack 201
        0.20 < F. 201:201(0)   ack 102
        0.22 > .  102:102(0)   ack 202
    """
    lines = [line.split(None, 1) for line in steps.strip().splitlines()]
    return f"isn {client} {server}\n" + "\n".join(f"{start + float(time):.2f} {rest}" for time, rest in lines) + "\n"


OPEN = """
    0.00 > S  0:0(0)
    0.02 < S. 0:0(0)       ack 1
    0.04 > .  1:1(0)       ack 1
    0.06 > P. 1:101(100)   ack 1
    0.10 < P. 1:201(200)   ack 101
    0.12 > .  101:101(0)   ack 201
"""


def kinds(outcome: Outcome) -> set[str]:
    return {finding.kind for finding in outcome.findings}


def is_whole(connection: Connection) -> None:
    """It opened by handshake and closed normally, the client first."""
    assert (connection.opening, connection.closing, connection.closed_first) == ("handshake", "normal", "client")
    assert connection.path("client").startswith(CLIENT_CLOSES)
    assert connection.path("server") == SERVER_FOLLOWS


def two_uses(outcome: Outcome) -> tuple[Connection, Connection]:
    """Two whole connections, the second the next incarnation of the first; nine segments each."""
    first, second = outcome.connections
    is_whole(first)
    is_whole(second)
    assert (first["C_INCARNATION"], second["C_INCARNATION"]) == (0, 1)
    assert (first["C_PREVIOUS_ID"], second["C_PREVIOUS_ID"]) == (-1, 0)
    assert [c.end("client", "E_SEGMENTS") + c.end("server", "E_SEGMENTS") for c in (first, second)] == [9, 9]
    assert second.states == ("TIME_WAIT", "CLOSED")
    return first, second


@pytest.mark.parametrize(
    "client, server, start",
    [
        pytest.param(200_000, 300_000, 1.5, id="a_higher_isn"),
        pytest.param(5_001_000, 5_005_000, 2.0, id="p_isn_five_million_on"),
        pytest.param(20_000, 25_000, 1.3, id="c2_isn_inside_the_old_window"),
    ],
)
def test_tuple_reused_in_time_wait(client, server, start):
    """a, c2, p: a SYN above the old numbers, 1 to 2 s after the close, reopens TIME_WAIT: two connections."""
    outcome = run(conn() + conn(start, client, server), rules=True)
    first, _ = two_uses(outcome)
    assert first.path("client") == CLIENT_CLOSES + " CLOSED"
    assert first.of("client")[-1].event == "REUSED"
    assert "time_wait_reopen" in kinds(outcome)


def test_b_tuple_reused_below_the_old_numbers():
    """b: a second ISN below the old numbers, still within TIME_WAIT, and nevertheless accepted: two connections."""
    outcome = run(conn(0, 100_000, 500_000) + conn(1.3, 2000, 7000), rules=True)
    two_uses(outcome)
    assert any("time_wait" in kind for kind in kinds(outcome))


def test_c_tuple_reused_after_time_wait():
    """c: an ISN inside the old window, but 130 s later: TIME_WAIT had run out, nothing is wrong."""
    outcome = run(conn() + conn(130, 20_000, 25_000), rules=True)
    first, _ = two_uses(outcome)
    last = first.of("client")[-1]
    assert (last.target, last.event, last.basis) == ("CLOSED", "TIMEOUT_2MSL", "timer")
    assert not kinds(outcome)


def test_d_second_attempt_with_another_isn():
    """d: a SYN that nobody answered, then another attempt with a new ISN that succeeds: the first was abandoned."""
    outcome = run("isn 1000 5000\n0.00 > S 0:0(0)\n" + conn(1.0, 7777, 5000))
    first, second = outcome.connections
    assert (first.opening, first.closing) == ("unanswered", "none")
    assert first.path("client") == "CLOSED SYN_SENT CLOSED"
    assert first.path("server") == ""
    is_whole(second)
    assert (second["C_INCARNATION"], second["C_PREVIOUS_ID"]) == (1, 0)


def test_e_half_open_connection_discovered():
    """e: the client has forgotten the connection; its SYN draws a challenge ACK, its RST clears the way: two."""
    outcome = run(
        OPEN
        + """
        isn 900000 5000
        5.00 > S  0:0(0)
        isn 1000 5000
        5.02 < .  201:201(0)   ack 101
        5.04 > R  101:101(0)
        """
        + conn(6.0, 900_000, 700_000),
        rules=True,
    )
    first, second = outcome.connections
    assert (first.opening, first.closing, first.reset_by) == ("handshake", "aborted", "client")
    assert first.states == ("CLOSED", "CLOSED")
    is_whole(second)
    assert "half_open_discovered" in kinds(outcome)
    assert "abort_rst" not in kinds(outcome)


def test_e1_reset_long_after_a_syn_of_its_own():
    """e1: as e, but the RST comes seconds later than an answer to the challenge ACK would: nothing is discovered."""
    outcome = run(
        OPEN
        + """
        isn 900000 5000
        5.00 > S  0:0(0)
        isn 1000 5000
        5.02 < .  201:201(0)   ack 101
        8.04 > R  101:101(0)
        """
        + conn(9.0, 900_000, 700_000),
        rules=True,
    )
    assert "half_open_discovered" not in kinds(outcome)


def test_e2_stray_syn_in_a_live_connection():
    """e2: a SYN with a new ISN draws a challenge ACK and the connection goes on: one connection, one stray SYN."""
    outcome = run(
        OPEN
        + """
        isn 900000 5000
        5.00 > S  0:0(0)
        isn 1000 5000
        5.02 < .  201:201(0)   ack 101
        6.00 > P. 101:201(100) ack 201
        6.02 < P. 201:301(100) ack 201
        6.04 > .  201:201(0)   ack 301
        """
    )
    (connection,) = outcome.connections
    assert connection.states == ("ESTABLISHED", "ESTABLISHED")
    assert connection.path("client") == "CLOSED SYN_SENT ESTABLISHED"
    assert "stray_syn" in connection.marks
    assert connection.end("client", "E_SYNS") == 2
    assert connection.end("client", "E_BYTES") == 200
    assert connection.end("client", "E_RETRANSMITTED") == 0


def test_f_duplicate_syn_ack_after_the_close():
    """f: the SYN+ACK comes once more after both FINs: an old duplicate, no new connection."""
    outcome = run(conn() + "0.5 < S. 0:0(0) ack 1\n")
    (connection,) = outcome.connections
    assert connection["C_INCARNATION"] == 0
    assert (connection.opening, connection.closing) == ("handshake", "normal")
    assert connection.path("client") == CLIENT_CLOSES
    assert connection.path("server") == SERVER_FOLLOWS


def test_f2_syn_ack_out_of_window_after_the_close():
    """f2: a SYN+ACK with numbers of nobody after the close is of another connection: the old one is as it was."""
    outcome = run(conn() + "isn 3000000000 2000000000\n0.5 < S. 0:0(0) ack 1\n")
    connection, _ = outcome.connections
    assert (connection.opening, connection.closing) == ("handshake", "normal")
    assert connection.path("client") == CLIENT_CLOSES
    assert connection.path("server") == SERVER_FOLLOWS


def test_g_silence_does_not_split():
    """g: 300 s without a segment, then more data: still the same connection."""
    outcome = run(OPEN + "300.2 > P. 101:201(100) ack 201\n300.4 < . 201:201(0) ack 201\n")
    (connection,) = outcome.connections
    assert connection.states == ("ESTABLISHED", "ESTABLISHED")
    assert connection.end("client", "E_BYTES") == 200


@pytest.mark.parametrize("second", [pytest.param(1000, id="h_same_isn"), pytest.param(88_000, id="h2_new_isn")])
def test_refused_twice(second):
    """h, h2: SYN, RST, and a second later SYN, RST: two attempts, both refused, the same ISN or not."""
    outcome = run(
        f"""
        0.00 > S  0:0(0)
        0.02 < R. 0:0(0) ack 1
        isn {second} 5000
        1.00 > S  0:0(0)
        1.02 < R. 0:0(0) ack 1
        """,
        rules=True,
    )
    assert [c.opening for c in outcome.connections] == ["refused", "refused"]
    assert [c.path("client") for c in outcome.connections] == ["CLOSED SYN_SENT CLOSED"] * 2
    assert [c.states for c in outcome.connections] == [("CLOSED", "CLOSED")] * 2
    assert [f.kind for f in outcome.findings].count("connection_refused") == 2


def test_i_reuse_with_roles_reversed():
    """i: after the close the former server opens from the same port: a second connection with the roles reversed."""
    reversed_ends = "addr 10.0.0.2 10.0.0.1\nport 80 40000\n"
    outcome = run(conn() + reversed_ends + conn(1.0, 900_000, 800_000))
    first, second = outcome.connections
    is_whole(first)
    is_whole(second)
    assert second["C_PORTS"] == 80 << 16 | 40000
    assert (second["C_INCARNATION"], second["C_PREVIOUS_ID"]) == (1, 0)


def test_j_simultaneous_open():
    """j: both SYNs cross, two SYN+ACKs answer: both ends SYN_SENT, SYN_RECEIVED, ESTABLISHED."""
    outcome = run(
        """
        0.000 > S  0:0(0)
        0.010 < S  0:0(0)
        0.040 > S. 0:0(0) ack 1
        0.050 < S. 0:0(0) ack 1
        0.080 > .  1:1(0) ack 1
        0.090 < .  1:1(0) ack 1
        """,
        rules=True,
    )
    (connection,) = outcome.connections
    assert connection.opening == "simultaneous"
    assert connection.path("client") == connection.path("server") == "CLOSED SYN_SENT SYN_RECEIVED ESTABLISHED"
    assert "simultaneous_open" in kinds(outcome)


def test_j2_simultaneous_close():
    """j2: both FINs cross: both ends FIN_WAIT_1, CLOSING, TIME_WAIT."""
    outcome = run(
        OPEN
        + """
        0.500 > F. 101:101(0) ack 201
        0.510 < F. 201:201(0) ack 101
        0.540 > .  102:102(0) ack 202
        0.550 < .  202:202(0) ack 102
        """,
        rules=True,
    )
    (connection,) = outcome.connections
    assert (connection.closing, connection.closed_first) == ("simultaneous", "both")
    for side in ("client", "server"):
        assert connection.path(side).endswith("ESTABLISHED FIN_WAIT_1 CLOSING TIME_WAIT")
    assert "simultaneous_close" in kinds(outcome)


def test_k_time_wait_lost():
    """k: after a full close the server repeats its FIN and the client answers RST: its TIME_WAIT was gone."""
    outcome = run(conn() + "0.42 < F. 201:201(0) ack 102\n0.44 > R 102:102(0)\n", rules=True)
    (connection,) = outcome.connections
    assert connection.path("client") == CLIENT_CLOSES + " CLOSED"
    assert connection.path("server") == SERVER_FOLLOWS
    assert connection.of("client")[-1].event == "GONE"
    assert connection.change("server", "CLOSED").event == "RCV_RST"
    assert "rst_after_time_wait_loss" in kinds(outcome)


def test_l_orphan_fin_wait_2_expired():
    """l: the client's FIN is acknowledged; 100 s later data meet an RST and are lost: FIN_WAIT_2 had timed out."""
    outcome = run(
        OPEN
        + """
        0.500 > F. 101:101(0)   ack 201
        0.520 < .  201:201(0)   ack 102
        100.5 < P. 201:301(100) ack 102
        100.52 > R 102:102(0)
        """,
        rules=True,
    )
    (connection,) = outcome.connections
    assert connection.path("client").endswith("FIN_WAIT_1 FIN_WAIT_2 CLOSED")
    last = connection.of("client")[-1]
    assert (last.event, last.basis) == ("TIMEOUT_FIN_WAIT_2", "timer")
    assert 60 <= last.seconds <= 63
    assert connection.path("server").endswith("ESTABLISHED CLOSE_WAIT CLOSED")
    assert kinds(outcome) >= {"fin_wait_2_lifetime", "rst_on_late_data"}


def test_m_forged_reset():
    """m: the server talks on 0.1 s after its RST: it did not send that RST, or the reset did not end it there."""
    outcome = run(OPEN + "1.0 < R. 201:201(0) ack 101\n1.1 < P. 201:301(100) ack 101\n")
    (connection,) = outcome.connections
    assert connection.path("server") == "LISTEN SYN_RECEIVED ESTABLISHED"
    assert "after_rst" in connection.marks


def test_n_one_direction_only():
    """n: only the client's segments: its states are proved, the server's follow from the client's ACKs."""
    seen = "\n".join(line for line in conn().splitlines() if "<" not in line)
    outcome = run(seen)
    (connection,) = outcome.connections
    assert connection.path("client").startswith("CLOSED SYN_SENT ESTABLISHED FIN_WAIT_1")
    assert connection.states[0] == "TIME_WAIT"
    assert connection.path("server") == "LISTEN SYN_RECEIVED ESTABLISHED CLOSE_WAIT CLOSED"  # LAST_ACK shows nowhere
    assert {c.basis for c in connection.of("server")} <= {"inferred", "presumed"}


def test_o_keepalive_death():
    """o: keepalives over hours, the last three unanswered, then RST: one connection, ended by the client."""
    outcome = run(
        OPEN
        + """
        7200.0 > .  100:100(0) ack 201
        7200.1 < .  201:201(0) ack 101
        14400. > .  100:100(0) ack 201
        14400.1 < . 201:201(0) ack 101
        21600.0 > . 100:100(0) ack 201
        21675.0 > . 100:100(0) ack 201
        21750.0 > . 100:100(0) ack 201
        21825.0 > R. 101:101(0) ack 201
        """.replace("14400. ", "14400.0 ")
    )
    (connection,) = outcome.connections
    assert connection.end("client", "E_KEEPALIVES") == 5
    assert connection.end("client", "E_RETRANSMITTED") == 0
    assert (connection.closing, connection.reset_by) == ("aborted", "client")
    assert connection.states == ("CLOSED", "ESTABLISHED")
