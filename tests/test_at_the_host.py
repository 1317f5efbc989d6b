"""Captures taken at the endpoint's own host: what its TCP does with segments that no TCP would send, or just then.

There, what arrives has arrived; what is left to judge is whether it was accepted. Each case tells why, by RFC 9293 and
the others where they say so, by what Linux does where they do not; the bench of the kernel lab has the same
conversations with a real kernel, which says so itself.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from tcptrace_fsm.capture.scripted import parse
from tcptrace_fsm.kernels import layout as at
from tcptrace_fsm.tcp.notation import BEGIN
from tests.strategies import SECOND, run

CLIENT, SERVER = "10.0.0.1", "10.0.0.2"
OPEN = """
    0.00000 > S  0:0(0)
    0.00002 < S. 0:0(0)       ack 1
    0.10000 > .  1:1(0)       ack 1
"""
STAMPED = """
    0.00000 > S  0:0(0)                <ts 100/0>
    0.00002 < S. 0:0(0)       ack 1    <ts 5000/100>
    0.10000 > .  1:1(0)       ack 1    <ts 200/5000>
"""
OPENED = "SYN_RECEIVED ESTABLISHED"


class Case(NamedTuple):
    """A conversation, why its host goes the way that it goes, and which way; with moments where they matter."""

    name: str
    why: str
    sent: str
    path: str
    host: str = SERVER
    when: dict[str, float] = {}  # noqa: RUF012 - never written to


CASES = [
    # --- who listens
    Case(
        "syn_ack_to_a_listener",
        "RFC 9293 3.10.7.4, fourth check: a SYN, whatever it acknowledges, completes no handshake of who listened",
        """
        0.00000 > S  0:0(0)
        0.00002 < S. 0:0(0)   ack 1
        0.10000 > S. 0:0(0)   ack 1
        0.10002 < .  1:1(0)   ack 1
        0.20000 > .  1:1(0)   ack 1
        0.20002 < P. 1:11(10) ack 1
        """,
        OPENED,
        when={"ESTABLISHED": 0.2},
    ),
    Case(
        "data_outside_the_window_do_not_open",
        "RFC 9293 3.10.7.4, first check: answered by an ACK, and dropped",
        """
        0.00000 > S  0:0(0)
        0.00002 < S. 0:0(0)             ack 1 win 1000
        0.10000 > P. 900001:900011(10)  ack 1
        0.10002 < .  1:1(0)             ack 1 win 1000
        0.20000 > P. 1:11(10)           ack 1
        0.20002 < .  1:1(0)             ack 11 win 1000
        """,
        OPENED,
        when={"ESTABLISHED": 0.2},
    ),
    Case(
        "an_old_number_does_not_open",
        "RFC 9293 3.10.7.4, first check; the ACK that answers it shows no state but SYN_RECEIVED",
        """
        0.00000 > S  0:0(0)
        0.00002 < S. 0:0(0)      ack 1
        0.10000 > .  -500:-500(0)  ack 1
        0.10002 < .  1:1(0)      ack 1
        0.20000 > R  1:1(0)
        end 1
        """,
        "SYN_RECEIVED CLOSED",
    ),
    Case(
        "an_old_timestamp_does_not_open",
        "RFC 7323 section 5.3, R1",
        """
        0.00000 > S  0:0(0)               <ts 500/0>
        0.00002 < S. 0:0(0)       ack 1   <ts 5000/500>
        0.10000 > .  1:1(0)       ack 1   <ts 100/5000>
        0.10002 < .  1:1(0)       ack 1   <ts 5100/500>
        0.20000 > R  1:1(0)
        end 1
        """,
        "SYN_RECEIVED CLOSED",
    ),
    Case(
        "an_echo_of_what_no_syn_ack_bore_does_not_open",
        "Linux compares it with the timestamps of its SYN+ACKs while the connection is but a request",
        """
        0.00000 > S  0:0(0)               <ts 500/0>
        0.00002 < S. 0:0(0)       ack 1   <ts 5000/500>
        0.10000 > P. 1:11(10)     ack 1   <ts 600/4000>
        0.10002 < .  1:1(0)       ack 1   <ts 5100/500>
        0.20000 > R  1:1(0)
        end 1
        """,
        "SYN_RECEIVED CLOSED",
    ),
    Case(
        "an_ack_of_what_was_never_sent_is_reset_and_changes_nothing",
        "RFC 9293 3.10.7.4, fifth check: an RST with that number, and SYN_RECEIVED goes on",
        """
        0.00000 > S  0:0(0)
        0.00002 < S. 0:0(0)        ack 1
        0.10000 > .  1:1(0)        ack 900
        0.10002 < R  900:900(0)
        0.20000 > .  1:1(0)        ack 1
        0.20002 < P. 1:11(10)      ack 1
        """,
        OPENED,
        when={"ESTABLISHED": 0.2},
    ),
    Case(
        "a_reset_anywhere_in_the_window_ends_a_request",
        "Linux keeps no socket for it, and sends no challenge ACK (RFC 5961 section 3.2) in its name",
        """
        0.00000 > S  0:0(0)
        0.00002 < S. 0:0(0)        ack 1
        0.10000 > R  100:100(0)
        end 1
        """,
        "SYN_RECEIVED CLOSED",
    ),
    Case(
        "a_reset_outside_the_window_does_not",
        "RFC 9293 3.10.7.4, first check",
        """
        0.00000 > S  0:0(0)
        0.00002 < S. 0:0(0)        ack 1
        0.10000 > R  900100:900100(0)
        end 1
        """,
        "SYN_RECEIVED",
    ),
    Case(
        "the_accept_queue_is_full",
        "Linux drops the third ACK, and all that follows it: a FIN that nobody acknowledges found no connection",
        """
        0.00000 > S  0:0(0)
        0.00002 < S. 0:0(0)        ack 1
        0.10000 > .  1:1(0)        ack 1
        0.15000 > F. 1:1(0)        ack 1
        0.60000 > R. 2:2(0)        ack 1
        end 1
        """,
        "SYN_RECEIVED CLOSED",
    ),
    Case(
        "an_acknowledgment_is_only_delayed",
        "RFC 9293 3.8.6.3: up to half a second, 200 ms in Linux",
        """
        0.00000 > S  0:0(0)
        0.00002 < S. 0:0(0)        ack 1
        0.10000 > .  1:1(0)        ack 1
        0.15000 > P. 1:11(10)      ack 1
        0.19000 < .  1:1(0)        ack 11
        end 1
        """,
        OPENED,
        when={"ESTABLISHED": 0.1},
    ),
    Case(
        "fast_open_fin_with_the_third_ack",
        "RFC 7413 section 4.2.2: the handshake ends first, then this end closes, then it takes the FIN",
        """
        0.00000 > S  0:10(10)               <tfo>
        0.00002 < S. 0:0(0)       ack 11
        0.10000 > F. 11:11(0)     ack 1
        0.10002 < F. 1:1(0)       ack 11
        0.10003 < .  2:2(0)       ack 12
        0.20000 > .  12:12(0)     ack 2
        """,
        "SYN_RECEIVED ESTABLISHED FIN_WAIT_1 CLOSING TIME_WAIT",
    ),
    Case(
        "fin_where_the_syns_data_were_not_taken",
        "RFC 7413 section 4.2.1: a SYN+ACK of the SYN alone leaves its data to be sent again, or not",
        """
        0.00000 > S  0:10(10)               <tfo>
        0.00002 < S. 0:0(0)       ack 1
        0.10000 > .  1:1(0)       ack 1
        0.20000 > F. 1:1(0)       ack 1
        0.20002 < .  1:1(0)       ack 2
        """,
        f"{OPENED} CLOSE_WAIT",
    ),
    # --- who connects
    Case(
        "syn_ack_of_what_was_never_sent",
        "RFC 9293 3.10.7.3, first check: an RST with that number, and SYN_SENT goes on",
        """
        0.00000 > S  0:0(0)
        0.10000 < S. 0:0(0)         ack 5000
        0.10002 > R  5000:5000(0)
        1.00000 > S  0:0(0)
        1.10000 < S. 0:0(0)         ack 1
        1.10002 > .  1:1(0)         ack 1
        """,
        "SYN_SENT ESTABLISHED",
        CLIENT,
        {"ESTABLISHED": 1.1},
    ),
    Case(
        "closed_in_a_simultaneous_open",
        "RFC 9293 3.10.4: CLOSE in SYN_RECEIVED leads to FIN_WAIT_1",
        """
        0.00000 > S  0:0(0)
        0.02000 < S  0:0(0)
        0.02002 > S. 0:0(0)         ack 1
        0.04000 > F. 1:1(0)         ack 1
        0.06000 < S. 0:0(0)         ack 1
        0.06002 > .  2:2(0)         ack 1
        0.08000 < .  1:1(0)         ack 2
        """,
        "SYN_SENT SYN_RECEIVED FIN_WAIT_1 FIN_WAIT_2",
        CLIENT,
    ),
    # --- open
    Case(
        "a_fin_that_acknowledges_what_was_never_sent",
        "RFC 9293 3.10.7.4, fifth check: an ACK, and nothing of the segment is taken",
        OPEN
        + """
        0.20000 < P. 1:11(10)       ack 1
        0.30000 > F. 1:1(0)         ack 12
        0.30002 < .  11:11(0)       ack 1
        0.40000 > F. 1:1(0)         ack 11
        0.40002 < .  11:11(0)       ack 2
        """,
        f"{OPENED} CLOSE_WAIT",
        when={"CLOSE_WAIT": 0.4},
    ),
    Case(
        "a_fin_behind_a_hole_and_one_in_its_place",
        "RFC 9293 3.10.7.4: what is taken is what comes next",
        OPEN
        + """
        0.20000 > F. 101:101(0)     ack 1
        0.20002 < .  1:1(0)         ack 1
        0.30000 > F. 1:1(0)         ack 1
        0.30002 < .  1:1(0)         ack 2
        """,
        f"{OPENED} CLOSE_WAIT",
        when={"CLOSE_WAIT": 0.3},
    ),
    Case(
        "a_fin_outside_the_window_and_one_in_its_place",
        "RFC 9293 3.10.7.4, first check",
        OPEN
        + """
        0.20000 > F. 900001:900001(0)  ack 1
        0.20002 < .  1:1(0)            ack 1
        0.30000 > F. 1:1(0)            ack 1
        0.30002 < .  1:1(0)            ack 2
        """,
        f"{OPENED} CLOSE_WAIT",
        when={"CLOSE_WAIT": 0.3},
    ),
    Case(
        "a_fin_below_what_was_taken",
        "RFC 9293 3.10.7.4, first check; though a byte below looks like a keepalive",
        OPEN
        + """
        0.20000 > P. 1:11(10)      ack 1
        0.20002 < .  1:1(0)        ack 11
        0.30000 > F. 9:9(0)        ack 1
        0.30002 < .  1:1(0)        ack 11
        end 1
        """,
        OPENED,
    ),
    Case(
        "a_fin_with_an_old_timestamp",
        "RFC 7323 section 5.3, R1: an ACK, and nothing of the segment is taken",
        STAMPED
        + """
        0.20000 < F. 1:1(0)        ack 1    <ts 5200/200>
        0.30000 > F. 1:1(0)        ack 2    <ts 50/5200>
        0.30002 < .  2:2(0)        ack 1    <ts 5300/200>
        0.40000 > .  1:1(0)        ack 2    <ts 300/5200>
        0.50000 > F. 1:1(0)        ack 2    <ts 310/5200>
        0.50002 < .  2:2(0)        ack 2    <ts 5500/310>
        """,
        f"{OPENED} FIN_WAIT_1 FIN_WAIT_2 TIME_WAIT",
        when={"FIN_WAIT_2": 0.4, "TIME_WAIT": 0.5},
    ),
    Case(
        "a_fin_and_a_reset_before_the_kernel_is_asked_again",
        "the RST without ACK answers what came after both: the FIN had been taken (RFC 9293 3.5.2)",
        OPEN
        + """
        0.20000 > F. 1:1(0)        ack 1
        0.20005 > R. 2:2(0)        ack 1
        0.30000 > P. 2:12(10)      ack 1
        0.30002 < R  1:1(0)
        """,
        f"{OPENED} CLOSE_WAIT CLOSED",
    ),
    # --- closing
    Case(
        "syn_ack_that_acknowledges_the_fin",
        "RFC 5961 section 4.2: a SYN in a synchronized state draws an ACK, and nothing else of it is looked at",
        OPEN
        + """
        0.20000 < F. 1:1(0)        ack 1
        0.30000 > S. 1:1(0)        ack 2
        0.30002 < .  2:2(0)        ack 1
        0.50000 < F. 1:1(0)        ack 1
        0.60000 > .  1:1(0)        ack 2
        """,
        f"{OPENED} FIN_WAIT_1 FIN_WAIT_2",
        when={"FIN_WAIT_2": 0.6},
    ),
    Case(
        "it_gave_up_before_its_fin_was_acknowledged",
        "RFC 9293 3.8.3: no LAST_ACK answers the ACK of its FIN by an RST; the timer that ran out tells when it left",
        OPEN
        + """
        0.20000 > F. 1:1(0)        ack 1
        0.20002 < .  1:1(0)        ack 2
        0.30000 < F. 1:1(0)        ack 2
        0.60000 < F. 1:1(0)        ack 2
        1.20000 < F. 1:1(0)        ack 2
        9.00000 > .  2:2(0)        ack 2
        9.00002 < R  2:2(0)
        """,
        f"{OPENED} CLOSE_WAIT LAST_ACK CLOSED",
        when={"CLOSED": 2.4},
    ),
    Case(
        "it_was_aborted_in_closing",
        "an abort in CLOSING sends nothing (RFC 9293 3.10.5); the answer to the ACK of its FIN shows it",
        OPEN
        + """
        0.20000 < F. 1:1(0)        ack 1
        0.30000 > F. 1:1(0)        ack 1
        0.30002 < .  2:2(0)        ack 2
        0.40000 > .  2:2(0)        ack 2
        0.40002 < R  2:2(0)
        """,
        f"{OPENED} FIN_WAIT_1 CLOSING CLOSED",
    ),
    Case(
        "it_does_not_wait_in_fin_wait_2",
        "TCP_LINGER2 below 0: Linux leaves FIN_WAIT_2 as it enters it, by an RST",
        OPEN
        + """
        0.20000 < F. 1:1(0)        ack 1
        0.30000 > .  1:1(0)        ack 2
        0.30002 < R  2:2(0)
        """,
        f"{OPENED} FIN_WAIT_1 FIN_WAIT_2 CLOSED",
    ),
    Case(
        "a_reset_anywhere_in_the_window_ends_a_closed_sockets_fin_wait_2",
        "Linux keeps no socket for it then, and sends no challenge ACK",
        OPEN
        + """
        0.20000 < F. 1:1(0)        ack 1
        0.30000 > .  1:1(0)        ack 2
        0.40000 > R  500:500(0)
        end 1
        """,
        f"{OPENED} FIN_WAIT_1 FIN_WAIT_2 CLOSED",
    ),
    Case(
        "a_socket_in_fin_wait_2_challenges_it",
        "RFC 5961 section 3.2",
        OPEN
        + """
        0.20000 < F. 1:1(0)        ack 1
        0.30000 > .  1:1(0)        ack 2
        0.40000 > R  500:500(0)
        0.40002 < .  2:2(0)        ack 1
        end 1
        """,
        f"{OPENED} FIN_WAIT_1 FIN_WAIT_2",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_hosts_way(case):
    connection = run(case.sent, taken_at=[case.host]).connections[0]
    side = "client" if case.host == CLIENT else "server"
    changes = connection.of(side)
    assert " ".join(c.target for c in changes) == case.path, case.why
    for state, moment in case.when.items():
        (change,) = (c for c in changes if c.target == state)
        assert (change.time - BEGIN) / SECOND == pytest.approx(moment, abs=0.001), case.why


# --- a link without addresses -----------------------------------------------------------------------------------------
QUICK = """
    0.00000 > S  0:0(0)                ttl {client}
    0.00003 < S. 0:0(0)       ack 1    ttl {server}
    0.00012 > .  1:1(0)       ack 1    ttl {client}
    0.00020 < F. 1:1(0)       ack 1    ttl {server}
    0.00032 > .  1:1(0)       ack 2    ttl {client}
"""


def on_a_bare_link(text: str):
    """The segments of a script, as if taken on a tun device."""
    segments = parse(text).segments
    for s in range(0, len(segments), at.SEGMENT_SIZE):
        segments[s + at.S_OPTIONS] |= at.OPT_BARE_LINK
    return segments


@pytest.mark.parametrize(
    "client, server, local",
    [
        pytest.param(255, 64, at.WHO_SERVER, id="the_quicker_of_two_that_no_router_has_touched"),
        pytest.param(63, 64, at.WHO_NOBODY, id="one_behind_a_router"),
        pytest.param(255, 57, at.WHO_NOBODY, id="the_quicker_behind_a_router"),
    ],
)
def test_one_end_of_a_bare_link_is_the_capturing_host(client, server, local):
    """Both answer within microseconds, so that times alone would tell nothing."""
    text = QUICK.format(client=client, server=server)
    assert run(on_a_bare_link(text)).connections[0]["C_LOCAL"] == local
    assert run(text).connections[0]["C_LOCAL"] == at.WHO_NOBODY


def test_the_slow_end_of_a_bare_link_says_nothing():
    """Neither answers at once: the capture may have been taken anywhere."""
    text = "0.0 > S 0:0(0)\n0.5 < S. 0:0(0) ack 1\n0.9 > . 1:1(0) ack 1"
    assert run(on_a_bare_link(text)).connections[0]["C_LOCAL"] == at.WHO_NOBODY
