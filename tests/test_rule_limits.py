"""Where rules draw a line: a case on either side of it, one row each.

What an example and its counterexamples in ``findings/`` already pin is not repeated here.
"""

from __future__ import annotations

import pytest

from tcptrace_fsm.findings.evidence import CLOSED_BY_CLIENT, HANDSHAKE
from tcptrace_fsm.findings.hosts import LEAK, many
from tcptrace_fsm.findings.icmp import IcmpError
from tests.test_anomalies import findings as by_rules
from tests.test_surveys import findings as by_surveys

pytestmark = pytest.mark.plain

OPEN = """
            0.000 > S  0:0(0)
            0.010 < S. 0:0(0)     ack 1
            0.020 > .  1:1(0)     ack 1
"""
TALK = """
            0.500 > P. 1:101(100) ack 1
            0.510 < .  1:1(0)     ack 101
"""
ONE_WAY = "0.0 > S 0:0(0)\n0.02 > . 1:1(0) ack 1\n0.03 > P. 1:101(100) ack 1\n0.05 > . 101:101(0) ack 501"
BOTH_WAYS = "0.0 > S 0:0(0)\n0.01 < S. 0:0(0) ack 1\n0.02 > . 1:1(0) ack 1"
SYNS = ["0.0 > S 0:0(0)\n", "1.0 > S 0:0(0)\n"]


# Kind; what is the case; the conversation; the severity of the finding, None where there is to be none.
RULES = [
    (
        *("third_ack_lost", "repeated 200 ms after the ACK"),
        OPEN + "            0.220 < S. 0:0(0)     ack 1\n" + TALK,
        "low",
    ),
    (
        *("third_ack_lost", "sooner, the ACK may still have been on its way"),
        OPEN + "            0.219 < S. 0:0(0)     ack 1\n" + TALK,
        None,
    ),
    (
        *("fin_retransmission", "again after more than 1 ms"),
        HANDSHAKE + "1.0000 > F. 101:101(0) ack 1 id 7\n1.0011 > F. 101:101(0) ack 1 id 8\n",
        "low",
    ),
    (
        *("fin_retransmission", "sooner than 1 ms: no timer is so quick"),
        HANDSHAKE + "1.0000 > F. 101:101(0) ack 1 id 7\n1.0009 > F. 101:101(0) ack 1 id 8\n",
        None,
    ),
    (
        *("fin_ack_invalid", "an older ACK, within the window"),
        HANDSHAKE
        + """
            0.900 < P. 1:1001(1000) ack 101
            0.910 > .  101:101(0)   ack 1001
            1.000 > F. 101:101(0)   ack 501
        """,
        None,
    ),
    (
        *("rst_after_fin_wait_2_timeout", "the FIN had been acknowledged: it was in TIME_WAIT"),
        HANDSHAKE
        + """
            1.000 > F. 101:101(0) ack 1
            1.010 < .  1:1(0)     ack 102
            70.00 < F. 1:1(0)     ack 102
            70.01 > .  102:102(0) ack 2
            70.30 < F. 1:1(0)     ack 102
            70.31 > R  102:102(0)
        """,
        None,
    ),
    (
        *("half_open_timeout", "one SYN+ACK, waiting for less than 3 s"),
        "0.00 > S 0:0(0)\n0.01 < S. 0:0(0) ack 1\nend 3.009",
        "info",
    ),
    (
        *("half_open_timeout", "one SYN+ACK, waiting for 3 s"),
        "0.00 > S 0:0(0)\n0.01 < S. 0:0(0) ack 1\nend 3.010",
        "low",
    ),
    (
        *("half_open_timeout", "two SYN+ACKs, waiting for 3 s"),
        "0.00 > S 0:0(0)\n0.01 < S. 0:0(0) ack 1\n1.01 < S. 0:0(0) ack 1\nend 3.010",
        "medium",
    ),
    (
        *("half_open_timeout", "less than a second: the ACK may yet come"),
        "0.00 > S 0:0(0)\n0.01 < S. 0:0(0) ack 1\nend 1.009",
        None,
    ),
    *(
        (
            *("stuck_fin_wait_2", f"for {waited} s"),
            HANDSHAKE + f"1.000 > F. 101:101(0) ack 1\n1.010 < . 1:1(0) ack 102\nend {1.015 + waited:.3f}",
            severity,
        )
        for waited, severity in [(60, "high"), (59, "medium"), (10, "medium"), (9.9, "low"), (1, "low"), (0.9, "info")]
    ),
    *(
        (
            *("close_wait_slow", f"after {waited} s"),
            HANDSHAKE
            + f"1.000 > F. 101:101(0) ack 1\n1.001 < . 1:1(0) ack 102\n{1 + waited} < F. 1:1(0) ack 102\n"
            + f"{1.01 + waited} > . 102:102(0) ack 2\n",
            severity,
        )
        for waited, severity in [(5.1, "low"), (4.9, None)]
    ),
    *(
        (
            *("final_ack_missing", f"after {waited} s"),
            HANDSHAKE + f"1.000 > F. 101:101(0) ack 1\n1.010 < F. 1:1(0) ack 102\nend {1.010 + waited}",
            severity,
        )
        for waited, severity in [(3, "low"), (2.9, None)]
    ),
    *(
        (
            *("vanished", f"silent for {silent} s"),
            HANDSHAKE + f"end {0.040 + silent}",
            severity,
        )
        for silent, severity in [(7200, "low"), (7199, None)]
    ),
    *(
        (
            *("fin_seq_changed", f"{apart} bytes apart"),
            HANDSHAKE + f"1.000 > F. 101:101(0) ack 1\n1.500 > F. {101 + apart}:{101 + apart}(0) ack 1\n",
            severity,
        )
        for apart, severity in [((1 << 24) - 1, "high"), (1 << 24, "low")]
    ),
    *(
        (
            *("rst_lost_suspected", f"repeated {waited} ms after the RST"),
            HANDSHAKE
            + f"1.000 > P. 101:201(100) ack 1\n1.010 < R. 1:1(0) ack 201\n{1.010 + waited / 1000:.4f} > P. 101:201(100)"
            + f" ack 1\n{1.020 + waited / 1000:.4f} < R 1:1(0)\n",
            severity,
        )
        for waited, severity in [(190, "low"), (189, None)]
    ),
    *(
        ("syn_no_response", f"{count} SYNs, waiting for {waited} s", "".join(SYNS[:count]) + f"end {waited}", severity)
        for count, waited, severity in [(2, 3, "medium"), (2, 2.9, "low"), (1, 3, "low"), (1, 2.9, "info")]
    ),
    *(
        ("rst_bad_ack", f"the RST acknowledges {ack}", f"{SYNS[0]}0.01 < R. 0:0(0) ack {ack}\n", severity)
        for ack, severity in [(0, "low"), (1, None), (2, "low")]
    ),
]


@pytest.mark.parametrize("kind, case, text, severity", RULES)
def test_a_rule_draws_its_line(kind, case, text, severity):
    found = [f.severity for f in by_rules(text) if f.kind == kind]
    assert found == ([severity] if severity else []), case


SURVEYS = [
    ("one_sided", "half of all connections", f"{ONE_WAY}\nport 40001 80\n{BOTH_WAYS}", "info"),
    ("one_sided", "more than half", f"{ONE_WAY}\nport 40001 80\n{BOTH_WAYS}\nport 40002 80\n{ONE_WAY}", "low"),
    (
        *("capture_drop", "what is missing was not acknowledged either"),
        HANDSHAKE + "1.0 > P. 201:301(100) ack 1\n1.01 < . 1:1(0) ack 101\nend 2",
        None,
    ),
    ("close_wait_leak", "for a minute", many(6, LEAK, step=0) + "\nend 60.004", "high"),
    ("close_wait_leak", "for less", many(6, LEAK, step=0) + "\nend 60.003", "medium"),
    ("close_wait_leak", "for 5 s", many(6, LEAK, step=0) + "\nend 5.004", "medium"),
    ("close_wait_leak", "for less than 5 s", many(6, LEAK, step=0) + "\nend 5.003", "low"),
    ("close_wait_leak", "for less than 3 s", many(6, LEAK, step=0) + "\nend 3.003", None),
    ("close_wait_leak", "five sockets", many(5, LEAK, step=0) + "\nend 60.004", "high"),
    ("close_wait_leak", "four", many(4, LEAK, step=0) + "\nend 60.004", None),
]


@pytest.mark.parametrize("kind, case, text, severity", SURVEYS)
def test_a_survey_draws_its_line(kind, case, text, severity):
    found = [f.severity for f in by_surveys(text, kind)]
    assert found == ([severity] if severity else []), case


def test_a_leak_is_the_listeners_where_the_server_holds_the_sockets():
    (found,) = by_surveys(many(6, LEAK) + "\nend 90", "close_wait_leak")
    assert (found.side, ":80 holds 6 sockets" in found.message) == ("server", True)


ASKED = LEAK.replace("> F. 1:1(0)   ", "> FP. 1:201(200)").replace("ack 2\n", "ack 202\n")


def test_a_server_that_owes_its_clients_an_answer_hangs_and_is_not_said_to_leak():
    """It does not close since it does nothing."""
    (found,) = by_surveys(many(6, ASKED) + "\nend 90", "close_wait_leak")
    assert (found.severity, "owes an answer" in found.message) == ("low", True)


def test_a_closed_connection_draws_none_of_these_lines():
    assert {f.kind for f in by_rules(CLOSED_BY_CLIENT)} & {kind for kind, *_ in RULES} == set()


WORDS = ("unreachable", "prohibited", "too_big", "expired", "hard")
ERRORS = {
    (False, 3, 1): ({"unreachable"}, "host unreachable"),
    (False, 3, 2): ({"unreachable", "hard"}, "protocol unreachable"),
    (False, 3, 3): ({"unreachable", "hard"}, "port unreachable"),
    (False, 3, 4): ({"too_big"}, "fragmentation needed, MTU 1400"),
    (False, 3, 13): ({"unreachable", "prohibited"}, "communication administratively prohibited"),
    (False, 3, 99): ({"unreachable"}, "destination unreachable, code 99"),
    (False, 4, 0): (set(), "source quench"),
    (False, 11, 0): ({"expired"}, "hop limit exceeded in transit"),
    (False, 12, 0): (set(), "parameter problem"),
    (True, 1, 0): ({"unreachable"}, "no route to destination"),
    (True, 1, 1): ({"unreachable", "prohibited"}, "communication administratively prohibited"),
    (True, 1, 4): ({"unreachable", "hard"}, "port unreachable"),
    (True, 2, 0): ({"too_big"}, "packet too big, MTU 1400"),
    (True, 3, 0): ({"expired"}, "hop limit exceeded in transit"),
    (True, 3, 4): ({"expired"}, "time exceeded"),
    (True, 4, 0): (set(), "parameter problem"),
}


@pytest.mark.parametrize("error", ERRORS)
def test_an_icmp_error_says_what_its_type_and_code_say(error):
    """RFC 792, RFC 1122 section 4.2.3.9, RFC 4443."""
    six, kind, code = error
    made = IcmpError(0, 0, 1, kind, code, six, 1400, "10.0.0.9", 0, True, 60, 2, 63, 7)
    assert ({word for word in WORDS if getattr(made, word)}, made.name) == ERRORS[error]
