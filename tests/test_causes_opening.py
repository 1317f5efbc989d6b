"""Causes of failed openings and of resets: conversations of their kinds, and what must not be said of others."""

from __future__ import annotations

import pytest

from tests.test_causes import diagnoses


def first(text: str) -> tuple[str, str] | None:
    """Cause and confidence of the first diagnosis above low."""
    return next(((d.cause, d.confidence) for d in diagnoses(text) if d.severity in ("medium", "high")), None)


def several(count: int, text: str) -> str:
    """The same again from other ports, five seconds apart."""
    return "\n".join(f"port {40000 + i} 80\n" + text.format(*[5 * i + k for k in range(5)]) for i in range(count))


KINDS = {
    "ECN that is dropped, and left out in the second SYN": (
        several(2, "{0}.0 > SEW 0:0(0)\n{1}.0 > S 0:0(0)\n{1}.1 < S. 0:0(0) ack 1\n{1}.2 > . 1:1(0) ack 1"),
        ("syn_rejected_by_option", "likely"),
    ),
    "Multipath TCP that is dropped, while plain SYNs of another client are answered": (
        """
        addr 10.0.0.5 10.0.0.2
        0.000 > S  0:0(0) <mss 1460>
        0.010 < S. 0:0(0) ack 1
        0.020 > .  1:1(0) ack 1
        addr 10.0.0.1 10.0.0.2
        """
        + several(2, "{0}.5 > S 0:0(0) <mptcp>\n{1}.5 > S 0:0(0) <mptcp>\n{3}.5 > S 0:0(0) <mptcp>")
        + "\nend 20",
        ("syn_rejected_by_option", "likely"),
    ),
    "each first SYN to several services": (
        "\n".join(
            f"addr 10.0.0.1 10.0.1.{i}\n{5 * i}.0 > S 0:0(0)\n{5 * i + 3}.0 > S 0:0(0)\n"
            f"{5 * i + 3}.1 < S. 0:0(0) ack 1\n{5 * i + 3}.2 > . 1:1(0) ack 1"
            for i in range(5)
        ),
        ("first_syn_dropped", "likely"),
    ),
    "a four-tuple that has no answer, shortly after its use, while another port is accepted": (
        """
        0.000 > S  0:0(0)
        0.010 < S. 0:0(0)     ack 1
        0.020 > .  1:1(0)     ack 1
        0.030 > P. 1:101(100) ack 1
        0.040 < F. 1:1(0)     ack 101
        0.050 > F. 101:101(0) ack 2
        0.060 < .  2:2(0)     ack 102
        isn 99999 7
        1.000 > S  0:0(0)
        2.000 > S  0:0(0)
        port 40001 80
        2.500 > S  0:0(0)
        2.510 < S. 0:0(0)     ack 1
        2.520 > .  1:1(0)     ack 1
        port 40000 80
        4.000 > S  0:0(0)
        end 12
        """,
        ("port_in_time_wait", "possible"),
    ),
    "SYNs and nothing else": (
        "0 > S 0:0(0)\n1 > S 0:0(0)\n3 > S 0:0(0)\n7 > S 0:0(0)\nend 20",
        ("syn_filtered", "possible"),
    ),
    "SYN+ACKs that do not reach the client": (
        several(1, "{0} > S 0:0(0)\n{0}.1 < S. 0:0(0) ack 1\n{1} > S 0:0(0)\n{1}.1 < S. 0:0(0) ack 1")
        + "\n3 > S 0:0(0)\n3.1 < S. 0:0(0) ack 1\nend 20",
        ("handshake_lost_in_path", "likely"),
    ),
    "SYN+ACKs that the client resets, and yet it goes on asking": (
        "\n".join(f"{t} > S 0:0(0) ttl 60\n{t}.001 < S. 0:0(0) ack 1\n{t}.002 > R 1:1(0) ttl 60" for t in (0, 1, 3)),
        ("nat_not_undone", "likely"),
    ),
    "a service that was started in between": (
        """
        0.00 > S  0:0(0)
        0.01 < R. 0:0(0) ack 1
        port 40002 80
        9.00 > S  0:0(0)
        9.01 < S. 0:0(0) ack 1
        9.02 > .  1:1(0) ack 1
        """,
        ("nothing_listens", "possible"),
    ),
    "packets that run in circles": (
        "0.0 > S 0:0(0)\n0.1 > icmp 11/0 0\n1.0 > S 0:0(0)\n1.1 > icmp 11/0 0\nend 9",
        ("host_unreachable", "likely"),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_cause_is_named_first(kind):
    """Of each kind the cause, with the confidence that the capture allows."""
    text, expected = KINDS[kind]
    assert first(text) == expected


def test_what_concerns_a_client_is_one_diagnosis():
    """The first SYN of connections to five services: one diagnosis, and not five."""
    found = diagnoses(KINDS["each first SYN to several services"][0])
    assert [(d.cause, d.count, d.of) for d in found] == [("first_syn_dropped", 5, 5)]


OVERTAKEN = """
    0.0000 > S  0:0(0)       <ts 100/0>
    0.0001 < S. 0:0(0)       ack 1   <ts 500/100>
    0.0100 > .  1:1(0)       ack 1   <ts 110/500>
    0.0110 > P. 1:301(300)   ack 1   <ts 111/500>
    0.0111 < P. 1:801(800)   ack 301 <ts 511/111>
    0.0500 > R  301:301(0)
    0.0600 > .  301:301(0)   ack 801 <ts 112/511> id 90
    0.0601 < R  801:801(0)
    0.0700 > R  301:301(0)
"""

QUIET = {
    "an RST that overtook what was sent before it": OVERTAKEN,
    "a client that clears an old connection with RST, as it must": """
        0.000 > S  0:0(0)
        0.010 < .  777:777(0)   ack 4242
        0.011 > R  4242:4242(0)
        1.000 > S  0:0(0)
        1.010 < S. 0:0(0)       ack 1
        1.020 > .  1:1(0)       ack 1
    """,
    "one direction only: what answers a client that goes on was not captured": """
        0.000 > S  0:0(0)
        0.020 > .  1:1(0)       ack 1
        0.030 > P. 1:101(100)   ack 1
        port 40001 80
        1.000 > S  0:0(0)
        2.000 > S  0:0(0)
        4.000 > S  0:0(0)
        end 9
    """,
    "a health check": "\n".join(
        f"port {40000 + i} 80\n{i} > S 0:0(0)\n{i}.001 < S. 0:0(0) ack 1\n{i}.002 > R. 1:1(0) ack 1" for i in range(30)
    ),
}
SUSPECTS = {"reset_injected", "nat_not_undone", "syn_filtered", "host_unreachable", "scan", "handshake_lost_in_path"}


@pytest.mark.parametrize("kind", QUIET)
def test_nothing_is_said_of_what_only_looks_alike(kind):
    """No injected reset, no lost handshake, no filter."""
    assert not SUSPECTS & {d.cause for d in diagnoses(QUIET[kind])}


def opening(port, second, *, again=0.0, refused=False, ttl=60):
    """One connection: at once, by a repeated SYN, or refused."""
    text = f"port {port} 80\n{second:.2f} > S 0:0(0) ttl {64 if ttl == 60 else 60}\n"
    if again:
        second += again
        text += f"{second:.2f} > S 0:0(0) ttl {64 if ttl == 60 else 60}\n"
    if refused:
        return text + f"{second + 0.01:.2f} < R. 0:0(0) ack 1 ttl {ttl}\n"
    return text + f"{second + 0.01:.2f} < S. 0:0(0) ack 1 ttl {ttl}\n{second + 0.02:.2f} > . 1:1(0) ack 1\n"


@pytest.mark.parametrize(("ttl", "cause"), [(60, "first_syn_dropped"), (64, "accept_queue_full")])
def test_every_third_syn_is_lost_and_nothing_else(ttl, cause):
    """Where it is lost depends on where the capture was taken; one of many is chance."""
    text = "".join(opening(40000 + n, 2 * n, again=n % 3 == 0 and 1.0, ttl=ttl) for n in range(15))
    found = diagnoses(text)
    assert [(d.cause, d.confidence, d.severity) for d in found] == [(cause, "possible", "medium")]
    once = "".join(opening(40000 + n, 2 * n, again=n == 7 and 1.0, ttl=ttl) for n in range(15))
    assert [d.cause for d in diagnoses(once) if d.severity != "low"] == []


def test_one_of_several_machines_refuses():
    """Every fifth is refused, others are accepted in between: something is wrong there, and it is not sure what."""
    text = "".join(opening(40000 + n, 2 * n, refused=n % 5 == 4) for n in range(20))
    found = diagnoses(text)
    assert [(d.cause, d.confidence, d.count) for d in found] == [("nothing_listens", "possible", 4)]
    one = "".join(opening(40000 + n, 2 * n, refused=n == 4) for n in range(20))
    assert [d.cause for d in diagnoses(one) if d.severity != "low"] == []


@pytest.mark.parametrize("what", ["> S 0:0(0)", "> S 0:207(207)"])
def test_a_lone_syn_from_the_address_that_it_goes_to_connects_nobody(what):
    """It is forged, or made up; who connects to himself acknowledges his SYN."""
    forged = f"addr 10.0.0.1 10.0.0.1\nport 80 80\nisn 1000 1000\n0.000 {what}\nend 9"
    assert "self_connect" not in [d.cause for d in diagnoses(forged)]
    opened = forged.replace("end 9", "0.001 > S. 0:0(0) ack 1\n0.002 > . 1:1(0) ack 1")
    assert "self_connect" in [d.cause for d in diagnoses(opened)]


@pytest.mark.parametrize(("repeats", "severity"), [((1.0, 3.0, 7.0), "medium"), ((1.0,), None)])
def test_at_the_server_an_ack_that_comes_at_last_was_lost_before(repeats, severity):
    """One lost ACK is a second and ordinary; several are no chance, and somebody waits for it."""
    text = "0.000 > S 0:0(0) ttl 60\n0.0001 < S. 0:0(0) ack 1 ttl 64\n"
    text += "".join(f"{time} < S. 0:0(0) ack 1 ttl 64\n" for time in repeats)
    text += f"{repeats[-1] + 0.02} > . 1:1(0) ack 1 ttl 60\n{repeats[-1] + 0.021} < P. 1:12(11) ack 1 ttl 64\n"
    found = [(d.cause, d.severity) for d in diagnoses(text) if d.severity != "low"]
    assert found == ([("handshake_lost_in_path", severity)] if severity else [])


def stamped(*accepted, vain):
    """SYNs with timestamps: those that are accepted, a second apart, then those that are repeated in vain."""
    lines = [
        f"port {40000 + i} 80\n{i}.0 > S 0:0(0) <ts {tsval}/0>\n{i}.1 < S. 0:0(0) ack 1 <ts 9/{tsval}>\n"
        f"{i}.2 > . 1:1(0) ack 1 <ts {tsval + 200}/9>"
        for i, tsval in enumerate(accepted)
    ]
    for i, tsval in enumerate(vain):
        syns = [f"{20 + i + again}.0 > S 0:0(0) <ts {tsval + 1000 * again}/0>" for again in (0, 1, 3)]
        lines += [f"port {41000 + i} 80", *syns]
    return "\n".join([*lines, "end 60"])


ONE_CLOCK = (5_000_000, 5_001_000, 5_002_000, 5_003_000)


@pytest.mark.parametrize(
    ("accepted", "vain", "confidence"),
    [
        (ONE_CLOCK, (70_000,), "likely"),
        (ONE_CLOCK, (70_000, 9_000_000), None),  # one with a higher timestamp fails as well
        ((400_000_000, 900_000_000, 1_500_000_000), (70_000,), "possible"),  # by chance
    ],
)
def test_timestamps_tell_where_all_that_fail_have_lower_ones(accepted, vain, confidence):
    """Systems that give each connection a clock of its own have them rise now and then."""
    found = {d.cause: d.confidence for d in diagnoses(stamped(*accepted, vain=vain))}
    assert found.get("syn_rejected_by_timestamp") == confidence
