"""Causes of data that does not arrive and of ends: conversations of their kinds, and of what only looks like them."""

from __future__ import annotations

import pytest

from tests.test_causes import diagnoses

OPEN = """
    0.000 > S  0:0(0)            win 64240 <mss 1460,scale 7>
    0.010 < S. 0:0(0)     ack 1  win 64240 <mss 1460,scale 7>
    0.020 > .  1:1(0)     ack 1  win 501
"""
PLAIN = "0.000 > S 0:0(0)\n0.010 < S. 0:0(0) ack 1\n0.020 > . 1:1(0) ack 1\n"
ASKED = """
    0.030 > P. 1:101(100) ack 1
    0.040 < P. 1:201(200) ack 101
    0.050 > .  101:101(0) ack 201
"""
HALF_CLOSED = "1.000 > F. 101:101(0) ack 201\n1.020 < . 201:201(0) ack 102\n"
FULL = "0.100 > . 101:1561(1460) ack 201\n" + "".join(
    f"{t} > . 101:1561(1460) ack 201\n" for t in (0.4, 1.0, 2.2, 4.6, 9.4)
)
LATER = "port 40001 80\n5.000 > S 0:0(0)\n5.010 < S. 0:0(0) ack 1\n5.020 > . 1:1(0) ack 1\nend 20\n"
SMALL = "".join(
    f"{0.2 + 0.1 * i:.3f} < . {1 + 501 * i}:{502 + 501 * i}(501) ack 101 win 512\n"
    f"{0.24 + 0.1 * i:.3f} > . 101:101(0) ack {502 + 501 * i} win {501 - i // 3}\n"
    for i in range(12)
)

KINDS = {
    "a hole of full segments that stays, while the tail is repeated until the capture ends": (
        OPEN
        + """
        0.030 > P. 1:101(100)     ack 1
        0.040 < .  1:1(0)         ack 101
        0.050 < P. 4381:4581(200) ack 101
        0.051 > .  101:101(0)     ack 1 <sack 4381:4581>
        0.100 < P. 4381:4581(200) ack 101
        0.101 > .  101:101(0)     ack 1 <sack 4381:4581>
        end 20
        """,
        "mtu_black_hole",
    ),
    "the same with a tail that is nearly full: what is missing are two full segments": (
        OPEN
        + """
        0.030 > P. 1:101(100)      ack 1
        0.040 < .  1:1(0)          ack 101
        0.050 < P. 2921:4321(1400) ack 101
        0.051 > .  101:101(0)      ack 1 <sack 2921:4321>
        end 20
        """,
        "mtu_black_hole",
    ),
    "the first large segment gets no answer, while the hosts go on to open connections": (
        PLAIN + ASKED + FULL + LATER,
        "mtu_black_hole",
    ),
    "the same without another connection: nothing tells the size from the path": (
        PLAIN + ASKED + FULL + "end 20\n",
        "path_dead",
    ),
    "a request of ordinary size gets no answer, while the hosts go on to open connections": (
        PLAIN + ASKED + FULL.replace("101:1561(1460)", "101:601(500)") + LATER,
        "path_dead",
    ),
    "every copy is far beyond what the receiver expects, and answered by an old ACK": (
        PLAIN
        + ASKED
        + "".join(
            f"{t} > P. 700000101:700000201(100) ack 201\n{t}1 < . 201:201(0) ack 101\n"
            for t in (0.11, 0.41, 1.01, 2.21, 4.61)
        ),
        "segments_rejected",
    ),
    "damaged segments that come again whole": (
        PLAIN
        + """
        0.030 > P. 1:101(100)      ack 1
        0.040 < .  1:1461(1460)    ack 101 bad
        0.041 < .  1461:2921(1460) ack 101
        0.042 > .  101:101(0)      ack 1    <sack 1461:2921>
        0.300 < .  1:1461(1460)    ack 101
        0.310 > .  101:101(0)      ack 2921
        0.320 < .  2921:4381(1460) ack 101 bad
        0.600 < .  2921:4381(1460) ack 101 bad
        1.200 < .  2921:4381(1460) ack 101
        1.210 > .  101:101(0)      ack 4381
        3.000 < .  4381:5841(1460) ack 101 bad
        3.300 < .  4381:5841(1460) ack 101
        3.310 > .  101:101(0)      ack 5841
        """,
        "damaged_in_path",
    ),
    "segments as long as the window field that drifts, each acknowledged late": (
        OPEN + "0.030 > P. 1:101(100) ack 1 win 501\n" + SMALL,
        "window_scale_broken",
    ),
    "the FIN of an idle server and the next request cross": (
        PLAIN
        + ASKED
        + """
        5.050 > P. 101:201(100) ack 201
        5.051 < F. 201:201(0)   ack 101
        5.061 < R  201:201(0)
        """,
        "reused_after_close",
    ),
    "the same where the server is: its FIN goes first": (
        PLAIN
        + ASKED
        + """
        5.050 < F. 201:201(0)   ack 101
        5.051 > P. 101:201(100) ack 201
        5.052 < R  201:201(0)
        """,
        "reused_after_close",
    ),
    "an outage of a listener: refused for a while, accepted before and after": (
        "\n".join(
            f"port {40000 + i} 80\n{3 * i}.0 > S 0:0(0)\n"
            + (
                f"{3 * i}.01 < R. 0:0(0) ack 1"
                if 2 <= i < 7
                else f"{3 * i}.01 < S. 0:0(0) ack 1\n{3 * i}.02 > . 1:1(0) ack 1"
            )
            for i in range(9)
        ),
        "nothing_listens",
    ),
    "a server that speaks first, after long": (
        PLAIN
        + """
        12.000 < P. 1:41(40)   ack 1
        12.010 > P. 1:31(30)   ack 41
        12.020 < P. 41:101(60) ack 31
        12.030 > P. 31:61(30)  ack 101
        12.040 < P. 101:161(60) ack 61
        """,
        "server_slow",
    ),
    "data that come from another address of the same port": (
        PLAIN
        + """
        0.030 > P. 1:101(100) ack 1
        0.040 < .  1:1(0)     ack 101
        addr 10.0.0.1 10.0.7.7
        0.050 < P. 1:201(200) ack 101
        0.051 > R  101:101(0)
        """,
        "nat_not_undone",
    ),
    "data that a client, heard in the same second, resets as unknown": (
        PLAIN
        + """
        0.030 > P. 1:101(100)    ack 1
        0.040 < .  1:1(0)        ack 101
        0.050 < .  1:1461(1460)  ack 101
        0.060 > R  101:101(0)
        """,
        "nat_not_undone",
    ),
    "a server that resets a request that it has not answered": (
        PLAIN + ASKED + "1.0 > P. 101:201(100) ack 201\n1.01 < . 201:201(0) ack 201\n2.0 < R. 201:201(0) ack 201\n",
        "aborted_by_application",
    ),
    "a server that does not answer before it dies and starts again": (
        PLAIN
        + ASKED
        + "".join(f"{t} > P. 101:201(100) ack 201\n" for t in (1.0, 1.3, 1.9, 3.1, 5.5, 10.3, 19.9))
        + "19.910 < R 201:201(0)\n",
        "endpoint_restarted",
    ),
    "a host that answers no more, until an RST comes long after its client has closed": (
        PLAIN
        + ASKED
        + "".join(f"{t} > P. 101:109(8) ack 201\n" for t in (1.0, 2.2, 3.4, 5.7, 10.0))
        + "15.7 > F. 109:109(0) ack 201\n18.4 > FP. 101:109(8) ack 201\n30.0 > FP. 101:109(8) ack 201\n"
        + "30.2 < R 201:201(0)\n",
        "path_dead",
    ),
    "a system that keeps a connection alive which its application does not close": (
        PLAIN + ASKED + HALF_CLOSED + "21.020 < . 200:200(0) ack 102\n21.021 > . 102:102(0) ack 201\nend 40\n",
        "close_wait_leak",
    ),
    "a server that resets whoever closes its direction behind the request, and answers others": (
        PLAIN
        + ASKED
        + "".join(
            f"port {40001 + n} 80\n{n}.5 > S 0:0(0)\n{n}.51 < S. 0:0(0) ack 1\n{n}.52 > . 1:1(0) ack 1\n"
            f"{n}.521 > P. 1:101(100) ack 1\n{n}.522 > F. 101:101(0) ack 1\n{n}.531 < . 1:1(0) ack 102\n"
            f"{n}.535 < R. 1:1(0) ack 102\n"
            for n in (1, 2)
        ),
        "half_close_unsupported",
    ),
    "what one end sends vanishes, and the other repeats what had been acknowledged": (
        PLAIN
        + ASKED
        + "".join(
            f"{t} > P. 101:201(100) ack 201\n{t}1 < P. 201:501(300) ack 201\n" for t in (1.0, 1.3, 1.9, 3.1, 5.5, 10.3)
        )
        + "end 20\n",
        "path_dead",
    ),
    "timestamps that jump back: nothing is taken any more, not even the ACKs": (
        PLAIN.replace("S 0:0(0)\n", "S 0:0(0) <ts 100/0>\n", 1).replace(
            "S. 0:0(0) ack 1", "S. 0:0(0) ack 1 <ts 9000/100>"
        )
        + "0.030 > P. 1:101(100) ack 1 <ts 130/9000>\n0.040 < P. 1:201(200) ack 101 <ts 9030/130>\n"
        + "0.050 > . 101:101(0) ack 201 <ts 150/9030>\n1.000 > P. 101:201(100) ack 201 <ts 1100/9030>\n"
        + "".join(
            f"{t} < P. 201:401(200) ack 201 <ts {3000 + n}/1100>\n{t}1 > . 201:201(0) ack 201 <ts {2000 + n}/9030>\n"
            f"{t}2 > P. 101:201(100) ack 201 <ts {2000 + n}/9030>\n"
            for n, t in enumerate((1.01, 1.31, 1.91, 3.11, 5.51, 10.31))
        )
        + "end 20\n",
        "segments_rejected",
    ),
    "a sender that tries a smaller size after its third repetition": (
        OPEN
        + "0.030 > P. 1:101(100) ack 1\n0.040 < . 1:1(0) ack 101\n"
        + "".join(f"0.04{n} < . {1 + 1460 * n}:{1461 + 1460 * n}(1460) ack 101\n" for n in range(1, 4))
        + "0.040 < . 1:1461(1460) ack 101\n0.046 < P. 5841:6001(160) ack 101\n"
        + "0.056 > . 101:101(0) ack 1 <sack 5841:6001>\n"
        + "".join(f"{t} < . 1:1461(1460) ack 101\n" for t in (0.3, 0.8, 1.8))
        + "".join(
            f"3.{n}0 < . {1 + 1000 * n}:{1001 + 1000 * n}(1000) ack 101\n3.{n}1 > . 101:101(0) ack {1001 + 1000 * n}\n"
            for n in range(5)
        )
        + "3.500 < . 5001:5841(840) ack 101\n3.510 > . 101:101(0) ack 6001\n",
        "mtu_black_hole",
    ),
    "the same at the receiver: a hole of three full segments, filled by smaller ones": (
        OPEN
        + "0.030 > P. 1:101(100) ack 1\n0.040 < . 1:1(0) ack 101\n"
        + "0.046 < P. 4381:4501(120) ack 101\n0.047 > . 101:101(0) ack 1 <sack 4381:4501>\n"
        + "".join(
            f"3.{n}0 < . {1 + 1000 * n}:{1001 + 1000 * n}(1000) ack 101\n3.{n}1 > . 101:101(0) ack {1001 + 1000 * n}\n"
            for n in range(4)
        )
        + "3.500 < . 4001:4381(380) ack 101\n3.510 > . 101:101(0) ack 4501\n",
        "mtu_black_hole",
    ),
    "a scale that was taken out of the SYN+ACK: its window is full after 501 bytes each time": (
        """
        0.000 > S  0:0(0)           win 64240 <mss 1460,scale 7>
        0.010 < S. 0:0(0)     ack 1 win 64240 <mss 1460>
        0.011 > .  1:1(0)     ack 1 win 65535
        0.012 > .  1:1461(1460) ack 1 win 65535
        0.032 < .  1:1(0)     ack 1461 win 501
        """
        + "".join(
            f"{0.033 + 0.09 * i:.3f} > P. {1461 + 501 * i}:{1962 + 501 * i}(501) ack 1 win 65535\n"
            f"{0.122 + 0.09 * i:.3f} < . 1:1(0) ack {1962 + 501 * i} win 501\n"
            for i in range(30)
        ),
        "window_scale_broken",
    ),
    "keepalives that nobody answers, of a connection older than the capture": (
        "".join(f"{n}.000 > . 1:2(1) ack 1\n" for n in range(10)),
        "peer_vanished",
    ),
    "a half-closed connection in which nothing more is said": (
        PLAIN + ASKED + HALF_CLOSED + "end 40\n",
        "fin_wait_2_stuck",
    ),
}

QUIET = {
    "segments that are overtaken, and sent again for nothing": (
        "0.000 > S 0:0(0) <ts 100/0>\n0.010 < S. 0:0(0) ack 1 <ts 500/100>\n0.020 > . 1:1(0) ack 1 <ts 120/500>\n"
        "0.030 > P. 1:101(100) ack 1 <ts 130/500>\n"
        + "".join(
            f"{t}.001 < . {b + 1460}:{b + 2920}(1460) ack 101 <ts {k}/130>\n"
            f"{t}.002 > . 101:101(0) ack {b} <ts {k}/{k}>\n{t}.003 > . 101:101(0) ack {b} <ts {k}/{k}>\n"
            f"{t}.004 > . 101:101(0) ack {b} <ts {k}/{k}>\n"
            f"{t}.030 < . {b}:{b + 1460}(1460) ack 101 <ts {k + 30}/{k}>\n"
            f"{t}.031 > . 101:101(0) ack {b + 2920} <ts {k + 31}/{k + 30}>\n"
            f"{t}.033 < . {b}:{b + 1460}(1460) ack 101 <ts {k}/130>\n"
            for t, b, k in ((1, 1, 1500), (2, 2921, 2500), (3, 5841, 3500), (4, 8761, 4500))
        )
    ),
    "a server that resets where others send a FIN, when all is answered": (
        PLAIN
        + ASKED
        + """
        1.000 > F. 101:101(0) ack 201
        1.010 < .  201:201(0) ack 102
        1.011 < R. 201:201(0) ack 102
        """
    ),
    "a server that pushes when it has something to say": PLAIN + "9.0 < P. 1:41(40) ack 1\n9.01 > . 1:1(0) ack 41\n",
    "a browser that resets when the server has closed": (
        PLAIN
        + ASKED
        + """
        5.000 < P. 201:232(31) ack 101
        5.001 < F. 232:232(0)  ack 101
        5.002 > .  101:101(0)  ack 233
        5.003 > R. 101:101(0)  ack 233
        """
    ),
    "a client that resets when it has all answers, before it had to acknowledge the last bytes": (
        PLAIN + "0.030 > P. 1:101(100) ack 1\n0.040 < . 1:1461(1460) ack 101\n0.041 < P. 1461:1661(200) ack 101\n"
        "0.042 > . 101:101(0) ack 1461\n0.090 > R. 101:101(0) ack 1661\n"
    ),
    "a capture that begins between data and their ACKs": (
        """
        0.000 > .  1:1(0)     ack 1
        0.001 > .  1:1(0)     ack 1461
        0.300 > P. 1:101(100) ack 1461
        0.310 < P. 1461:1661(200) ack 101
        0.320 > .  101:101(0) ack 1661
        0.600 > P. 101:201(100) ack 1661
        0.610 < P. 1661:1861(200) ack 201
        0.620 > .  201:201(0) ack 1861
        """
    ),
    "a queue that grows: what a timer repeats was only late, as its receiver reports each time": (
        PLAIN
        + "".join(
            f"{2 * n}.100 > P. {b}:{b + 100}(100) ack {n * 200 + 1}\n"
            f"{2 * n}.500 > P. {b}:{b + 100}(100) ack {n * 200 + 1}\n"
            f"{2 * n}.600 < P. {n * 200 + 1}:{n * 200 + 201}(200) ack {b + 100}\n"
            f"{2 * n}.601 > . {b + 100}:{b + 100}(0) ack {n * 200 + 201}\n"
            f"{2 * n}.999 < . {n * 200 + 201}:{n * 200 + 201}(0) ack {b + 100} <sack {b}:{b + 100}>\n"
            for n, b in enumerate(range(1, 601, 100))
        )
    ),
    "session tickets meet a client that has closed right behind its handshake": (
        PLAIN
        + """
        0.030 > P. 1:301(300)    ack 1
        0.040 < P. 1:1401(1400)  ack 301
        0.050 > P. 301:381(80)   ack 1401
        0.0501 > F. 381:381(0)   ack 1401
        0.060 < P. 1401:1911(510) ack 381
        0.061 > R  382:382(0)
        """
    ),
    "a farewell that comes a second after the client has closed": (
        PLAIN
        + ASKED
        + """
        1.000 > F. 101:101(0)   ack 201
        1.010 < .  201:201(0)   ack 102
        2.000 < P. 201:235(34)  ack 102
        2.001 < P. 235:266(31)  ack 102
        2.002 < F. 266:266(0)   ack 102
        2.010 > R  102:102(0)
        """
    ),
    "an event for a client that left between two": (
        PLAIN
        + ASKED
        + "".join(
            f"{t}.000 < P. {b}:{b + 150}(150) ack 101\n{t}.010 > . 101:101(0) ack {b + 150}\n"
            for t, b in ((3, 201), (5, 351))
        )
        + "6.000 > F. 101:101(0) ack 501\n6.010 < . 501:501(0) ack 102\n"
        + "7.000 < P. 501:651(150) ack 102\n7.010 > R 102:102(0)\n"
    ),
    "a server's last word meets a client that has closed": (
        PLAIN
        + ASKED
        + """
        5.000 > FP. 101:132(31) ack 201
        5.010 < P. 201:232(31)  ack 133
        5.011 < F. 232:232(0)   ack 133
        5.020 > R  133:133(0)
        5.021 > R  133:133(0)
        """
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_gives_its_cause_first(kind):
    """What a person would say first."""
    text, cause = KINDS[kind]
    assert [d.cause for d in diagnoses(text)][:1] == [cause]


@pytest.mark.parametrize("kind", QUIET)
def test_what_harms_nobody_is_not_told(kind):
    """Nothing above low, and nothing likely."""
    found = diagnoses(QUIET[kind])
    assert [d.cause for d in found if d.severity in ("medium", "high") or d.confidence != "possible"] == []


def test_a_hole_in_a_connection_that_was_reset_at_once_tells_nothing():
    """What would have come is not known: the capture's lasting on is no waiting."""
    text = (
        OPEN
        + """
        0.030 > P. 1:101(100)     ack 1
        0.040 < .  1:1(0)         ack 101
        0.050 < P. 4381:4581(200) ack 101
        0.051 > .  101:101(0)     ack 1 <sack 4381:4581>
        0.060 < R. 4581:4581(0)   ack 101
        end 20
    """
    )
    assert "mtu_black_hole" not in [d.cause for d in diagnoses(text)]


def test_a_receiver_that_is_gone_has_lost_no_window_scale():
    """Full segments filled its window, and nothing was answered any more: that is no wait for a small window."""
    text = OPEN + "0.030 > P. 1:101(100) ack 1 win 501\n0.040 < . 1:1(0) ack 101 win 501\n"
    text += "".join(
        f"{0.1 + n / 1000:.3f} < . {1 + 1460 * n}:{1461 + 1460 * n}(1460) ack 101 win 501\n" for n in range(43)
    )
    text += "".join(f"{t} < . 1:1461(1460) ack 101 win 501\n" for t in (0.4, 1.0, 2.2, 4.6, 9.4, 19.0)) + "end 40\n"
    assert "window_scale_broken" not in [d.cause for d in diagnoses(text)]


def test_an_answer_that_is_lost_is_told():
    """The client gave up waiting, and the answer met RST: the server was slow; the client did not close early."""
    found = diagnoses(
        PLAIN
        + """
        0.030 > P. 1:101(100) ack 1
        0.040 < .  1:1(0)     ack 101
        5.000 > F. 101:101(0) ack 1
        5.010 < .  1:1(0)     ack 102
        9.000 < P. 1:51(50)   ack 102
        9.010 > R  102:102(0)
        """
    )
    assert [d.cause for d in found][:1] == ["server_slow"]


def test_a_whole_answer_to_a_client_that_closed_with_its_request_is_lost():
    """It asked, and an application that does not wait for the answer loses it."""
    found = diagnoses(
        PLAIN
        + ASKED
        + """
        2.000 > P. 101:1561(1460)  ack 201
        2.001 > FP. 1561:1641(80)  ack 201
        2.020 < .  201:201(0)      ack 1642
        3.000 < P. 201:1661(1460)  ack 1642
        3.001 < P. 1661:3121(1460) ack 1642
        3.010 > R  1642:1642(0)
        """
    )
    assert [(d.cause, d.severity) for d in found][:1] == [("closed_with_unread_data", "medium")]


def test_what_has_no_identification_is_no_copy_for_that():
    """Two segments draw two resets in one moment; a timer and a repeated SYN draw two SYN+ACKs: each is its own."""
    resets = (
        PLAIN
        + ASKED
        + "1.000 < P. 201:232(31) ack 101 id 0\n"
        + ("1.001 > R 101:101(0) id -1\n1.0011 > R 101:101(0) id -1\n")
    )
    answers = """
        0.000 > S  0:0(0)       id 7
        0.010 < S. 0:0(0) ack 1 id 0
        1.010 < S. 0:0(0) ack 1 id 0
        1.0101 > S  0:0(0)      id 8
        1.0102 < S. 0:0(0) ack 1 id 0
        3.010 > S  0:0(0)       id 9
        3.0101 < S. 0:0(0) ack 1 id 0
        3.0102 < S. 0:0(0) ack 1 id 0
        end 20
    """
    for text in (resets, answers):
        assert "capture_duplicated" not in [d.cause for d in diagnoses(text)]


def test_whoever_gave_up_has_not_been_restarted():
    """It had repeated its answer in vain, and then knows no more of the connection that its peer still tries."""
    again = "".join(
        f"{t} > P. 101:201(100) ack 201\n{t}1 < P. 201:501(300) ack 201\n" for t in (1.0, 1.3, 1.9, 3.1, 5.5, 10.3)
    )
    found = diagnoses(PLAIN + ASKED + again + "22.000 > P. 101:201(100) ack 201\n22.001 < R 201:201(0)\nend 24\n")
    assert [d.cause for d in found][:1] == ["path_dead"]
    assert "endpoint_restarted" not in [d.cause for d in found]


@pytest.mark.parametrize(("lost", "confidence"), [(True, "possible"), (False, "likely")])
def test_a_late_answer_over_a_way_that_loses_much_may_have_been_lost(lost, confidence):
    """Far from the server nobody sees how often it sent its answer before one arrived."""
    upload = PLAIN + "".join(
        f"{n}.100 > P. {b}:{b + 100}(100) ack 1\n"
        + (f"{n}.400 > P. {b}:{b + 100}(100) ack 1\n" if lost and n % 2 else "")
        + f"{n}.450 < . 1:1(0) ack {b + 100}\n"
        for n, b in enumerate(range(1, 1001, 100), 1)
    )
    late = "20.0 > S 0:0(0)\n20.01 < S. 0:0(0) ack 1\n20.02 > . 1:1(0) ack 1\n20.03 > P. 1:101(100) ack 1\n"
    late += "20.04 < . 1:1(0) ack 101\n23.6 < P. 1:201(200) ack 101\n23.61 > F. 101:101(0) ack 201\n"
    found = diagnoses(upload + "port 40001 80\n" + late)
    assert [d.confidence for d in found if d.cause == "server_slow"] == [confidence]
