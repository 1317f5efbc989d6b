"""Causes as daemons show them: one that hangs, one that was killed, a limit before it, a path with a smaller MTU."""

from __future__ import annotations

import pytest

from tests.test_causes import diagnoses


def told(text):
    """Cause and severity of each diagnosis above info."""
    return [(d.cause, d.severity) for d in diagnoses(text) if d.severity != "info"]


def opened(port, at, *, ttl=63):
    """A connection from ``port``, open at ``at`` + 0.02 s."""
    return (
        f"port {port} 80\n{at} > S 0:0(0)\n{at + 0.01:.4f} < S. 0:0(0) ack 1 ttl {ttl}\n"
        f"{at + 0.02:.4f} > . 1:1(0) ack 1\n"
    )


def asked(port, at, answered, *, ttl=63, closed=None):
    """One that asks at once, has its answer at ``answered``, and closes then or later."""
    closed = answered if closed is None else closed
    return opened(port, at, ttl=ttl) + (
        f"{at + 0.03:.4f} > P. 1:101(100) ack 1\n{at + 0.04:.4f} < . 1:1(0) ack 101 ttl {ttl}\n"
        f"{answered} < P. 1:801(800) ack 101 ttl {ttl}\n{closed + 0.01:.4f} > F. 101:101(0) ack 801\n"
        f"{closed + 0.02:.4f} < F. 801:801(0) ack 102 ttl {ttl}\n{closed + 0.03:.4f} > . 102:102(0) ack 802\n"
    )


def in_vain(port, at):
    """SYNs without an answer."""
    return f"port {port} 80\n{at} > S 0:0(0)\n{at + 1} > S 0:0(0)\n{at + 3} > S 0:0(0)\n"


@pytest.mark.parametrize(
    ("answered", "cause"),
    [(9, "accept_queue_full"), (0.2, "nat_ports_exhausted")],
    ids=["those before hang as well", "those before are served"],
)
def test_syns_have_no_answer_while_connections_are_open(answered, cause):
    """Far from the server: whether those that are open are served tells a full queue from a full table."""
    before = "".join(asked(40001 + n, 1 + n / 10, 1 + n / 10 + answered) for n in range(3))
    held = opened(40009, 1.5) + "1.53 > P. 1:101(100) ack 1\n1.54 < . 1:1(0) ack 101 ttl 63\n"
    held += "" if answered > 5 else "1.6 < P. 1:801(800) ack 101 ttl 63\n1.61 > . 101:101(0) ack 801\n"
    held += "12.5 < F. 1:1(0) ack 101 ttl 63\n" if answered > 5 else "12.5 < F. 801:801(0) ack 101 ttl 63\n"
    text = asked(40000, 0, 0.1) + before + held + "".join(in_vain(40021 + n, 2 + n / 10) for n in range(4)) + "end 20\n"
    causes = [found for found, _ in told(text)]
    assert cause in causes
    assert len({"accept_queue_full", "nat_ports_exhausted"} & set(causes)) == 1


def refused(port, at, ttl):
    """A SYN that is refused."""
    return f"port {port} 80\n{at} > S 0:0(0)\n{at + 0.001:.4f} < R. 0:0(0) ack 1 ttl {ttl}\n"


@pytest.mark.parametrize(("ttl", "cause"), [(64, "reset_injected"), (63, "nothing_listens")])
def test_who_refuses_while_accepted_connections_go_on(ttl, cause):
    """From nearer than all that the server says: not its listener, which may close and serve what it has."""
    text = "".join(asked(40001 + n, n / 10, n / 10 + 0.1, closed=9) for n in range(3))
    text += "".join(refused(40011 + n, 1.5 + n / 10, ttl) for n in range(4))
    assert told(text)[0] == (cause, "medium")


@pytest.mark.parametrize("gone", [True, False])
def test_requests_to_a_process_that_has_ended(gone):
    """Its kernel closes its connections in order; who asks then is too late, and who connects is refused."""
    text = ""
    for n in range(3):
        text += asked(40001 + n, n / 10, 0.5).rsplit("0.51", 1)[0]
        text += "0.51 > . 101:101(0) ack 801\n2.0 < F. 801:801(0) ack 101 ttl 63\n2.04 > . 101:101(0) ack 802\n"
        text += "2.5 > P. 101:201(100) ack 802\n2.51 < R 802:802(0) ttl 63\n"
    text += "".join((refused(40011 + n, 2.6 + n, 63) if gone else asked(40011 + n, 2.6 + n, 2.7 + n)) for n in range(4))
    assert told(text)[0] == (("nothing_listens" if gone else "reused_after_close"), "medium")


def test_a_few_words_to_the_fin_itself_are_no_request():
    """They acknowledge it: a control connection that says goodbye."""
    text = asked(40001, 0, 0.1).rsplit("0.11", 1)[0] + (
        "0.11 > . 101:101(0) ack 801\n3.0 < F. 801:801(0) ack 101 ttl 63\n3.0001 > P. 101:102(1) ack 802\n"
        "3.0002 > F. 102:102(0) ack 802\n3.02 < R 802:802(0) ttl 63\n"
    )
    assert told(text) == []


def test_what_comes_after_a_timer_is_no_answer_that_took_long():
    """Behind a narrow part of the path: the server had said eleven full segments, and repeats them in smaller ones."""
    text = opened(40001, 0) + (
        "0.03 > P. 1:101(100) ack 1\n0.031 < . 1:1(0) ack 101 ttl 63\n"
        "3.6 < . 1:1025(1024) ack 101 ttl 63\n3.62 > . 101:101(0) ack 1025\n"
        "3.6201 < . 15929:16953(1024) ack 101 ttl 63\n3.6202 < . 1025:1449(424) ack 101 ttl 63\n"
        "3.64 > . 101:101(0) ack 1449 <sack 15929:16953>\n"
    )
    at, seq = 3.641, 1449
    while seq < 15929:
        more = min(1448, 15929 - seq)
        text += f"{at:.4f} < . {seq}:{seq + more}({more}) ack 101 ttl 63\n"
        at, seq = at + 0.001, seq + more
    text += f"{at + 0.02:.4f} > F. 101:101(0) ack 16953\n{at + 0.03:.4f} < F. 16953:16953(0) ack 102 ttl 63\n"
    text += f"{at + 0.05:.4f} > . 102:102(0) ack 16954\n"
    assert "server_slow" not in [cause for cause, _ in told(text)]


@pytest.mark.parametrize("way", [0.00002, 0.04])
def test_losses_that_cost_nothing_are_low(way):
    """A tenth of the segments sent again, on a wire where that takes microseconds: nobody waits for it."""
    text, at, seq = opened(40001, 0) + "0.03 > P. 1:101(100) ack 1\n", 0.04, 1
    for _ in range(9):
        for part in (0, 2, 3, 4, 5, 6):
            text += f"{at:.6f} < . {seq + 1000 * part}:{seq + 1000 * part + 1000}(1000) ack 101\n"
            at += 0.000001
        for part in (2, 3, 4, 5, 6):
            text += f"{at + way:.6f} > . 101:101(0) ack {seq + 1000} <sack {seq + 2000}:{seq + 1000 * part + 1000}>\n"
            at += 0.000001
        at += 2 * way
        text += (
            f"{at:.6f} < . {seq + 1000}:{seq + 2000}(1000) ack 101\n{at + way:.6f} > . 101:101(0) ack {seq + 7000}\n"
        )
        at, seq = at + 2 * way, seq + 7000
    assert told(text) == [("path_loss", "low" if way < 0.001 else "medium")]


def test_what_is_rejected_in_its_midst_is_told_with_who_rejects_it():
    """Something came back all the same: ICMP."""
    text = asked(40001, 0, 0.1).rsplit("0.11", 1)[0] + "0.11 > . 101:101(0) ack 801\n"
    for n, second in enumerate((1.0, 1.3, 1.9, 3.1, 5.5)):
        text += (
            f"{second} > P. 101:201(100) ack 801\n{second + 0.001:.3f} > icmp 3/13 101\n"
            if n % 2 == 0
            else f"{second} > P. 101:201(100) ack 801\n"
        )
    found = diagnoses(text + "end 9\n")[0]
    assert found.cause == "path_dead"
    assert "administratively prohibited" in found.message


@pytest.mark.parametrize(("ttl", "cause"), [(64, "accept_queue_full"), (63, "first_syn_dropped")])
def test_between_router_and_server_the_server_is_not_at_hand(ttl, cause):
    """However short the way to it is: what it says has passed a router, and so may SYNs have been dropped there."""
    text = ""
    for n in range(10):
        late = 0.0 if n % 2 else 1.0
        begun = f"port {40001 + n} 80\n{n} > S 0:0(0) ttl 64\n" + (f"{n + late} > S 0:0(0) ttl 64\n" if late else "")
        text += begun
        for after, segment in (
            (0.0001, f"< S. 0:0(0) ack 1 ttl {ttl}"),
            (0.01, "> . 1:1(0) ack 1 ttl 64"),
            (0.0101, "> P. 1:101(100) ack 1 ttl 64"),
            (0.0102, f"< P. 1:801(800) ack 101 ttl {ttl}"),
            (0.0202, "> F. 101:101(0) ack 801 ttl 64"),
            (0.0203, f"< F. 801:801(0) ack 102 ttl {ttl}"),
            (0.0303, "> . 102:102(0) ack 802 ttl 64"),
        ):
            text += f"{n + late + after:.4f} {segment}\n"
    assert told(text)[0][0] == cause
